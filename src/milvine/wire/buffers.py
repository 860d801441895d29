"""Joining large parts into bytes with one copy."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from milvine.types import Bytes

_IN_PLACE_FROM = (1 << 20) if sys.implementation.name == "cpython" else None
"""Bytes from which on it pays to write in place; None: this interpreter has no way to."""


@dataclass(frozen=True, slots=True)
class StridedRows:
    """Rows of bytes behind the same header each: `header` then a row of `payload` (rows, length)
    uint8, repeated.
    """

    header: bytes
    payload: Bytes

    @property
    def nbytes(self) -> int:
        return len(self.payload) * (len(self.header) + int(self.payload.shape[1]))

    def tobytes(self) -> bytes:
        out = np.empty(self.nbytes, dtype=np.uint8)
        self.write(out)
        return out.tobytes()

    def write(self, out: Bytes) -> None:
        """Fill `out`, uint8 of `nbytes`."""
        rows = out.reshape(len(self.payload), -1)
        rows[:, : len(self.header)] = np.frombuffer(self.header, dtype=np.uint8)
        rows[:, len(self.header) :] = self.payload


Part: TypeAlias = "bytes | Bytes | StridedRows"


def join(parts: Sequence[Part], in_place_from: int | None = _IN_PLACE_FROM) -> bytes:
    """All parts in order. Where they are so many bytes, rows are written where they will lie, not
    into a buffer that is copied once more.
    """
    sizes = [len(part) if isinstance(part, bytes) else part.nbytes for part in parts]
    if in_place_from is not None and sum(sizes) >= in_place_from:
        made, out = _fresh_bytes(sum(sizes))
        _fill(out, parts, sizes)
        return made
    return b"".join([part if isinstance(part, bytes) else part.tobytes() for part in parts])


def _fill(out: Bytes, parts: Sequence[Part], sizes: Sequence[int]) -> None:
    at = 0
    for part, size in zip(parts, sizes, strict=True):
        if size:
            target = out[at : at + size]
            if isinstance(part, StridedRows):
                part.write(target)
            else:
                target[:] = np.frombuffer(part, np.uint8)
        at += size


def _fresh_bytes(size: int) -> tuple[bytes, Bytes]:
    """A new bytes object and a writable view of it.

    The C API allows writing into bytes made by PyBytes_FromStringAndSize(NULL, size) until somebody
    else sees them.
    """
    api = ctypes.pythonapi
    make = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_char_p, ctypes.c_ssize_t)(
        ("PyBytes_FromStringAndSize", api)
    )
    address_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object)(("PyBytes_AsString", api))
    made: bytes = make(None, size)
    view: Any = (ctypes.c_uint8 * size).from_address(address_of(made))
    return made, np.frombuffer(view, dtype=np.uint8)
