"""ARCHITECTURE.md, the glossary and CONTRIBUTING.md name modules and functions: each is there, and
the walks name those that an insert and a search pass, in their order.
"""

from __future__ import annotations

import ast
import re
import sys
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import milvine
from milvus import IndexType, Milvus

ROOT = Path(__file__).parents[2]
SOURCE = Path(milvine.__file__).parent
PAGES = ("ARCHITECTURE.md", "CONTRIBUTING.md", "docs/glossary.md", "docs/lanes.md")
QUOTED = re.compile(r"`([^`\n]+)`")
PLACE = re.compile(r"([\w./-]+\.py)(?:: ([\w.]+))?")
FOLDER = re.compile(r"(\w+)(?:/[\w-]+)+/?")
OF_A_CLASS = re.compile(r"[A-Z]\w+\.\w+")
Call = tuple[str, int]
"""Path and first line of a function, as its code object tells them."""


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@cache
def defined(path: Path) -> dict[str, ast.AST]:
    """What a module defines: `name`, and of its classes `Class.name`, attributes too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = dict(_names(tree))
    for each in tree.body:
        if isinstance(each, ast.ClassDef):
            inside = [*_names(each), *(pair for f in ast.walk(each) for pair in _of_self(f))]
            found |= {f"{each.name}.{name}": node for name, node in reversed(inside)}
    return found


@cache
def of_classes() -> set[str]:
    """Every `Class.name` there is."""
    return {name for path in SOURCE.rglob("*.py") for name in defined(path) if "." in name}


def _names(scope: ast.Module | ast.ClassDef) -> Iterator[tuple[str, ast.AST]]:
    for node in ast.walk(scope) if isinstance(scope, ast.Module) else scope.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, node
        elif isinstance(node, ast.Assign):
            yield from ((t.id, node) for t in node.targets if isinstance(t, ast.Name))


def _of_self(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Attributes that a method gives its object."""
    if (
        isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    ):
        yield node.attr, node


def wrong(text: str) -> list[str]:
    """Quoted places that are not: `path.py`, `path.py: name`, `folder/folder`, `Class.name`."""
    found = []
    for quoted in QUOTED.findall(text):
        if place := PLACE.fullmatch(quoted):
            path = next((p for p in (SOURCE / place[1], ROOT / place[1]) if p.is_file()), None)
            if path is None or (place[2] and place[2] not in defined(path)):
                found.append(quoted)
        elif (folder := FOLDER.fullmatch(quoted)) and (SOURCE / folder[1]).is_dir():
            if not (SOURCE / quoted).exists():
                found.append(quoted)
        elif OF_A_CLASS.fullmatch(quoted) and quoted not in of_classes():
            found.append(quoted)
    return found


@pytest.mark.parametrize("name", PAGES)
def test_what_the_pages_name_is_there(name: str) -> None:
    text = page(name)
    rows = re.findall(r"^\| `([\w/]+)` \|[^|]*\| ([^|]*) \|", text, re.MULTILINE)  # the code map
    for package, start in rows:
        modules = QUOTED.findall(start)
        assert [m for m in modules if not (SOURCE / package / m).exists()] == [], package
        text = text.replace(f"| {start} |", "| |")
    assert wrong(text) == []
    assert len(PLACE.findall(text)) > 10, "nothing was looked at"


def test_the_check_sees_what_is_not_there() -> None:
    assert wrong("`wal/log.py: Log.append` `Stores.builds` `wal/log.py` `server/doors`") == []
    assert wrong("`segment/cache.py: FileCache.crowded` `types.py: Query.k`") == []
    bad = [
        "Stores.built",
        "wal/log.py: Log.appended",
        "wal/logs.py",
        "log.py",
        "server/door",
        "types.py: Querys",
    ]
    assert wrong(" ".join(f"`{each}`" for each in bad)) == bad


def test_one_module_names_an_index_type() -> None:
    """Beside the enum, where programs find the names of types."""
    for name, module in {
        "HNSW_?SQ8": "graphs/hnsw.py",
        "IVF_?PQFS": "inverted/fast_scan.py",
        "IVF_?RABITQ": "inverted/rabitq.py",
    }.items():
        naming = {
            str(path.relative_to(SOURCE))
            for path in SOURCE.rglob("*.py")
            if re.search(rf"\b{name}\b", path.read_text(encoding="utf-8"))
        }
        assert naming == {"types.py", f"index/{module}"}


