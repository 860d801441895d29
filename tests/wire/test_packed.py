"""Each hot message four ways: whole, cut at every byte, with unknown fields, against the official
runtime's bytes.
"""

import resource
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from milvine.wire import packed, replies, schema, walk
from milvine.wire.varint import write_varint

UNKNOWN = b"\xfa\x01\x03abc" + b"\x70\x05" + b"\x79" + b"8" * 8 + b"\x7d" + b"4" * 4
INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40)
FLOATS = hnp.arrays(np.float32, SHAPES, elements=st.floats(width=32))
BINARY = hnp.arrays(np.uint8, SHAPES)
PARAMS = st.none() | st.text(max_size=20)


@pytest.fixture(
    scope="module", autouse=True, params=["small messages by the runtime", "all messages by hand"]
)
def _both_ways(request: Any) -> Iterator[None]:
    """Small messages go through the protobuf runtime; what is tried here on small ones must hold
    for large ones.
    """
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "all messages by hand":
            patch.setattr(walk, "SMALL", -1)
            patch.setattr(replies, "HITS_FEW", -1)
        yield


def record(row: Any) -> Any:
    return (
        schema.RowRecord(binary_data=row.tobytes())
        if row.dtype == np.uint8
        else schema.RowRecord(float_data=row)
    )


def insert_message(vectors: Any, ids: Any = (), tag: str = "", params: str | None = None) -> Any:
    pairs = [] if params is None else [schema.KeyValuePair(key="params", value=params)]
    return schema.InsertParam(
        collection_name="test01",
        row_record_array=[record(row) for row in vectors],
        row_id_array=ids,
        partition_tag=tag,
        extra_params=pairs,
    )


def same(one: Any, two: Any) -> bool:
    return bool(comparable(one) == comparable(two))


def comparable(value: Any) -> Any:
    """A decoded message with its arrays as (dtype, shape, bytes); the runtime quiets signalling
    NaNs, we keep them.
    """
    if isinstance(value, np.ndarray):
        value = (
            np.where(np.isnan(value), np.float32(np.nan), value)
            if value.dtype == np.float32
            else value
        )
        return value.dtype.str, value.shape, value.tobytes()
    if hasattr(value, "__slots__"):
        return tuple(comparable(getattr(value, name)) for name in value.__slots__)
    return value


@given(FLOATS | BINARY, st.data(), st.text(max_size=12), PARAMS)
def test_insert_round_trip_and_official_bytes(
    vectors: Any, data: Any, tag: str, params: str | None
) -> None:
    ids = np.array(
        data.draw(st.lists(INT64, min_size=len(vectors), max_size=len(vectors))), dtype=np.int64
    )
    raw = packed.encode_insert("test01", vectors, ids, tag, params)
    assert raw == insert_message(vectors, ids.tolist(), tag, params).SerializeToString()
    for bytes_ in (raw, raw + UNKNOWN):
        got = packed.decode_insert(bytes_)
        assert (got.collection, got.tag, got.params) == ("test01", tag, params)
        assert same(got.ids, ids)
        assert same(got.rows.vectors, vectors)
        assert (got.rows.count, got.rows.elements) == (len(vectors), vectors.size)


@given(FLOATS | BINARY, st.lists(st.text(max_size=5), max_size=3), INT64, PARAMS)
def test_search_round_trip_and_official_bytes(
    vectors: Any, tags: list[str], topk: int, params: str | None
) -> None:
    raw = packed.encode_search("c", vectors, topk, tags, params)
    official = schema.SearchParam(
        collection_name="c",
        partition_tag_array=tags,
        query_record_array=[record(row) for row in vectors],
        topk=topk,
        extra_params=[] if params is None else [schema.KeyValuePair(key="params", value=params)],
    )
    assert raw == official.SerializeToString()
    for bytes_ in (raw, UNKNOWN + raw):
        got = packed.decode_search(bytes_)
        assert (got.collection, got.tags, got.topk, got.params) == ("c", tuple(tags), topk, params)
        assert same(got.rows.vectors, vectors)


@given(st.lists(INT64), st.text(max_size=4))
def test_ids_request_round_trip_and_official_bytes(ids: list[int], tag: str) -> None:
    raw = packed.encode_ids_request("c", np.array(ids, dtype=np.int64), tag)
    for message_class in (schema.VectorsIdentity, schema.DeleteByIDParam):
        assert (
            raw
            == message_class(
                collection_name="c", id_array=ids, partition_tag=tag
            ).SerializeToString()
        )
    for bytes_ in (raw, raw + UNKNOWN):
        got = packed.decode_ids_request(bytes_)
        assert (got.collection, got.ids.tolist(), got.tag) == ("c", ids, tag)


