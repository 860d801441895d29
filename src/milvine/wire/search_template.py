"""Searches that differ in nothing but the numbers of their one vector, which is how programs
search.

What lies before the numbers and what lies behind them is kept, with how many numbers there were and
what the request was decoded to. One that begins and ends with the same bytes, around as many
numbers, is the same request with other numbers: the bytes before them hold every length on the way
to them, and all that is decoded after them lies in the bytes behind. Without the count it could be
another one: three vectors of 2 dimensions take the bytes of one of 8, and begin as one of 2.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import numpy as np

from milvine.types import Floats
from milvine.wire.row_records import Irregular
from milvine.wire.varint import Malformed, read_varint
from milvine.wire.walk import BYTES, VARINT, Walk

T = TypeVar("T")
_KEPT_MAX = 256  # kinds of requests; a program has few
_FRAME_BYTES_MAX = 1024  # around the numbers
_FLOATS = 0x0A  # RowRecord.float_data, packed


class SearchTemplates(Generic[T]):
    """Thread-safe without a lock: every entry is right by itself."""

    def __init__(self) -> None:
        # By length of the request: where its numbers begin and end.
        self._bounds: dict[int, tuple[int, int]] = {}
        # By bytes of the numbers and what lies around them.
        self._values: dict[tuple[int, bytes, bytes], T] = {}

    def __len__(self) -> int:
        """How many kinds of requests are known."""
        return max(len(self._values), len(self._bounds))

    def clear(self) -> None:
        """Keep nothing any more."""
        self._bounds.clear()
        self._values.clear()

    def find(self, data: bytes) -> tuple[T, Floats] | None:
        """What was kept for such a request, and its vector (1, dimension), in memory of its own."""
        bounds = self._bounds.get(len(data))
        if bounds is None:
            return None
        start, stop = bounds
        value = self._values.get((stop - start, data[:start], data[stop:]))
        if value is None:
            return None
        vector = np.frombuffer(data, dtype=np.dtype("<f4"), count=(stop - start) // 4, offset=start)
        return value, vector.reshape(1, -1).copy()

    def keep(self, data: bytes, value: T) -> None:
        """Keep `value` for requests like `data`, which is of one vector; others are passed over."""
        bounds = _numbers(data)
        if bounds is None or len(data) - (bounds[1] - bounds[0]) > _FRAME_BYTES_MAX:
            return
        if len(self._values) >= _KEPT_MAX:
            self.clear()
        start, stop = bounds
        self._values[stop - start, data[:start], data[stop:]] = value
        self._bounds[len(data)] = bounds


def _numbers(data: bytes) -> tuple[int, int] | None:
    """Where the numbers of the one vector of a SearchParam begin and end; None where there is not
    just one.
    """
    walk, bounds = Walk(data), None
    try:
        for field in walk.fields():
            if field == (3, BYTES):
                if bounds is not None:
                    return None
                size, inner = read_varint(data, walk.at)
                length, start = read_varint(data, inner + 1)
                if (
                    data[inner] != _FLOATS
                    or start + length != inner + size
                    or not length
                    or length % 4
                ):
                    return None
                bounds, walk.at = (start, start + length), start + length
            elif field == (4, VARINT):
                walk.varint()
            elif field in ((1, BYTES), (2, BYTES), (5, BYTES)):
                walk.payload()
            else:
                return None
    except (Irregular, Malformed, IndexError):
        return None
    return (
        bounds if bounds is not None and walk.at == len(data) and bounds[1] <= len(data) else None
    )
