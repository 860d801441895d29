"""Varints: one at a time, many at once, and hostile ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milvine.wire import schema, varint

INT64S = st.integers(-(1 << 63), (1 << 63) - 1)
EDGES = [
    0,
    1,
    -1,
    127,
    128,
    16383,
    16384,
    (1 << 56) - 1,
    1 << 56,
    (1 << 63) - 1,
    -(1 << 63),
    1618909876543210000,
]


either_way = pytest.mark.parametrize("few", [0, 32])
"""Small arrays one by one, and as long ones are."""


def encode(values: list[int], **how: int) -> bytes:
    return b"".join(varint.encode_int64s(np.array(values, dtype=np.int64), **how))


def decode(data: bytes, **how: int) -> list[int]:
    return varint.decode_int64s(np.frombuffer(data, dtype=np.uint8), **how).tolist()


@either_way
@given(st.lists(st.one_of(INT64S, st.sampled_from(EDGES), st.integers(0, 300)), max_size=80))
def test_arrays_match_the_official_encoding(few: int, values: list[int]) -> None:
    official = schema.VectorIds(vector_id_array=values).SerializeToString()
    payload = encode(values, few=few)
    assert official == (b"\x12" + varint.write_varint(len(payload)) + payload if values else b"")
    assert decode(payload, few=few) == values


@either_way
@given(INT64S)
def test_single_numbers(few: int, value: int) -> None:
    raw = varint.write_varint(value)
    assert raw == encode([value], few=few)
    got, at = varint.read_varint(raw + b"\x07", 0)
    assert (varint.signed(got), at) == (value, len(raw))


def test_arrays_longer_than_one_step() -> None:
    values = [value + shift for value in EDGES[:-3] for shift in (0, 1)] * 5
    assert decode(encode(values, few=0, step=3), few=0, step=3) == values


@either_way
@pytest.mark.parametrize(
    "raw",
    [
        b"\x80",
        b"\x01\xff",
        b"\x80" * 10 + b"\x01",
        b"\x80" * 4_000_000,
        b"\x80" * 5_000_000 + b"\1",
    ],
)
def test_endless_varints_are_malformed(few: int, raw: bytes) -> None:
    with pytest.raises(varint.Malformed):
        decode(raw, few=few)
    with pytest.raises(varint.Malformed):
        varint.read_varint(raw, len(raw) - 1 if raw == b"\x01\xff" else 0)


@either_way
@given(st.binary(max_size=60))
def test_arrays_and_single_numbers_agree_on_any_bytes(few: int, raw: bytes) -> None:
    singly: list[int] | None = []
    at = 0
    try:
        while at < len(raw):
            value, at = varint.read_varint(raw, at)
            singly.append(varint.signed(value))
    except varint.Malformed:
        singly = None
    try:
        assert decode(raw, few=few) == singly
    except varint.Malformed:
        assert singly is None
