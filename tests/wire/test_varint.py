"""Varints: one at a time, many at once, and hostile ones."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
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


@pytest.fixture(params=[0, 32], autouse=True)
def few(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small arrays by either way."""
    monkeypatch.setattr(varint, "_FEW", request.param)


def encode(values: list[int]) -> bytes:
    return b"".join(varint.encode_int64s(np.array(values, dtype=np.int64)))


def decode(data: bytes) -> list[int]:
    return varint.decode_int64s(np.frombuffer(data, dtype=np.uint8)).tolist()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(INT64S, st.sampled_from(EDGES), st.integers(0, 300)), max_size=80))
def test_arrays_match_the_official_encoding(values: list[int]) -> None:
    official = schema.VectorIds(vector_id_array=values).SerializeToString()
    payload = encode(values)
    assert official == (b"\x12" + varint.write_varint(len(payload)) + payload if values else b"")
    assert decode(payload) == values


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(INT64S)
def test_single_numbers(value: int) -> None:
    raw = varint.write_varint(value)
    assert raw == encode([value])
    got, at = varint.read_varint(raw + b"\x07", 0)
    assert (varint.signed(got), at) == (value, len(raw))


def test_arrays_longer_than_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(varint, "_CHUNK", 3)
    monkeypatch.setattr(varint, "_FEW", 0)
    values = [value + shift for value in EDGES[:-3] for shift in (0, 1)] * 5
    assert decode(encode(values)) == values


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
def test_endless_varints_are_malformed(raw: bytes) -> None:
    with pytest.raises(varint.Malformed):
        decode(raw)
    with pytest.raises(varint.Malformed):
        varint.read_varint(raw, len(raw) - 1 if raw == b"\x01\xff" else 0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60))
def test_arrays_and_single_numbers_agree_on_any_bytes(raw: bytes) -> None:
    singly: list[int] | None = []
    at = 0
    try:
        while at < len(raw):
            value, at = varint.read_varint(raw, at)
            singly.append(varint.signed(value))
    except varint.Malformed:
        singly = None
    try:
        assert decode(raw) == singly
    except varint.Malformed:
        assert singly is None
