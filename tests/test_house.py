"""The tree keeps its own rules: sizes, layers, what a part must not know, settings and errors
accounted for.
"""

from __future__ import annotations

import os
import pickle
import re
from dataclasses import fields
from pathlib import Path

import pytest

from milvine import errors
from milvine.config import ALL, KEYS, Settings, default_text
from milvine.server.operations import NOT_SERVED, SERVED
from milvine.wire.schema import RPCS
from tests import house
from tests.house import Module

ROOT = Path(__file__).parents[1]
MODULES = house.load(ROOT / "src")

# Where our own modules may be imported on first use: nowhere else.
LAZY = ("milvine.index.registry", "milvine.client.transports", "milvine.cli")
# Tells faiss how its threads wait, which can only be said through the environment, and puts that
# back.
SETS_THE_ENVIRONMENT = ("milvine.index.native",)
# The body of a process of its own: its standard error is how it tells its parent.
PROCESSES = ("milvine.maintenance.builder",)
# What the defaults of settings and the memory plan are made of.
ASKS_FOR_THE_LIMIT = ("milvine.config.bounded", "milvine.memory_plan")
# A database is opened here; a server opens one; the last only prints it.
MAKES_THE_PLAN = ("milvine.engine.opening", "milvine.server.app", "milvine.cli.config")
# Private names of others in tests: fewer each time, never more.
PRIVATE_NAMES_MAX = 10
WRITE_AND_READ_PATHS = house.LAYERS[house.LAYERS.index("engine") :]


def _in(*layers: str) -> list[Module]:
    return [m for m in MODULES if m.layer in layers]


def _outside(*layers: str) -> list[Module]:
    return [m for m in MODULES if m.layer not in layers]


def _named(*names: str) -> list[Module]:
    return [m for m in MODULES if m.name in names]


def _texts() -> dict[str, str]:
    """Every text that ships or that a developer reads, by path."""
    code = (
        "src/**/*.py",
        "src/**/*.proto",
        "tests/**/*.py",
        "bench/*.py",
        "examples/*.py",
        "scripts/*",
    )
    prose = ("docs/**/*.md", "*.md", "findings/*", "Makefile", "pyproject.toml", ".ci/run")
    paths = [p for pattern in code + prose for p in ROOT.glob(pattern) if p.is_file()]
    return {str(p.relative_to(ROOT)): p.read_text(encoding="utf-8") for p in paths}


