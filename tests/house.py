"""The rules of the house as functions over parsed modules. `test_house.py` applies them to src and
to bad examples.
"""

from __future__ import annotations

import ast
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
FOLDER_MODULES_MAX = 20

# Top to bottom; a module imports from its own package and from packages further down.
LAYERS = (
    "testing",
    "cli",
    "bench",
    "client",
    "server",
    "engine",
    "offline",
    "maintenance",
    "ingest",
    "state",
    "search",
    "sizing",
    "segment",
    "index",
    "catalog",
    "wal",
    "storage",
    "lanes",
    "wire",
)
LEAVES = (
    "types",
    "errors",
    "limits",
    "config",
    "events",
    "logs",
    "memory",
    "memory_plan",
    "interrupts",
    "waiting",
    "pool",
    "interpreter",
    "deadline",
    "redaction",
)
VAGUE_NAMES = {
    "utils",
    "util",
    "helpers",
    "helper",
    "manager",
    "managers",
    "common",
    "core",
    "misc",
    "impl",
}

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
_STOPS_CLOCKS = re.compile(
    r"""setattr\(\s*(?:[\w.]+\.)?time,|setattr\(\s*["'](?:[\w.]+\.)?time\.\w"""
)
_IMPORTS = (ast.Import, ast.ImportFrom)


