"""Lists of an inverted file, asked for before they are read, where the file is mapped and much of
it not in memory.

Such a list is a few hundred kilobytes in a row. Read page by page as a search comes to each, it
takes as many waits for the disk; asked for in one call, and all lists of a search together, it
takes about one.
"""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

import numpy as np

from milvine.types import Floats, Ids

PAGE_BYTES = mmap.PAGESIZE


class ListsAhead:
    """Where the lists of an IVF index of faiss lie. `index` is kept alive by the caller, whom this
    belongs to.

    Args:
        most: bytes that one call asks for: more would push out what came first.
    """

    def __init__(self, index: Any, most: int) -> None:
        self._most, self._quantizer = most, index.quantizer
        lists = index.invlists
        starts = [int(lists.get_codes(number)) for number in range(index.nlist)]
        sizes = np.array([lists.list_size(number) for number in range(index.nlist)], np.int64)
        self._starts = np.array(starts, np.int64)
        self._ends = self._starts + sizes * (index.code_size + 8)  # the numbers of its rows follow
        self._mean = max(1, int((self._ends - self._starts).mean()))

    def queries_at_once(self, nprobe: int) -> int:
        """How many queries should be searched for in one go."""
        return max(1, self._most // (nprobe * self._mean))

    def ask(self, queries: Floats, nprobe: int) -> None:
        """Have the lists that a search of C-contiguous `queries` will read brought into memory,
        without waiting.
        """
        for number in np.unique(self._quantizer.assign(queries, nprobe)).tolist():
            if number >= 0:
                will_need(int(self._starts[number]), int(self._ends[number]))


def ask_rows(vectors: Floats, rows: Ids, most: int) -> None:
    """Have some mapped rows brought into memory, without waiting: `most` of them.

    Args:
        rows: numbers of any shape; -1 for none.
    """
    start, size = vectors.ctypes.data, vectors.strides[0]
    for row in np.unique(rows)[:most].tolist():
        if row >= 0:
            will_need(start + row * size, start + (row + 1) * size)


def _madvise() -> Any:
    try:
        call = ctypes.CDLL(None).madvise
    except (OSError, TypeError, AttributeError):  # Windows
        return None
    call.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return call


_CALL = _madvise()


def will_need(start: int, end: int) -> None:
    """What comes of it does not matter: it is a hint."""
    start -= start % mmap.PAGESIZE
    if _CALL is not None and end > start:
        _CALL(start, end - start, mmap.MADV_WILLNEED)
