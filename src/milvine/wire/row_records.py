"""Rows of numbers as they lie on the wire, to and from one numpy array.

A repeated RowRecord whose rows have one length is a strided array already:

    tag  length  0x0a  length  payload | tag  length  0x0a  length  payload | ...
    `------- header (H bytes) -------'   `-- the same H bytes, one stride on

So one row is parsed, the headers of all that follow are compared with it in one numpy expression,
and the payloads are copied out in one strided copy. That is sound, not a guess: if the bytes one
stride on equal the header, then they are the header of a record of the same length. Whatever breaks
the pattern is `Irregular`, for the protobuf runtime.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from milvine.types import Bytes, Vectors
from milvine.wire.buffers import StridedRows
from milvine.wire.varint import read_varint, write_varint

_FLOATS, _BINARY = 0x0A, 0x12  # RowRecord: packed float_data = 1, binary_data = 2


class Irregular(Exception):
    """The fast path cannot tell; the bytes may be right or wrong. Never leaves this package."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Vectors of a request.

    `count` records hold `elements` floats (or bytes) in all. `vectors` is float32 (count, elements
    / count) or uint8 of that shape, C-contiguous and writable; None where the records have
    different lengths or hold nothing.
    """

    count: int = 0
    elements: int = 0
    vectors: Vectors | None = None


NO_ROWS = Rows()


def take_rows(data: bytes, tag: int, at: int) -> tuple[Rows, int]:
    """The run of equal rows that starts at `at` (where the byte `tag` is), and the position after
    it.

    Raises:
        Irregular: the first row is no plain row of floats or of bytes.
        Malformed: a length does not end.
    """
    size, inner = read_varint(data, at + 1)
    if size == 0:
        return _take_run(data, at, inner, 0, _FLOATS)
    kind = data[inner] if inner < len(data) else -1
    payload, start = read_varint(data, inner + 1)
    if (
        kind not in (_FLOATS, _BINARY)
        or start + payload != inner + size
        or start + payload > len(data)
    ):
        raise Irregular
    if kind == _FLOATS and payload % 4:
        raise Irregular
    return _take_run(data, at, start, payload, kind)


def _take_run(data: bytes, at: int, start: int, payload: int, kind: int) -> tuple[Rows, int]:
    header, stride = start - at, start - at + payload
    most = (len(data) - at) // stride
    raw = np.frombuffer(data, dtype=np.uint8, count=most * stride, offset=at).reshape(most, stride)
    count = _equal_headers(raw[:, :header])
    after = at + count * stride
    if payload == 0:
        return Rows(count), after
    vectors: Vectors = np.ascontiguousarray(raw[:count, header:])
    # A single row is contiguous as it lies: the caller gets memory of its own.
    if vectors.base is not None:
        vectors = vectors.copy()
    if kind == _FLOATS:
        vectors = vectors.view(np.dtype("<f4"))
    return Rows(count, vectors.size, vectors), after


def _equal_headers(headers: Bytes) -> int:
    """How many rows from the top equal the first one. Looks in growing steps, never far beyond the
    answer.
    """
    same, step = 1, 64
    while same < len(headers):
        differs = (headers[same : same + step] != headers[0]).any(axis=1)
        first = int(differs.argmax())
        if differs[first]:
            return same + first
        same += len(differs)
        step = min(step * 8, 1 << 16)
    return same


def rows_of_records(records: Sequence[Any]) -> Rows:
    """Rows from parsed RowRecords, by the copying rule of the specification (1.5): floats if any
    record has some.
    """
    if len(records) == 1 and len(records[0].float_data):
        vector = np.array(records[0].float_data, dtype=np.float32)
        return Rows(1, vector.size, vector.reshape(1, -1))
    floats = any(len(record.float_data) for record in records)
    sizes = [len(record.float_data) if floats else len(record.binary_data) for record in records]
    elements = sum(sizes)
    if not elements or min(sizes) != max(sizes):
        return Rows(len(sizes), elements)
    if floats:
        vectors: Vectors = np.empty((len(sizes), sizes[0]), dtype=np.float32)
        for row, record in zip(vectors, records, strict=True):
            row[:] = np.array(record.float_data, dtype=np.float32)
    else:
        joined = b"".join(record.binary_data for record in records)
        vectors = np.frombuffer(joined, dtype=np.uint8).reshape(len(sizes), sizes[0]).copy()
    return Rows(len(sizes), elements, vectors)


def rows_field(number: int, vectors: Vectors) -> Any:
    """The repeated field of `vectors` (rows, width), for `join`. Any dtype but uint8 is sent as
    float32.
    """
    tag = number << 3 | 2
    if not vectors.size:
        return bytes((tag, 0)) * len(vectors)
    binary = vectors.dtype == np.uint8
    payload = np.ascontiguousarray(vectors, dtype=np.uint8 if binary else np.dtype("<f4")).view(
        np.uint8
    )
    length = payload.shape[1]
    inner = bytes((_BINARY if binary else _FLOATS,)) + write_varint(length)
    header = bytes((tag,)) + write_varint(len(inner) + length) + inner
    if len(payload) == 1:
        return header + payload.tobytes()
    return StridedRows(header, payload)
