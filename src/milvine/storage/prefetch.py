"""Asking the system for parts of a mapped file before they are read, where memory is short: asked
for together they take about one wait for the disk, read one by one as many as there are.
"""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

import numpy as np

from milvine.types import Floats, Ids


def _madvise() -> Any:
    try:
        call = ctypes.CDLL(None).madvise
    except (OSError, TypeError, AttributeError):  # Windows
        return None
    call.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return call


_CALL = _madvise()
PAGE_BYTES = mmap.PAGESIZE


def will_need(start: int, end: int) -> None:
    """Have the bytes between two addresses brought into memory, without waiting. What comes of it
    does not matter: it is a hint.
    """
    start -= start % mmap.PAGESIZE
    if _CALL is not None and end > start:
        _CALL(start, end - start, mmap.MADV_WILLNEED)


def ask_for_rows(vectors: Floats, rows: Ids, most: int) -> None:
    """The same for some rows (any shape, -1 for none) of C-contiguous mapped `vectors`: `most` of
    them.
    """
    base, size = vectors.ctypes.data, vectors.strides[0]
    for row in np.unique(rows)[:most].tolist():
        if row >= 0:
            will_need(base + row * size, base + (row + 1) * size)
