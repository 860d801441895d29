"""The definitions beside the catalog: a line for each change, whole again now and then, mended
after a failure.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from milvine.catalog.definition_files import (
    Definition,
    Definitions,
    created,
    dropped,
    read_definitions,
    settled,
)
from milvine.storage import failpoints
from milvine.types import Collection, IdMode, MetricType, Partition

BOOKS = Collection(7, "books", 4, MetricType.L2, 1024)
DEFAULT = Partition(1, 7, "_default")


class Beside:
    """The files of a folder, and a catalog that knows one collection."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "definitions"
        self.catalog: Definition | None = (BOOKS, (DEFAULT,))
        self.files = Definitions(self.folder, lambda number: self.catalog)

    @property
    def path(self) -> Path:
        return self.folder / "collection-7.json"

    def create(self, number: int) -> None:
        assert self.catalog is not None
        partition = Partition(number, 7, f"größer {number}")
        self.catalog = (self.catalog[0], (*self.catalog[1], partition))
        self.files.append(7, created(partition))

    def drop(self, number: int) -> None:
        assert self.catalog is not None
        left = tuple(each for each in self.catalog[1] if each.id != number)
        self.catalog = (self.catalog[0], left)
        self.files.append(7, dropped(number))

    def said(self) -> Definition | None:
        found, damaged = read_definitions(self.folder)
        assert not damaged
        return found[0] if found else None


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[Beside]:
    beside = Beside(tmp_path)
    beside.files.store(BOOKS, (DEFAULT,))
    yield beside
    failpoints.armed.clear()


def test_a_change_is_a_line(beside: Beside) -> None:
    sizes = [beside.path.stat().st_size]
    for number in range(2, 60):
        beside.create(number)
        sizes.append(beside.path.stat().st_size)
    assert max(b - a for a, b in pairwise(sizes)) < 100
    beside.drop(30)
    beside.catalog = (
        Collection(7, "books", 4, MetricType.L2, 1024, IdMode.GIVEN),
        beside.catalog[1],
    )
    beside.files.append(7, settled(beside.catalog[0]))
    assert beside.said() == beside.catalog
    beside.files.remove(7)
    assert beside.said() is None


def test_what_is_of_the_past_goes(beside: Beside) -> None:
    for number in range(2, 2000):
        beside.create(number)
        beside.drop(number)
    assert beside.path.read_bytes().count(b"\n") < 100
    assert beside.said() == beside.catalog


def test_the_end_of_a_crash_is_passed_over_and_never_written_behind(beside: Beside) -> None:
    beside.create(2)
    whole = beside.path.read_bytes()
    for cut in range(whole.index(b"\n") + 1, len(whole)):
        beside.path.write_bytes(whole[:cut])
        assert beside.said() == (BOOKS, (DEFAULT,))
    beside.catalog = (BOOKS, (DEFAULT,))
    beside.files.replace([beside.catalog], beside.files.differing([beside.catalog]))
    beside.create(3)
    assert beside.said() == beside.catalog


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_damaged_line_is_told(beside: Beside, number: int) -> None:
    beside.create(2)
    beside.create(3)
    lines = beside.path.read_bytes().splitlines(keepends=True)
    for place in range(len(lines[number])):
        lines[number] = (
            lines[number][:place] + bytes([lines[number][place] ^ 1]) + lines[number][place + 1 :]
        )
        beside.path.write_bytes(b"".join(lines))
        found, damaged = read_definitions(beside.folder)
        last = number == 2 and place == len(lines[2]) - 1  # without its end it is that of a crash
        assert (found,
                set(damaged)) == ([(BOOKS, (DEFAULT, Partition(2, 7, "größer 2")))] if last else [],
                                         set() if last else {7})  # fmt: skip
        lines[number] = (
            lines[number][:place] + bytes([lines[number][place] ^ 1]) + lines[number][place + 1 :]
        )


def test_a_file_of_format_1_is_read_and_becomes_one_of_lines(beside: Beside) -> None:
    beside.path.write_bytes(beside.path.read_bytes().rstrip(b"\n"))
    beside.files.replace([(BOOKS, (DEFAULT,))], beside.files.differing([(BOOKS, (DEFAULT,))]))
    assert beside.said() == beside.catalog and not beside.path.read_bytes().endswith(b"\n")
    beside.create(2)
    beside.create(3)
    assert beside.said() == beside.catalog and beside.path.read_bytes().count(b"\n") == 2


def test_what_the_disk_refused_follows_with_the_next_change(beside: Beside) -> None:
    def refuse() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    failpoints.armed["definition.write"] = refuse
    beside.create(2)
    failpoints.armed.clear()
    assert beside.said() == (BOOKS, (DEFAULT,))
    beside.create(3)
    assert beside.said() == beside.catalog
    beside.path.unlink()
    beside.create(4)
    assert beside.said() == beside.catalog
