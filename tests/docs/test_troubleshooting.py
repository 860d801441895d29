"""Every error that whoever runs the database can meet has its entry: text, cause and cure."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from milvine.errors import OperatorError

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "milvine"
PAGE = ROOT / "docs" / "operations" / "troubleshooting.md"
BESIDE = ("repair.md", "backup.md")
"""Pages of commands, which may explain the texts of their own."""
ELSEWHERE = ("client", "testing", "sizing")
MAKER = "refusal"
"""Makes the error for what the operating system refused: `Cannot ...`."""
CLASSES = re.compile(r"^class (\w+)\((\w+)", re.MULTILINE)
MODULES = [
    p for p in sorted(SOURCE.rglob("*.py")) if p.relative_to(SOURCE).parts[0] not in ELSEWHERE
]


def operator_errors() -> set[str]:
    """Names of OperatorError and what is derived from it, found in the source: no optional package
    is needed.
    """
    pairs = [pair for path in MODULES for pair in CLASSES.findall(path.read_text(encoding="utf-8"))]
    found = {OperatorError.__name__}
    while True:
        more = {name for name, base in pairs if base in found} - found
        if not more:
            return found
        found |= more


def stems(path: Path, names: set[str]) -> Iterator[str]:
    """The longest fixed piece of each message given to one of these classes."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    own = {
        id(node)
        for each in ast.walk(tree)
        if isinstance(each, ast.ClassDef) and each.name in names
        for node in ast.walk(each)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.value if isinstance(node.func, ast.Attribute) else node.func
        if isinstance(called, ast.Name) and (
            called.id in names or (called.id == "cls" and id(node) in own)
        ):
            pieces = [
                c.value for a in node.args for c in ast.walk(a) if isinstance(c, ast.Constant)
            ]
            words = [piece.strip(" .;:,()") for piece in pieces if isinstance(piece, str)]
            if words and len(max(words, key=len)) > 7:
                yield max(words, key=len)


def flat(text: str) -> str:
    return re.sub(r"\s+", " ", text)


@pytest.mark.parametrize("name", sorted(operator_errors() - {"OperatorError"}))
def test_every_class_is_named(name: str) -> None:
    assert f"`{name}`" in PAGE.read_text(encoding="utf-8"), (
        f"docs/operations/troubleshooting.md says nothing of {name}"
    )


def test_every_text_has_an_entry() -> None:
    pages = [PAGE, *(page for name in BESIDE if (page := PAGE.with_name(name)).exists())]
    page = flat("".join(each.read_text(encoding="utf-8") for each in pages))
    names = {*operator_errors(), MAKER}
    missing = {
        stem: path.name for path in MODULES for stem in stems(path, names) if flat(stem) not in page
    }
    assert missing == {}, "docs/operations/troubleshooting.md: add text, cause and cure"


def test_the_scan_finds_what_is_there() -> None:
    assert {"StorageFailed", "CatalogFailed", "DoorFailed", "CorruptFile"} <= operator_errors()
    assert "write the log in" in set(stems(SOURCE / "wal" / "log.py", {MAKER}))