def test_the_glossary_is_in_order() -> None:
    words = re.findall(r"^\| ([^|]+) \|", page("docs/glossary.md"), re.MULTILINE)[1:]
    words = [word.lower() for word in words if not word.startswith("-")]
    assert words == sorted(words) and len(words) == len(set(words)) > 60


# The walks


def steps(title: str) -> list[tuple[str, Call]]:
    """The functions of a walk, with the code that each is."""
    section = re.split(r"^#", page("ARCHITECTURE.md").partition(f"### {title}\n")[2], flags=re.M)[0]
    found: list[tuple[str, Call]] = []
    for number, row in re.findall(r"^\| (\d+) \| `([^`]+)` \|", section, re.MULTILINE):
        path, _, name = row.partition(": ")
        node = defined(SOURCE / path)[name]
        assert isinstance(node, ast.FunctionDef), row
        assert int(number) == len(found) + 1, row
        line = min([node.lineno, *(each.lineno for each in node.decorator_list)])
        found.append((row, (path, line)))
    return found


class Trail:
    """Which functions of Milvine are called by a caller and the writer, while there is a caller."""

    def __init__(self) -> None:
        self._caller: threading.Thread | None = None
        self.calls: list[Call] = []

    def note(self, frame: FrameType, event: str, arg: Any) -> None:
        if self._caller is None or event != "call":
            return
        thread, file = threading.current_thread(), Path(frame.f_code.co_filename)
        ours = thread is self._caller or thread.name == "milvine-writer"
        if ours and file.is_relative_to(SOURCE):
            place = file.relative_to(SOURCE).as_posix()
            self.calls.append((place, frame.f_code.co_firstlineno))

    def of(self, call: Callable[[], Any]) -> list[Call]:
        self.calls = []
        before = sys.getprofile()
        sys.setprofile(self.note)
        try:
            self._caller = threading.current_thread()
            call()
        finally:
            self._caller = None
            sys.setprofile(before)
        return self.calls


def not_passed(walk: list[tuple[str, Call]], calls: list[Call]) -> list[str]:
    """Steps that did not come, or not after the one before."""
    missing, at = [], 0
    for row, code in walk:
        if code in calls[at:]:
            at = calls.index(code, at) + 1
        else:
            missing.append(row)
    return missing


@pytest.fixture(scope="module")
def trails(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Call], list[Call]]:
    """Those of an insert and of a search, in a collection with an indexed segment and a tail."""
    trail, rows = Trail(), np.random.default_rng(1).random((5000, 8), dtype=np.float32)
    threading.setprofile(trail.note)  # for the writer, which begins with the database
    try:
        client = Milvus(uri=(tmp_path_factory.mktemp("walks") / "data").as_uri())
    finally:
        threading.setprofile(None)
    client.create_collection({"collection_name": "c", "dimension": 8})
    client.insert("c", rows)
    status = client.create_index("c", IndexType.IVF_FLAT, {"nlist": 16})
    assert status.OK(), status
    insert = trail.of(lambda: client.insert("c", rows[:10]))
    search = trail.of(lambda: client.search("c", 3, rows[:1], params={"nprobe": 4}))
    client.close()
    return insert, search


def test_an_insert_takes_the_steps_of_its_walk(trails: tuple[list[Call], list[Call]]) -> None:
    walk = steps("One insert, step by step")
    assert 12 <= len(walk) <= 18
    assert not_passed(walk, trails[0]) == []
    assert not_passed(walk[::-1], trails[0]) != []


def test_a_search_takes_the_steps_of_its_walk(trails: tuple[list[Call], list[Call]]) -> None:
    walk = steps("One search, step by step")
    assert 12 <= len(walk) <= 18
    assert not_passed(walk, trails[1]) == []
    assert not_passed(walk[::-1], trails[1]) != []


def test_the_page_says_where_an_insert_is_durable_and_a_search_pins() -> None:
    insert = [row for row, _ in steps("One insert, step by step")]
    search = [row for row, _ in steps("One search, step by step")]
    assert insert.index("wal/log.py: Log.append") == 14 - 1
    assert insert.index("state/collection.py: CollectionState.publish_tail") == 16 - 1
    assert search.index("engine/collection.py: OpenCollection.pin") == 8 - 1
    first = page("ARCHITECTURE.md").partition("## Where to look first")[2]
    assert "`wal/log.py: Log.append`, [step 14 of" in first
    assert "`engine/collection.py: OpenCollection.pin`, [step 8 of" in first
