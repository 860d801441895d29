"""The lists of an inverted file, written without being held in memory: which list each row is in,
and the rows again.

A library's own way is to copy every row into a list in memory, and to write the lists when all are
full. Here a list is a number for each row, four bytes, and is filled when its turn comes to be
written: as many lists at a time as a buffer holds, each time from one pass over the rows in their
order. Where the rows do not fit into memory, that is the order in which a disk reads well, and the
larger the buffer, the fewer passes there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from milvine.index.base import Report, Write, untold
from milvine.index.native import faiss, pointer
from milvine.types import Bytes, Ids

BUFFER_BYTES = 64 << 20
"""Where memory is plenty: more saves no time."""
BUFFER_BYTES_MIN = 4 << 20
_BUFFER_SHARE = 0.65
PIECE_BYTES = 4 << 20
ROW_BYTES = 8 + 8 + 8 + 2
"""Of each row in a buffer: its number, its place and what it takes to find that."""
_NO_LISTS = b"il00"


@dataclass(frozen=True, slots=True)
class Portion:
    """Lists from `first` up to `last`: their `rows`, ascending, and the place of each in the order
    of lists.
    """

    first: int
    last: int
    rows: Ids
    places: Ids

    def in_order(self) -> Ids:
        """The rows list by list, ascending in each."""
        ordered = np.empty_like(self.rows)
        ordered[self.places] = self.rows
        return ordered


@dataclass(frozen=True, slots=True)
class Lists:
    """`numbers`: int32 (rows,), the list of each row, -1 for none. `sizes`: int64 (lists,)."""

    numbers: NDArray[np.int32]
    sizes: Ids = field(repr=False)

    @classmethod
    def empty(cls, rows: int, nlist: int) -> Lists:
        return cls(np.full(rows, -1, dtype=np.int32), np.zeros(nlist, dtype=np.int64))

    def put(self, rows: slice | Ids, numbers: Ids) -> None:
        """The lists of some rows, none of which had one; `numbers` is int64 (rows,), -1 for none:
        as far away.
        """
        self.numbers[rows] = numbers
        self.sizes[:] += np.bincount(numbers[numbers >= 0], minlength=len(self.sizes))

    def of(self, rows: Ids) -> Lists:
        """Without all other rows."""
        numbers = np.full_like(self.numbers, -1)
        numbers[rows] = self.numbers[rows]
        held = numbers[numbers >= 0]
        return Lists(numbers, np.bincount(held, minlength=len(self.sizes)))

    def portions(self, rows_max: int) -> Iterator[Portion]:
        """All lists in their order, as many at a time as have at most so many rows; a longer one
        comes alone.
        """
        ends = np.cumsum(self.sizes)
        first = 0
        while first < len(ends):
            before = ends[first - 1] if first else 0
            last = max(first + 1, int(np.searchsorted(ends, before + rows_max, side="right")))
            yield self._portion(first, last)
            first = last

    def _portion(self, first: int, last: int) -> Portion:
        rows = np.flatnonzero((self.numbers >= first) & (self.numbers < last))
        if last == first + 1:
            return Portion(first, last, rows, np.arange(len(rows)))
        numbers = self.numbers[rows] - first
        few = last - first <= 1 << 16  # 16 bits are sorted quickest
        order = np.argsort(numbers.astype(np.uint16) if few else numbers, kind="stable")
        places = np.empty_like(order)
        places[order] = np.arange(len(order))
        return Portion(first, last, rows, places)


def buffer_rows(row_bytes: int, rows: int, memory: int) -> int:
    """Rows that a buffer holds at `row_bytes` each, of `rows` in all, where `memory` bytes may be
    used; 0: any number.

    Rows that fit into that memory stay there from pass to pass, so that more passes cost nothing.
    """
    size, share = BUFFER_BYTES, int(memory * _BUFFER_SHARE)
    if memory:
        size = min(size, share) if rows * row_bytes < memory else share
    return max(1, max(size, BUFFER_BYTES_MIN) // (row_bytes + ROW_BYTES))


def write_lists(
    write: Write,
    index: Any,
    lists: Lists,
    row_bytes: int,
    codes_of: Callable[[Ids], Bytes],
    memory: int = 0,
    report: Report = untold,
) -> None:
    """Pass what `faiss.write_index` writes of a trained, empty IVF index after rows were added to
    it to `write`.

    Args:
        index: an IVF index whose lists are arrays of codes. It loses its own, empty ones.
        row_bytes: of a vector that codes are made from.
        codes_of: uint8 (rows, code size) of some row numbers, ascending.
        memory: bytes that may be used; 0 for any number.
    """
    index.ntotal = int(lists.sizes.sum())
    index.replace_invlists(None)
    frame = _AllButLists(write)
    faiss.write_index(index, faiss.PyCallbackIOWriter(frame, PIECE_BYTES))
    frame.finish()
    write(_list_header(index.code_size, lists.sizes))
    piece = max(1, PIECE_BYTES // row_bytes)
    done = 0
    for portion in lists.portions(buffer_rows(index.code_size, len(lists.numbers), memory)):
        report("writing", done)
        done += len(portion.rows)
        _write_portion(write, portion, lists.sizes, index.code_size, codes_of, piece)


class _AllButLists:
    """Hands on what faiss writes of an index without lists, but for the last word, which
    says so.
    """

    def __init__(self, write: Write) -> None:
        self._write, self._last = write, b""

    def __call__(self, piece: bytes) -> None:
        self._write(self._last)
        self._last = bytes(piece)

    def finish(self) -> None:
        assert self._last == _NO_LISTS, "faiss writes another format"


def _list_header(code_size: int, sizes: Ids) -> bytes:
    """faiss's words before the lists: their sizes, or the numbers and sizes of those with rows
    where they are few.
    """
    filled = np.flatnonzero(sizes)
    many = len(filled) > len(sizes) // 2
    words = sizes if many else np.column_stack([filled, sizes[filled]])
    head = np.array([len(sizes), code_size], dtype="<u8").tobytes()
    count = np.array([words.size], dtype="<u8").tobytes()
    return b"ilar" + head + (b"full" if many else b"sprs") + count + words.astype("<u8").tobytes()


def _write_portion(
    write: Write,
    portion: Portion,
    sizes: Ids,
    code_size: int,
    codes_of: Callable[[Ids], Bytes],
    piece: int,
) -> None:
    rows, pieces = portion.rows, range(0, len(portion.rows), piece)
    if portion.last == portion.first + 1:  # its rows are in order as they are
        for start in pieces:
            write(codes_of(rows[start : start + piece]).data)
        return _write_all(write, rows)
    codes, ids = np.empty((len(rows), code_size), dtype=np.uint8), portion.in_order()
    for start in pieces:
        part = slice(start, start + piece)
        codes[portion.places[part]] = codes_of(rows[part])
    start = 0
    for size in sizes[portion.first : portion.last].tolist():
        _write_all(write, codes[start : start + size])
        _write_all(write, ids[start : start + size])
        start += size


def _write_all(write: Write, array: NDArray[Any]) -> None:
    if array.size:
        write(array.reshape(-1).view(np.uint8).data)


def coded(index: Any, vectors: NDArray[np.float32], numbers: Ids) -> Bytes:
    """The codes of rows (rows, dimension) in lists of these numbers, uint8 (rows, code size)."""
    codes = np.empty((len(vectors), index.code_size), dtype=np.uint8)
    index.encode_vectors(len(vectors), pointer(vectors), pointer(numbers), pointer(codes))
    return codes
