"""The packed decoders against the protobuf runtime: the fast path may give up, but never say
something else.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from milvine.testing.fuzz.mutate import integer, mutated, text
from milvine.testing.fuzz.target import Wrong
from milvine.wire import replies, requests, schema
from milvine.wire.row_records import Irregular
from milvine.wire.varint import Malformed, decode_int64s, encode_int64s, write_varint
from milvine.wire.walk import Walk, parse

Fast = Callable[[Walk], Any]
Slow = Callable[[Any], Any]

DECODERS: dict[str, tuple[Fast, Slow]] = {
    "InsertParam": (requests._fast_insert, requests._slow_insert),
    "SearchParam": (requests._fast_search, requests._slow_search),
    "SearchInFilesParam": (requests._fast_search_in_files, requests._slow_search_in_files),
    "VectorsIdentity": (requests._fast_ids_request, requests._slow_ids_request),
    "VectorIds": (replies._fast_ids, replies._slow_ids),
    "TopKQueryResult": (replies._fast_hits, replies._slow_hits),
    "VectorsData": (replies._fast_vectors, replies._slow_vectors),
}
_UNDECIDED = (Irregular, Malformed, UnicodeDecodeError, IndexError)


class WireTarget:
    """Messages of random fields, and what becomes of them when bytes change."""

    def __init__(self, folder: Path) -> None:
        """Works in no folder."""

    def run(self, random: Random) -> str:
        name = random.choice((*DECODERS, "varints"))
        if name == "varints":
            return check_varints(mutated(random, b"".join(encode_int64s(_numbers(random)))))
        data = some_message(random, name).SerializeToString()
        if random.random() < 0.8:
            data = mutated(random, data)
        return check(name, data)

    def close(self) -> None:
        """Nothing was started."""


def check(name: str, data: bytes) -> str:
    """The fast path of a message against the runtime. Raises Wrong."""
    fast, slow = DECODERS[name]
    expected: Any = None
    with suppress(Malformed):
        expected = slow(parse(getattr(schema, name), data))
    try:
        found = fast(Walk(data))
    except _UNDECIDED:
        return "left to the runtime" if expected else "malformed"
    if expected is None or not same(found, expected):
        raise Wrong(f"{name} {data[:400]!r}: {found}, the runtime says {expected}")
    return "same"


def same(one: Any, other: Any) -> bool:
    """Equal in every field, arrays by dtype, shape and bytes."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return (
            isinstance(one, np.ndarray)
            and isinstance(other, np.ndarray)
            and (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
        )
    if hasattr(one, "__dataclass_fields__") and type(one) is type(other):
        return all(same(getattr(one, key), getattr(other, key)) for key in one.__dataclass_fields__)
    if isinstance(one, tuple) and type(one) is type(other) and len(one) == len(other):
        return all(map(same, one, other))
    return bool(one == other)


def some_message(random: Random, name: str) -> Any:
    """A message with random fields; rows of one length, mostly."""
    message = getattr(schema, name)()
    for field in message.DESCRIPTOR.fields:
        if random.random() < 0.75:
            _fill(random, message, field)
    return message


def _fill(random: Random, message: Any, field: Any) -> None:
    repeated = _is_repeated(message, field)
    count = random.choice((0, 1, 2, 3, 40, 300)) if repeated else 1
    if field.message_type is not None:
        kind, width = field.message_type.name, random.choice((0, 1, 4, 31, 32, 33))
        for _ in range(count):
            if random.random() < 0.01:
                width = random.choice((0, 1, 4))
            made = (
                some_row(random, width, count)
                if kind == "RowRecord"
                else some_message(random, kind)
            )
            getattr(message, field.name).add().CopyFrom(made) if repeated else getattr(
                message, field.name
            ).CopyFrom(made)
        return
    for _ in range(min(count, 60) if field.type == field.TYPE_STRING else count):
        value = _scalar(random, field)
        getattr(message, field.name).append(value) if repeated else setattr(
            message, field.name, value
        )


def _is_repeated(message: Any, field: Any) -> bool:
    return hasattr(getattr(message, field.name), "extend")


def some_row(random: Random, width: int, count: int = 1) -> Any:
    values = np.frombuffer(random.randbytes(4 * width), np.float32)
    with np.errstate(invalid="ignore"):
        return (
            schema.RowRecord(float_data=values)
            if count % 2
            else schema.RowRecord(binary_data=values.tobytes())
        )


def _scalar(random: Random, field: Any) -> Any:
    if field.type == field.TYPE_STRING:
        return text(random)[: random.choice((10, 300))]
    if field.type == field.TYPE_FLOAT:
        return random.uniform(-1e38, 1e38)
    if field.type == field.TYPE_BOOL:
        return random.random() < 0.5
    if field.type in (field.TYPE_INT32, field.TYPE_ENUM):
        return integer(random, 32)
    return integer(random) if field.type == field.TYPE_INT64 else random.randbytes(8)


def check_varints(data: bytes) -> str:
    """Packed numbers, all at once against one by one. Raises Wrong."""
    expected: list[int] | None
    try:
        expected = list(
            parse(schema.VectorsIdentity, b"\x12" + write_varint(len(data)) + data).id_array
        )
    except Malformed:
        expected = None
    try:
        found = decode_int64s(np.frombuffer(data, np.uint8)).tolist()
    except Malformed:
        found = None
    if found is not None and found != expected:
        raise Wrong(f"{data[:400]!r}: {found}, the runtime says {expected}")
    return "same" if found is not None else "malformed"


def _numbers(random: Random) -> Any:
    return np.array([integer(random) for _ in range(random.choice((0, 1, 5, 40, 500)))], np.int64)