@given(FLOATS, st.integers(0, 3), st.integers(0, 4))
def test_hits_round_trip_and_official_bytes(
    distances: Any, drop_rows: int, drop_columns: int
) -> None:
    distances = distances[drop_rows:, drop_columns:]
    ids = np.arange(distances.size, dtype=np.int64).reshape(distances.shape) * -12345678901
    raw = packed.encode_hits(ids, distances)
    rows = len(ids) if ids.size else 0
    official = schema.TopKQueryResult(
        status=schema.Status(reason="OK"),
        row_num=rows,
        ids=ids.reshape(-1),
        distances=distances.reshape(-1),
    )
    assert raw == official.SerializeToString()
    for bytes_ in (raw, raw + UNKNOWN):
        got = packed.decode_hits(bytes_)
        assert (got.code, got.reason, got.row_num) == (0, "OK", rows)
        assert same(got.ids, ids.reshape(-1))
        assert same(got.distances, distances.reshape(-1))


@given(st.lists(INT64))
def test_vector_ids_round_trip_and_official_bytes(ids: list[int]) -> None:
    raw = packed.encode_ids(np.array(ids, dtype=np.int64))
    assert (
        raw
        == schema.VectorIds(
            status=schema.Status(reason="OK"), vector_id_array=ids
        ).SerializeToString()
    )
    for bytes_ in (raw, raw + UNKNOWN):
        got = packed.decode_ids(bytes_)
        assert (got.code, got.reason, got.ids.tolist()) == (0, "OK", ids)


@given(FLOATS | BINARY, st.data())
def test_vectors_round_trip_and_official_bytes(vectors: Any, data: Any) -> None:
    vectors = np.where(np.isnan(vectors), 1, vectors) if vectors.dtype == np.float32 else vectors
    found = data.draw(hnp.arrays(bool, len(vectors)))
    records = [
        record(row) if there else schema.RowRecord()
        for row, there in zip(vectors, found, strict=True)
    ]
    raw = packed.encode_vectors(found, vectors)
    official = schema.VectorsData(status=schema.Status(reason="OK"), vectors_data=records)
    assert raw == official.SerializeToString()
    for bytes_ in (raw, raw + UNKNOWN):
        got = packed.decode_vectors(bytes_)
        assert (got.code, got.reason, got.found.tolist()) == (0, "OK", found.tolist())
        if found.any():
            assert same(got.vectors[found], vectors[found])
            assert not got.vectors[~found].any()


def test_failed_replies_decode() -> None:
    status = schema.Status(error_code=4, reason="Collection x does not exist.")
    for message_class, decode in (
        (schema.TopKQueryResult, packed.decode_hits),
        (schema.VectorIds, packed.decode_ids),
        (schema.VectorsData, packed.decode_vectors),
    ):
        got: Any = decode(message_class(status=status).SerializeToString())
        assert (got.code, got.reason) == (4, "Collection x does not exist.")
        got = decode(b"")
        assert (got.code, got.reason) == (0, "")


VECTORS = np.arange(12, dtype=np.float32).reshape(4, 3)
IN_FILES = schema.SearchInFilesParam(
    file_id_array=["7", "é"],
    search_param=schema.SearchParam.FromString(
        packed.encode_search("ab", VECTORS[:2], 7, ["x"], "{}")
    ),
).SerializeToString()
SAMPLES = [
    (
        packed.decode_insert,
        packed.encode_insert("ab", VECTORS, np.array([1, -1, 300, 4]), "t", "{}"),
    ),
    (
        packed.decode_insert,
        packed.encode_insert("ab", VECTORS.astype(np.uint8), np.array([1, -1, 300, 4]), "t", "{}"),
    ),
    (packed.decode_search, packed.encode_search("ab", VECTORS, 7, ["x", ""], '{"nprobe":16}')),
    (packed.decode_search_in_files, IN_FILES),
    (
        packed.decode_ids_request,
        packed.encode_ids_request("ab", np.array([1, -1, 300, 1 << 60]), "t"),
    ),
    (packed.decode_hits, packed.encode_hits(np.arange(12).reshape(4, 3), VECTORS)),
    (packed.decode_ids, packed.encode_ids(np.array([1, -1, 300, 1 << 60]))),
    (packed.decode_vectors, packed.encode_vectors(np.array([1, 1, 0, 1], bool), VECTORS)),
]
SLOW = {
    packed.decode_insert: ("_slow_insert", schema.InsertParam),
    packed.decode_search: ("_slow_search", schema.SearchParam),
    packed.decode_search_in_files: ("_slow_search_in_files", schema.SearchInFilesParam),
    packed.decode_ids_request: ("_slow_ids_request", schema.VectorsIdentity),
    packed.decode_hits: ("_slow_hits", schema.TopKQueryResult),
    packed.decode_ids: ("_slow_ids", schema.VectorIds),
    packed.decode_vectors: ("_slow_vectors", schema.VectorsData),
}


def check_against_runtime(decode: Any, raw: bytes) -> None:
    """What the fast path says of any bytes is what the protobuf runtime says."""
    slow, message_class = SLOW[decode]
    try:
        expected = comparable(decode.__globals__[slow](packed.parse(message_class, raw)))
    except packed.Malformed:
        expected = None
    try:
        assert comparable(decode(raw)) == expected
    except packed.Malformed:
        assert expected is None