def _page(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


# Sizes


def test_no_module_is_too_long() -> None:
    assert [v for m in MODULES for v in house.long_modules(m)] == []


def test_no_folder_is_crowded() -> None:
    assert house.crowded_folders(MODULES) == []


def test_no_function_is_too_long() -> None:
    assert [v for m in MODULES for v in house.long_functions(m)] == []


def test_most_functions_are_short(capsys: pytest.CaptureFixture[str]) -> None:
    median, ninth_tenth = house.function_sizes(MODULES)
    lines = sorted(m.source.count("\n") for m in MODULES)
    with capsys.disabled():
        print(
            f"\n{len(MODULES)} modules of at most {lines[-1]} lines; functions: median {median:g},"
            f" p90 {ninth_tenth:g}"
        )
    assert median < 10
    assert ninth_tenth < 40


# Imports


def test_imports_point_down() -> None:
    assert [v for m in MODULES for v in house.upward_imports(m)] == []


def test_every_module_has_a_layer() -> None:
    assert [v for m in MODULES for v in house.unknown_layers(m)] == []


def test_no_import_cycles() -> None:
    assert house.cycles(MODULES) == []


def test_only_the_registries_import_on_first_use() -> None:
    strict = [m for m in MODULES if not m.name.startswith(LAZY)]
    assert [v for m in strict for v in house.function_level_imports(m)] == []


def test_nothing_lies_unused() -> None:
    users = "\n".join(
        text for path, text in _texts().items() if path.startswith(("tests/", "pyproject"))
    )
    entry_points = {"milvine", "milvus", "milvine.__main__"}
    # The registry of index types imports every module of theirs.
    kernels = {m.name for m in _in("index") if "\nSPECS = (" in m.source}
    assert set(house.orphans(MODULES, users)) - entry_points - kernels == set()


# What each part must not know


def test_wire_opens_no_socket() -> None:
    banned = ("socket", "grpc", "asyncio", "http", "urllib", "ssl", "pygrpc_native")
    assert [v for m in _in("wire") for v in house.imports_any(m, banned)] == []


def test_the_protocol_of_lanes_has_no_socket_thread_or_clock() -> None:
    pure = _named(
        *(
            f"milvine.lanes.{name}"
            for name in ("http2", "agreement", "client_protocol", "server_protocol")
        )
    )
    assert len(pure) == 4
    banned = ("socket", "selectors", "ssl", "threading", "time", "os", "grpc")
    assert [v for m in pure for v in house.imports_any(m, banned)] == []


def test_index_knows_no_files() -> None:
    banned = ("open", "os.open", "os.path", "pathlib", "shutil", "tempfile")
    assert [v for m in _in("index") for v in house.mentions_any(m, banned)] == []


def test_only_the_catalog_speaks_sql() -> None:
    damaging = _named("milvine.testing.fuzz.folder")  # what no commit would write
    modules = [m for m in _outside("catalog") if m not in damaging]
    assert [v for m in modules for v in house.imports_any(m, ("sqlalchemy", "sqlite3"))] == []


def test_only_the_cli_reads_the_environment() -> None:
    readers = [m for m in _outside("cli", "testing") if m.name not in SETS_THE_ENVIRONMENT]
    assert [v for m in readers for v in house.mentions_any(m, ("os.environ", "os.getenv"))] == []


def test_only_the_plan_asks_for_the_memory() -> None:
    """Everybody else is given a part of it."""
    for name, users in (
        ("memory_limit", ("milvine.memory", *ASKS_FOR_THE_LIMIT)),
        ("plan_here", ("milvine.memory_plan", *MAKES_THE_PLAN)),
    ):
        others = [m for m in MODULES if m.name not in users]
        assert [v for m in others for v in house.uses_name(m, name)] == []
        at_import = [m for m in MODULES if m.name in users]
        assert [v for m in at_import for v in house.called_at_import(m, name)] == []


def test_client_imports_neither_server_nor_kernel() -> None:
    banned = ("milvine.server", "milvine.engine", "milvine.index", "faiss")
    assert [
        v for m in _in("client", "milvus") for v in house.imports_any(m, banned, static_only=True)
    ] == []


def test_nothing_replaces_its_process() -> None:
    """Nobody can know whose it is: a test runner's, a notebook's."""
    calls = tuple(f"os.exec{kind}" for kind in ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe"))
    assert [v for m in MODULES for v in house.mentions_any(m, calls)] == []
    scripts = sorted((ROOT / "bench").rglob("*.py"))
    assert [path.name for path in scripts if "os.exec" in path.read_text(encoding="utf-8")] == []


def test_search_takes_no_lock() -> None:
    banned = tuple(
        f"threading.{kind}"
        for kind in ("Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore")
    )
    assert [v for m in _in("search") for v in house.mentions_any(m, banned)] == []


def test_jobs_change_nothing_themselves() -> None:
    """They hand what they change to the writer thread, whose code they do not know."""
    banned = ("milvine.ingest",)
    assert [v for m in _in("maintenance") for v in house.imports_any(m, banned)] == []


def test_the_engine_calls_no_logger() -> None:
    banned = ("logging", "milvine.logs")
    engine = _in(*WRITE_AND_READ_PATHS)
    assert [v for m in engine for v in house.imports_any(m, banned)] == []
    assert [
        v for m in engine if m.name not in PROCESSES for v in house.mentions_any(m, ("print",))
    ] == []


def test_policies_have_no_thread_clock_or_file() -> None:
    banned = ("threading", "time", "os", "pathlib", "subprocess", "concurrent")
    pure = _named("milvine.maintenance.policy")
    assert [v for m in pure for v in house.imports_any(m, banned)] == []


def test_no_handler_hides_errors() -> None:
    assert [v for m in MODULES for v in house.silenced_errors(m)] == []


def test_no_test_stops_the_clock_of_all_threads() -> None:
    """A server of another test may serve in this process: its event loop would sleep for what the
    clock jumps.
    """
    # Bad examples are here.
    tests = [path for path in sorted((ROOT / "tests").rglob("*.py")) if path != Path(__file__)]
    stopped = {path.name: house.stopped_clocks(path.read_text(encoding="utf-8")) for path in tests}
    assert {name: found for name, found in stopped.items() if found} == {}


def test_few_tests_reach_into_what_they_test() -> None:
    """They would fail when it is written in another way, and hold nothing that a caller sees."""
    tests = sorted((ROOT / "tests").rglob("*.py"))
    reached = {
        str(path.relative_to(ROOT)): found
        for path in tests
        if (found := house.private_names(path.read_text(encoding="utf-8")))
    }
    assert sum(map(len, reached.values())) <= PRIVATE_NAMES_MAX, reached


# Annotations, names, texts


def test_every_function_is_annotated() -> None:
    assert [v for m in MODULES for v in house.missing_annotations(m)] == []


def test_nothing_is_named_after_a_pattern() -> None:
    assert [v for m in MODULES for v in house.vague_names(m)] == []


def test_no_text_names_a_path_of_one_machine() -> None:
    assert {
        path: found for path, text in _texts().items() if (found := house.machine_paths(text))
    } == {}


# Findings


@pytest.mark.parametrize(
    "script", sorted((ROOT / "findings").glob("*.sh")), ids=lambda path: path.stem
)
def test_a_finding_says_what_surprises_and_pins_what_it_tries(script: Path) -> None:
    assert os.access(script, os.X_OK)
    assert f"`{script.name}`" in _page("findings/README.md")
    text = script.read_text(encoding="utf-8")
    head = re.match(r"#!.*bash\n(# .{40,}\n)(#.*\n){4,}", text)
    assert head and "matters to" in head[0]
    installed = " ".join(re.findall(r"\binstall\b((?:.*\\\n)*.*)", text)).replace("\\", "").split()
    packages = [word for word in installed if not word.startswith("-")]
    assert packages and [word for word in packages if "==" not in word] == []
    assert not re.search(r"\bmilvine\b(?!/)", text.removeprefix(head[0])), "a finding is of others"


# Settings, errors, rpcs


def test_every_setting_has_a_key() -> None:
    assert {f.name for f in fields(Settings)} - set(KEYS) == {"background", "index_rows_min"}
    assert len({key for key, _ in KEYS.values()}) == len(KEYS)


def test_every_key_is_documented_with_its_default() -> None:
    page = _page("docs/configuration.md")
    assert house.undocumented({key.name: default_text(key) or '""' for key in ALL}, page) == []
    documented = re.findall(r"^\| `([a-z_0-9]+\.[a-z_.0-9]+)` \|", page, re.MULTILINE)
    assert sorted(documented) == sorted(key.name for key in ALL)


def _error_classes(base: type[errors.MilvineError]) -> list[type[errors.MilvineError]]:
    return [base, *(c for sub in base.__subclasses__() for c in _error_classes(sub))]


@pytest.mark.parametrize("error", _error_classes(errors.MilvineError), ids=lambda e: e.__name__)
def test_every_error_has_a_code_and_travels(error: type[errors.MilvineError]) -> None:
    assert isinstance(error.code, errors.ErrorCode)
    again = pickle.loads(pickle.dumps(error("text")))
    assert (type(again), again.message, again.code) == (error, "text", error.code)


def test_every_rpc_has_an_operation_or_is_refused_openly() -> None:
    assert set(SERVED) | set(NOT_SERVED) == set(RPCS)
    assert set(SERVED) & set(NOT_SERVED) == set()


def test_the_compatibility_page_lists_every_rpc() -> None:
    rows = [line for line in _page("docs/compatibility.md").splitlines() if line.startswith("| ")]
    for rpc in RPCS:
        row = next(line for line in rows if re.search(rf"\b{rpc}\b", line))
        assert ("not yet" in row) == (rpc in NOT_SERVED), row


# The checkers themselves must be able to fail


def _module(name: str, source: str, *known: str) -> Module:
    return Module(name, source, known=frozenset([name, *known]))


def test_checkers_see_sizes() -> None:
    folder = [_module(f"milvine.wal.m{number}", "") for number in range(21)]
    assert house.crowded_folders(folder) == ["milvine.wal has 21 modules"]
    assert not house.crowded_folders(folder[1:])
    assert house.long_modules(_module("milvine.wal.log", "x = 1\n" * 401))
    assert not house.long_modules(_module("milvine.wal.log", "x = 1\n" * 400))
    assert house.long_functions(
        _module("milvine.wal.log", "def f() -> None:\n" + "    x = 1\n" * 70)
    )
    assert not house.long_functions(
        _module("milvine.wal.log", "def f() -> None:\n" + "    x = 1\n" * 69)
    )


@pytest.mark.parametrize(
    ("name", "source", "bad"),
    [
        ("milvine.wal.log", "from milvine.engine.database import Database", True),
        ("milvine.types", "import milvine.wal.log", True),
        ("milvine.wal.log", "def f():\n    from milvine import engine", True),
        ("milvine.client.milvus", "from ..server import app", False),
        ("milvine.wal.log", "from ..catalog import sql", True),
        ("milvus", "from milvine.server import app", True),
        (
            "milvine.engine.database",
            "from milvine.types import Ids\nfrom milvine.wal import log",
            False,
        ),
    ],
)
def test_checkers_see_directions(name: str, source: str, bad: bool) -> None:
    assert (
        bool(house.upward_imports(_module(name, source, "milvine.engine", "milvine.catalog.sql")))
        is bad
    )


def test_checkers_see_cycles_and_orphans() -> None:
    names = ("milvine.wal.a", "milvine.wal.b", "milvine.wal.c")
    a = _module(names[0], "from milvine.wal import b", *names)
    b = _module(names[1], "from milvine.wal.c import x", *names)
    c = _module(names[2], "import milvine.wal.a", *names)
    lazy = _module(names[2], "def f():\n    import milvine.wal.a", *names)
    assert house.cycles([a, b, c]) == [
        "milvine.wal.a -> milvine.wal.b -> milvine.wal.c -> milvine.wal.a"
    ]
    assert house.cycles([a, b, lazy]) == []
    assert house.function_level_imports(lazy)
    assert house.orphans([a, b]) == ["milvine.wal.a"]
    assert house.orphans([a, b], "python -m milvine.wal.a") == []


@pytest.mark.parametrize(
    ("source", "banned"),
    [
        ("import os\nx = os.environ['A']", "os.environ"),
        ("from os import environ", "os.environ"),
        ("with open('x') as f: pass", "open"),
        ("import threading\nl = threading.Lock()", "threading.Lock"),
        ("from threading import Lock", "threading.Lock"),
    ],
)
def test_checkers_see_what_is_banned(source: str, banned: str) -> None:
    assert house.mentions_any(_module("milvine.index.flat", source), (banned,))


def test_checkers_see_who_asks_for_the_memory() -> None:
    for source in (
        "from milvine.memory import memory_limit",
        "from milvine import memory\nx = memory.memory_limit()",
        "def f():\n    return memory_limit()",
    ):
        assert house.uses_name(_module("milvine.index.flat", source), "memory_limit")
    assert not house.uses_name(_module("milvine.index.flat", "memory_limits = 1"), "memory_limit")
    for source, early in (
        ("MOST = memory_limit() // 8", True),
        ("class A:\n    most: int = memory.memory_limit()", True),
        ("def f(most: int = memory_limit()) -> None: ...", True),
        ("def f() -> int:\n    return memory_limit()", False),
    ):
        module = _module("milvine.memory_plan", source)
        assert bool(house.called_at_import(module, "memory_limit")) is early


def test_checkers_see_imports() -> None:
    module = _module("milvine.wire.packed", "import grpc.aio\ndef f():\n    import faiss")
    assert house.imports_any(module, ("grpc",)) == ["milvine.wire.packed imports grpc.aio"]
    assert house.imports_any(module, ("faiss",)) and not house.imports_any(
        module, ("faiss",), static_only=True
    )


@pytest.mark.parametrize(
    "source", ["def f(x) -> int: ...", "def f(x: int): ...", "def f(*args) -> None: ..."]
)
def test_checkers_see_missing_annotations(source: str) -> None:
    assert house.missing_annotations(_module("milvine.types", source))


def test_checkers_see_hidden_errors() -> None:
    assert house.silenced_errors(_module("milvine.types", "try:\n    x\nexcept:\n    y"))
    assert house.silenced_errors(
        _module("milvine.types", "try:\n    x\nexcept Exception:\n    pass")
    )
    assert not house.silenced_errors(
        _module("milvine.types", "try:\n    x\nexcept OSError:\n    pass")
    )


@pytest.mark.parametrize(
    ("line", "bad"),
    [
        ('monkeypatch.setattr(lanes.time, "monotonic", stop)', True),
        ('patch.setattr(time, "sleep", stop)', True),
        ('patch.setattr("milvine.lanes.durations.time.monotonic", stop)', True),
        ('patch.setattr("time.time", stop)', True),
        ('patch.setattr(lanes, "time", SimpleNamespace(monotonic=stop))', False),
        ('patch.setattr(lanes, "_KEPT_SECONDS", 1)', False),
    ],
)
def test_checkers_see_stopped_clocks(line: str, bad: bool) -> None:
    assert bool(house.stopped_clocks(line)) == bad


@pytest.mark.parametrize(
    ("line", "bad"),
    [
        ("database._state('c')", True),
        ("assert not cache._kept", True),
        ("from milvine.maintenance.worker import _due", True),
        ('monkeypatch.setattr(module, "_PAUSE", 0.0)', True),
        ('monkeypatch.setattr("milvine.offline.backup._moment", moment)', True),
        ('patch.delattr(module, "_PAUSE")', True),
        ('getattr(own._own, "lane", None)', True),
        ('getattr(own, "_lane", None)', True),
        ("self._answers.append(answer)", False),
        ("cls._made = made", False),
        ("value.__class__.__name__", False),
        ("place._replace(unix='')", False),
        ("os._exit(0)", False),
        ('monkeypatch.setattr(module, "PAUSE", 0.0)', False),
        ("from milvine.maintenance import worker", False),
    ],
)
def test_checkers_see_private_names(line: str, bad: bool) -> None:
    assert bool(house.private_names(line)) == bad


def test_checkers_see_names_layers_and_texts() -> None:
    assert house.vague_names(_module("milvine.wal.utils", ""))
    assert house.vague_names(_module("milvine.wal.log", "class LogManager: ..."))
    assert house.unknown_layers(_module("milvine.odds.ends", ""))
    assert house.undocumented({"wal.sync": "true"}, "| `wal.sync` | `false` |")
    assert house.machine_paths("see /" + "work/notes")
