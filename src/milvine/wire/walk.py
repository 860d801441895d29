"""The top-level fields of a message, walked by hand, with the protobuf runtime behind it for
whatever is irregular.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from google.protobuf.message import DecodeError

from milvine.types import Floats, Ids
from milvine.wire import schema
from milvine.wire.row_records import NO_ROWS, Irregular, Rows, take_rows
from milvine.wire.varint import Malformed, decode_int64s, read_varint, signed, write_varint

VARINT, BYTES = 0, 2  # wire types
SMALL = 4096  # bytes; the protobuf runtime is done with such a message before numpy has begun
# Records, strings and pairs the protobuf runtime may be made to build from one request.
OBJECTS_MAX = 8 << 20
T = TypeVar("T")


class Walk:
    """The top-level fields of a message, in order. `at` is moved on by whoever takes a run
    of rows.
    """

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def fields(self) -> Iterator[tuple[int, int]]:
        """(field number, wire type), `at` standing behind the tag. Irregular for tags of more than
        one byte.
        """
        while self.at < len(self.data):
            tag = self.data[self.at]
            if tag >= 0x80:
                raise Irregular
            self.at += 1
            yield tag >> 3, tag & 7

    def varint(self) -> int:
        value, self.at = read_varint(self.data, self.at)
        return signed(value)

    def payload(self) -> memoryview:
        size, start = read_varint(self.data, self.at)
        self.at = start + size
        if self.at > len(self.data):
            raise Irregular
        return memoryview(self.data)[start : self.at]

    def text(self) -> str:
        return str(self.payload(), "utf-8")

    def rows(self) -> Rows:
        """The run of rows whose first tag was just read."""
        rows, self.at = take_rows(self.data, self.data[self.at - 1], self.at - 1)
        return rows

    def int64s(self) -> Ids:
        return decode_int64s(np.frombuffer(self.payload(), dtype=np.uint8))

    def floats(self) -> Floats:
        floats = self.payload()
        if len(floats) % 4:
            raise Irregular
        return np.frombuffer(floats, dtype=np.dtype("<f4"))


def parse(message_class: Callable[[], Any], data: bytes) -> Any:
    """`data` through the protobuf runtime.

    Raises:
        Malformed: the bytes are no such message, or would become more than `OBJECTS_MAX` objects.
    """
    message = message_class()
    if len(data) > OBJECTS_MAX:
        _refuse_a_swarm(message.DESCRIPTOR.name, data)
    try:
        message.MergeFromString(data)
    except (DecodeError, ValueError) as error:
        raise Malformed(f"not a {type(message).__name__}: {error}") from None
    return message


def _refuse_a_swarm(name: str, data: bytes) -> None:
    """Two bytes of an empty record become a hundred: bound them beforehand, by counting the bytes
    that may be tags.
    """
    for field, tag in schema.repeated_objects(name):
        if data.count(tag) > OBJECTS_MAX:
            raise Malformed(f"more than {OBJECTS_MAX} {field} in one request")


def decode(
    fast: Callable[[Walk], T], slow: Callable[[Any], T], message_class: Any, data: bytes
) -> T:
    """A message by the fast path; by the protobuf runtime where that gives up, or would cost more
    than it saves.
    """
    if len(data) <= SMALL:
        return slow(parse(message_class, data))
    try:
        return fast(Walk(data))
    except (Irregular, Malformed, UnicodeDecodeError, IndexError):
        return slow(parse(message_class, data))


def joined(parts: list[Any], dtype: Any) -> Any:
    if not parts:
        return np.empty(0, dtype=dtype)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def once(rows: Rows) -> None:
    """A second run of rows after other fields: for the protobuf runtime to join."""
    if rows is not NO_ROWS:
        raise Irregular


def int64s_of(field: Sequence[int]) -> Ids:
    return np.fromiter(field, np.int64, len(field))


def varint_field(number: int, value: int) -> bytes:
    """Empty when the value is 0, as proto3 has it."""
    return bytes((number << 3 | VARINT,)) + write_varint(value) if value else b""


def bytes_field(number: int, value: str | bytes, always: bool = False) -> bytes:
    """Empty when the value is, unless `always` (elements of repeated fields)."""
    raw = value.encode() if isinstance(value, str) else value
    return bytes((number << 3 | BYTES,)) + write_varint(len(raw)) + raw if raw or always else b""


def packed_field(number: int, buffers: list[Any]) -> list[Any]:
    """A packed repeated field of the given payload; nothing when that is empty."""
    size = sum(
        len(buffer) if isinstance(buffer, bytes) else memoryview(buffer).nbytes
        for buffer in buffers
    )
    return [bytes((number << 3 | BYTES,)), write_varint(size), *buffers] if size else []
