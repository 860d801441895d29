"""Varints, one at a time and a whole array at once.

An int64 takes 1 to 10 bytes of 7 bits each, lowest first; every byte but the last has its top bit
set. Arrays are coded without a Python object per number: the first eight bytes of a varint are one
little-endian word, whose 7-bit groups are moved together (or apart) by three shifts, as in a
butterfly; bytes nine and ten are added apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from milvine.types import Bytes, Ids

# Numbers per step: temporaries stay in the cache and small, however long the array.
_STEP = 1 << 18
_FEW = 32  # numbers that are coded one by one in less time than numpy takes to begin
_MASK64 = (1 << 64) - 1
_LIMITS = np.array([1 << (7 * k) for k in range(1, 10)], dtype=np.uint64)
_CODED = np.dtype([("low", "<u8"), ("high", "<u2")])  # ten bytes, no padding
_LENGTH_MASKS = np.array([(1 << (8 * min(n, 8))) - 1 for n in range(11)], dtype=np.uint64)
# (bits to move, low groups).
_STEPS = ((1, 0x007F007F007F007F), (2, 0x00003FFF00003FFF), (4, 0x000000000FFFFFFF))


class Malformed(ValueError):
    """Bytes that are no varint, or no message."""


def read_varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """(unsigned 64-bit value, position after it).

    Raises:
        Malformed: it runs past the end or past ten bytes.
    """
    value = shift = 0
    end = min(len(data), at + 10)
    while at < end:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _MASK64, at
        shift += 7
    raise Malformed("a varint does not end")


def signed(value: int) -> int:
    """An unsigned 64-bit value read as int64."""
    return value - (1 << 64) if value >> 63 else value


def write_varint(value: int) -> bytes:
    """`value` may be negative (int64); it then takes ten bytes."""
    if 0 <= value < len(_SHORT):
        return _SHORT[value]
    return _write(value & _MASK64)


def _write(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_SHORT = tuple(_write(value) for value in range(1 << 12))  # lengths and counts, nearly all of them


def _joined(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The eight 7-bit groups of each word as one 56-bit number."""
    words = words & np.uint64(0x7F7F7F7F7F7F7F7F)
    for step, low in _STEPS:
        words = (words & np.uint64(low)) | ((words >> np.uint64(step)) & np.uint64(low << 7 * step))
    return words


def _apart(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The low 56 bits of each value as eight 7-bit groups, one a byte."""
    words = values & np.uint64((1 << 56) - 1)
    for step, low in reversed(_STEPS):
        words = (words & np.uint64(low)) | ((words << np.uint64(step)) & np.uint64(low << 8 * step))
    return words


def encode_int64s(values: Ids, few: int = _FEW, step: int = _STEP) -> list[Any]:
    """Packed varints of `values` (any integer shape, read in C order) as a list of buffers
    to join. Up to `few` are coded one by one, more in steps of so many.
    """
    flat = np.ascontiguousarray(values, dtype=np.int64).reshape(-1).view(np.uint64)
    if len(flat) <= few:
        return [write_varint(value) for value in flat.tolist()]
    return [_encode(flat[at : at + step]) for at in range(0, len(flat), step)]


def _encode(values: NDArray[np.uint64]) -> Any:
    lengths = np.searchsorted(_LIMITS, values, side="right") + 1
    coded = np.empty(len(values), dtype=_CODED)
    coded["low"] = _apart(values)
    coded["high"] = (values >> np.uint64(56)) & np.uint64(0x7F) | (
        values >> np.uint64(63)
    ) << np.uint64(8)
    table = coded.view(np.uint8).reshape(-1, 10)
    longest = int(lengths.max())
    if lengths.min() == longest:
        table[:, : longest - 1] |= 0x80
        return np.ascontiguousarray(table[:, :longest])
    columns = np.arange(longest)
    table = table[:, :longest]
    table |= (columns < (lengths - 1)[:, None]).view(np.uint8) << np.uint8(7)
    return table[columns < lengths[:, None]]


def decode_int64s(data: Bytes, few: int = _FEW, step: int = _STEP) -> Ids:
    """The int64 numbers of packed varints, uint8 of any length. `few` and `step` as above.

    Raises:
        Malformed: the last one does not end, or one is longer than ten bytes.
    """
    if not len(data):
        return np.empty(0, dtype=np.int64)
    if data[-1] >= 0x80:
        raise Malformed("a varint does not end")
    if len(data) <= 5 * few:
        return _one_by_one(data.tobytes())
    values = np.empty(_count(data, step), dtype=np.int64)
    at = filled = 0
    while at < len(data):
        stop = min(at + step * 8, len(data))
        # To the end of the number that the cut splits.
        stop += int((data[stop - 1 : stop + 9] < 0x80).argmax())
        if data[stop - 1] >= 0x80:
            raise Malformed("a varint is longer than ten bytes")
        part = _decode(data[at:stop])
        values[filled : filled + len(part)] = part
        at, filled = stop, filled + len(part)
    return values


def _one_by_one(data: bytes) -> Ids:
    values, at = [], 0
    while at < len(data):
        value, at = read_varint(data, at)
        values.append(value)
    return np.array(values, dtype=np.uint64).view(np.int64)


def _count(data: Bytes, step: int) -> int:
    return sum(
        int(np.count_nonzero(data[at : at + step] < 0x80)) for at in range(0, len(data), step)
    )


def _decode(data: Bytes) -> Ids:
    ends = np.flatnonzero(data < 0x80)
    starts = np.empty_like(ends)
    starts[0] = 0
    starts[1:] = ends[:-1] + 1
    lengths = ends - starts + 1
    longest = int(lengths.max())
    if longest > 10:
        raise Malformed("a varint is longer than ten bytes")
    padded = np.concatenate([data, np.zeros(9, dtype=np.uint8)])
    words = np.ndarray((len(data) + 1,), dtype="<u8", buffer=padded, strides=(1,))[starts]
    values = _joined(words & _LENGTH_MASKS[lengths])
    if longest > 8:
        long = lengths > 8
        values |= np.where(long, padded[starts + 8] & 0x7F, 0).astype(np.uint64) << np.uint64(56)
    if longest > 9:
        values |= np.where(lengths > 9, padded[ends] & 1, 0).astype(np.uint64) << np.uint64(63)
    return values.view(np.int64)