@pytest.mark.parametrize(("decode", "raw"), SAMPLES)
def test_cut_at_every_byte_and_with_any_byte_changed(decode: Any, raw: bytes) -> None:
    for at in range(len(raw)):
        check_against_runtime(decode, raw[:at])
        for byte in (0, 1, 0x0A, 0x12, 0x7F, 0x80, 0xFF, raw[at] ^ 1):
            check_against_runtime(decode, raw[:at] + bytes((byte,)) + raw[at + 1 :])


@given(
    st.sampled_from(SAMPLES),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 30), st.binary(max_size=6))),
)
def test_fuzz_mutations(sample: Any, edits: list[tuple[int, int, bytes]]) -> None:
    decode, raw = sample
    for at, width, replacement in edits:
        raw = raw[:at] + replacement + raw[at + width :]
    check_against_runtime(decode, raw)


@given(st.sampled_from(list(SLOW)), st.binary(max_size=80))
def test_fuzz_any_bytes(decode: Any, raw: bytes) -> None:
    check_against_runtime(decode, raw)


def test_fields_in_any_order_and_in_pieces() -> None:
    raw = (
        insert_message(VECTORS[:2], [5, 6]).SerializeToString()
        + insert_message(VECTORS[2:], [7, 8]).SerializeToString()
    )
    got = packed.decode_insert(raw)
    assert same(got.rows.vectors, VECTORS)
    assert got.ids.tolist() == [5, 6, 7, 8]


def test_search_in_files() -> None:
    for raw in (IN_FILES, IN_FILES + UNKNOWN):
        got = packed.decode_search_in_files(raw)
        assert (got.files, got.search.collection, got.search.topk) == (("7", "é"), "ab", 7)
        assert same(got.search.rows.vectors, VECTORS[:2])
    assert packed.decode_search_in_files(b"").search.rows.count == 0


def unpacked_record(row: Any) -> bytes:
    payload = b"".join(b"\x0d" + np.float32(value).tobytes() for value in row)
    return b"\x12" + write_varint(len(payload)) + payload


def test_unpacked_numbers() -> None:
    raw = b"".join(unpacked_record(row) for row in VECTORS) + b"".join(
        b"\x18" + write_varint(i) for i in (9, -9, 8, 7)
    )
    got = packed.decode_insert(raw)
    assert same(got.rows.vectors, VECTORS)
    assert got.ids.tolist() == [9, -9, 8, 7]


def test_floats_win_over_binary_as_in_the_specification() -> None:
    records = [
        schema.RowRecord(float_data=[1, 2], binary_data=b"xyz"),
        schema.RowRecord(float_data=[3, 4]),
    ]
    got = packed.decode_insert(schema.InsertParam(row_record_array=records).SerializeToString())
    assert got.rows.vectors is not None
    assert got.rows.vectors.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("sizes", "count", "elements"),
    [([3, 2, 4], 3, 9), ([0, 0], 2, 0), ([], 0, 0), ([0, 2], 2, 2), ([2, 0], 2, 2)],
)
def test_ragged_or_empty_rows_have_no_vectors(sizes: list[int], count: int, elements: int) -> None:
    raw = insert_message([np.ones(size, np.float32) for size in sizes]).SerializeToString()
    rows = packed.decode_insert(raw).rows
    assert (rows.count, rows.elements, rows.vectors) == (count, elements, None)


def test_last_params_win_and_other_keys_are_ignored() -> None:
    pairs = [("params", "a"), ("other", "x"), ("params", "b"), ("more", "y")]
    message = schema.InsertParam(
        extra_params=[schema.KeyValuePair(key=key, value=value) for key, value in pairs]
    )
    assert packed.decode_insert(message.SerializeToString()).params == "b"


def test_decoded_rows_belong_to_the_caller() -> None:
    for rows in (1, 3):
        raw = packed.encode_insert("c", VECTORS[:rows])
        vectors = packed.decode_insert(raw).rows.vectors
        assert vectors is not None
        vectors[:] = 0
        assert packed.encode_insert("c", VECTORS[:rows]) == raw


SWARMS = [
    (packed.decode_insert, b"\x12\x00\x12\x02\x0a\x00"),
    (packed.decode_insert, b"\x2a\x00"),
    (packed.decode_search, b"\x12\x00"),
    (packed.decode_vectors, b"\x12\x00\x12\x02\x0a\x00"),
]


@pytest.mark.parametrize(("decode", "unit"), SWARMS)
def test_swarms_of_empty_parts_are_refused_quickly(decode: Any, unit: bytes) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.monotonic()
    with pytest.raises(packed.Malformed, match="more than"):
        decode(unit * (64 << 20) if len(unit) == 2 else unit * (16 << 20))
    assert time.monotonic() - start < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # KiB


def test_a_large_insert_costs_about_a_copy() -> None:
    vectors = np.random.default_rng(0).random((100_000, 128), dtype=np.float32)
    raw = packed.encode_insert("c", vectors, np.arange(100_000))
    got, spent = None, []
    for _ in range(3):
        start = time.perf_counter()
        got = packed.decode_insert(raw)
        spent.append(time.perf_counter() - start)
    assert got is not None
    assert same(got.rows.vectors, vectors)
    assert min(spent) < 1.0  # 20 ms when idle, 450 ms through lists