@dataclass(frozen=True)
class Module:
    """One source file under its dotted name. `known` holds the names of all modules of the tree."""

    name: str
    source: str
    is_package: bool = False
    known: frozenset[str] = frozenset()

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @property
    def layer(self) -> str:
        """`milvine.wal.log` is in `wal`; `milvus` and the root are layers of their own."""
        parts = self.name.split(".")
        return parts[1] if parts[0] == "milvine" and len(parts) > 1 else parts[0]

    def functions(self) -> list[FunctionNode]:
        return [
            n for n in ast.walk(self.tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
        ]

    def targets(self, node: ast.stmt) -> Iterator[str]:
        """Full names that an import statement names: of modules, or of things in them."""
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = self._base(node)
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield (
                    full
                    if full in self.known or not base.startswith(("milvine", "milvus"))
                    else base
                )

    def _base(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        package = self.name.split(".") if self.is_package else self.name.split(".")[:-1]
        package = package[: len(package) - node.level + 1]
        return ".".join([*package, *([node.module] if node.module else [])])

    def imports(self) -> Iterator[tuple[str, int]]:
        """(target, line) of every import, wherever it stands."""
        for node in ast.walk(self.tree):
            if isinstance(node, _IMPORTS):
                yield from ((target, node.lineno) for target in self.targets(node))

    def static_imports(self) -> set[str]:
        """Targets imported when the module is: those inside functions are left out."""
        inside = {id(n) for f in self.functions() for n in ast.walk(f) if isinstance(n, _IMPORTS)}
        nodes = [n for n in ast.walk(self.tree) if isinstance(n, _IMPORTS) and id(n) not in inside]
        return {target for node in nodes for target in self.targets(node)}


def load(source_root: Path) -> list[Module]:
    """Every module under a src folder."""
    paths = sorted(source_root.rglob("*.py"))
    names = [_dotted(path.relative_to(source_root)) for path in paths]
    known = frozenset(names)
    return [
        Module(name, path.read_text(encoding="utf-8"), path.name == "__init__.py", known)
        for name, path in zip(names, paths, strict=True)
    ]


def _dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _own(target: str) -> bool:
    return target.split(".")[0] in ("milvine", "milvus")


def _length(function: FunctionNode) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


# Sizes


def long_modules(module: Module) -> list[str]:
    lines = module.source.count("\n")
    return [f"{module.name} has {lines} lines"] if lines > MODULE_LINES_MAX else []


def crowded_folders(modules: Iterable[Module]) -> list[str]:
    counts = Counter(m.name if m.is_package else m.name.rpartition(".")[0] for m in modules)
    return [
        f"{name} has {count} modules"
        for name, count in counts.items()
        if count > FOLDER_MODULES_MAX
    ]


def long_functions(module: Module) -> list[str]:
    return [
        f"{module.name}:{f.lineno} {f.name} has {_length(f)} lines"
        for f in module.functions()
        if _length(f) > FUNCTION_LINES_MAX
    ]


def function_sizes(modules: list[Module]) -> tuple[float, float]:
    """Median and 90th percentile of function lengths in lines."""
    lengths = [_length(f) for m in modules for f in m.functions()]
    return statistics.median(lengths), statistics.quantiles(lengths, n=10)[8]


# Clocks


def stopped_clocks(source: str) -> list[str]:
    """Where a test gives `time` itself another clock, instead of giving one module another
    `time`.
    """
    return [line.strip() for line in source.splitlines() if _STOPS_CLOCKS.search(line)]


# Imports


def upward_imports(module: Module) -> list[str]:
    """Imports that point up, or from a leaf to anything but a leaf."""
    return [
        f"{module.name}:{line} imports {target}"
        for target, line in module.imports()
        if _own(target) and not _may_import(module.layer, target)
    ]


def _may_import(layer: str, target: str) -> bool:
    goal = Module(target, "").layer
    if goal == layer or goal in LEAVES or goal == "milvine":
        return True
    if layer == "milvus":
        return goal == "client"
    if layer == "__main__":
        return goal == "cli"
    if layer not in LAYERS or goal not in LAYERS:
        return layer == "testing"
    return LAYERS.index(layer) < LAYERS.index(goal)


def unknown_layers(module: Module) -> list[str]:
    known = {*LAYERS, *LEAVES, "milvine", "milvus", "__main__"}
    return [] if module.layer in known else [f"{module.name} belongs to no layer"]


def cycles(modules: list[Module]) -> list[str]:
    """Import cycles among modules, those inside functions left out."""
    graph = {
        m.name: {t for t in m.static_imports() if t in m.known and t != m.name} for m in modules
    }
    done: set[str] = set()
    found: list[str] = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            found.append(" -> ".join([*path[path.index(name) :], name]))
        elif name not in done:
            for target in sorted(graph.get(name, ())):
                visit(target, (*path, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())
    return found


def function_level_imports(module: Module) -> list[str]:
    """Imports of our own modules inside functions."""
    return [
        f"{module.name}:{node.lineno} {f.name} imports {target}"
        for f in module.functions()
        for node in ast.walk(f)
        if isinstance(node, _IMPORTS)
        for target in module.targets(node)
        if _own(target)
    ]


def orphans(modules: list[Module], also_used: str = "") -> list[str]:
    """Modules that nobody imports, starts by name, or mentions in `also_used` (the text of tests
    and packaging).
    """
    named: set[str] = set()
    for module in modules:
        texts = {str(n.value) for n in ast.walk(module.tree) if isinstance(n, ast.Constant)}
        mentioned = (
            {t for t, _ in module.imports()} | texts | {f"{module.name}.{text}" for text in texts}
        )
        named |= {name for name in mentioned if name != module.name}
    with_parents = {".".join(n.split(".")[:i]) for n in named for i in range(1, n.count(".") + 2)}
    return [m.name for m in modules if m.name not in with_parents and m.name not in also_used]


# Absence


def imports_any(module: Module, banned: tuple[str, ...], static_only: bool = False) -> list[str]:
    """Imports of a banned module or of anything below it."""
    targets = module.static_imports() if static_only else {t for t, _ in module.imports()}
    hits = [t for t in targets if any(t == b or t.startswith(b + ".") for b in banned)]
    return [f"{module.name} imports {t}" for t in sorted(hits)]


def uses_name(module: Module, name: str) -> list[str]:
    """Where a name is imported, read or asked of a module."""
    return [
        f"{module.name}:{node.lineno} uses {name}"
        for node in ast.walk(module.tree)
        if (isinstance(node, ast.Name) and node.id == name)
        or (isinstance(node, ast.Attribute) and node.attr == name)
        or (isinstance(node, ast.ImportFrom) and name in [alias.name for alias in node.names])
    ]


def called_at_import(module: Module, name: str) -> list[str]:
    """Where it is called while the module is imported: outside of the bodies of functions."""
    later = {id(node) for f in module.functions() for part in f.body for node in ast.walk(part)}
    return [
        f"{module.name}:{node.lineno} calls {name} when imported"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and id(node) not in later
        and ast.unparse(node.func).rpartition(".")[2] == name
    ]


def mentions_any(module: Module, banned: tuple[str, ...]) -> list[str]:
    """Dotted names such as `os.environ` or calls such as `open` that appear in the code (not in
    comments or texts).
    """
    names = {
        ast.unparse(n): n.lineno for n in ast.walk(module.tree) if isinstance(n, ast.Attribute)
    }
    names |= {
        n.func.id: n.lineno
        for n in ast.walk(module.tree)
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
    }
    names |= dict(module.imports())
    hits = {
        n: line for n, line in names.items() if any(n == b or n.startswith(b + ".") for b in banned)
    }
    return [f"{module.name}:{line} uses {n}" for n, line in sorted(hits.items())]


def silenced_errors(module: Module) -> list[str]:
    """Handlers that catch everything without naming it, or that only pass on `Exception`."""
    return [
        f"{module.name}:{h.lineno} hides errors"
        for h in ast.walk(module.tree)
        if isinstance(h, ast.ExceptHandler) and (h.type is None or _only_passes(h))
    ]


def _only_passes(handler: ast.ExceptHandler) -> bool:
    wide = isinstance(handler.type, ast.Name) and handler.type.id in ("Exception", "BaseException")
    return wide and all(isinstance(s, ast.Pass) for s in handler.body)


# Annotations and names


def missing_annotations(module: Module) -> list[str]:
    return [f"{module.name}:{f.lineno} {f.name}" for f in module.functions() if not _annotated(f)]


def _annotated(f: FunctionNode) -> bool:
    args = [*f.args.posonlyargs, *f.args.args, *f.args.kwonlyargs]
    args += [a for a in (f.args.vararg, f.args.kwarg) if a]
    return f.returns is not None and all(a.annotation or a.arg in ("self", "cls") for a in args)


def vague_names(module: Module) -> list[str]:
    """Modules and classes named after a pattern instead of what they hold."""
    found = [module.name] if VAGUE_NAMES & set(module.name.split(".")) else []
    classes = [n.name for n in ast.walk(module.tree) if isinstance(n, ast.ClassDef)]
    suffixes = tuple(word.capitalize() for word in VAGUE_NAMES)
    return found + [f"{module.name}.{c}" for c in classes if c.endswith(suffixes)]


# Texts


def undocumented(keys: Mapping[str, str], page: str) -> list[str]:
    """Keys without a row ``| `key` | default |`` in a page; values are the defaults as the page
    writes them.
    """
    return [
        f"`{k}` with default `{d}`" for k, d in keys.items() if f"| `{k}` | `{d}` |" not in page
    ]


def machine_paths(text: str) -> list[str]:
    """Absolute paths that exist on one machine only."""
    roots = ["/" + folder + "/" for folder in ("work", "root", "home")]
    return [line.strip() for line in text.splitlines() if any(root in f" {line}" for root in roots)]


# Tests and what they test


_OF_OTHERS = {"_replace", "_asdict", "_fields", "_exit", "_cmd"}
"""Names of named tuples, of `os` and of Milvus 1.x that are public for all their underscore."""


def private_names(source: str) -> list[str]:
    """Where a test reaches into what it tests: private attributes of other objects, private names
    imported or put in the place of others.
    """
    tree = ast.parse(source)
    return [f"{line}: {name}" for node in ast.walk(tree) for line, name in _reached(node)]


def _reached(node: ast.AST) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.Attribute) and _is_private(node.attr):
        if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
            yield node.lineno, node.attr
    elif isinstance(node, ast.ImportFrom):
        yield from ((node.lineno, each.name) for each in node.names if _is_private(each.name))
    elif isinstance(node, ast.Call) and _called(node) in ("setattr", "delattr", "getattr"):
        texts = (each.value for each in node.args[:2] if isinstance(each, ast.Constant))
        names = (each.rpartition(".")[2] for each in texts if isinstance(each, str))
        yield from ((node.lineno, name) for name in names if _is_private(name))


def _called(node: ast.Call) -> str:
    function = node.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in _OF_OTHERS
