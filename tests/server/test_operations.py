"""Each rpc over a real database: what it answers, and what it refuses, in the specification's order
and words.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.events import Event, Events
from milvine.events.server import RequestFailed
from milvine.memory_plan import UNBOUNDED
from milvine.server.admission.budget import SHORT_BYTES
from milvine.server.operations import (
    NOT_SERVED,
    SERVED,
    MalformedRequest,
    Operations,
    UnknownMethod,
)
from milvine.server.operations.refusals import GrpcStatus
from milvine.wire import packed, schema
from tests.server.calling import NOT_EXIST, Caller, params, records

EMPTY = "The vector array is empty. Make sure you have entered vector records."
SIZE = "The vector dimension must be equal to the collection dimension."
LONG = "n" * 256
VECTORS = np.arange(20, dtype=np.float32).reshape(5, 4)


@pytest.fixture
def stocked(caller: Caller) -> Caller:
    caller.create()
    caller.insert(VECTORS, np.arange(5))
    return caller


NAMES = [
    ("", "Collection name should not be empty."),
    (LONG,
     f"Invalid collection name: {LONG}. The length of a collection name must be less than 255 "
     "characters."),
    (
        "1a",
        "Invalid collection name: 1a. The first character of a collection name must be an "
        "underscore or letter.",
    ),
    ("é",
     "Invalid collection name: é. The first character of a collection name must be an "
     "underscore or letter."),
    ("a-b",
     "Invalid collection name: a-b. Collection name can only contain numbers, letters, and "
     "underscores."),
    ("a\n",
     "Invalid collection name: a\n. Collection name can only contain numbers, letters, and "
     "underscores."),
    ("é" * 128, f"Invalid collection name: {'é' * 128}. "  # 256 bytes in 128 characters
     "The length of a collection name must be less than 255 characters."),
]  # fmt: skip
NAMED: list[tuple[str, dict[str, Any]]] = [
    ("CreateCollection", {"dimension": 4, "index_file_size": 1, "metric_type": 1}),
    ("HasCollection", {}),
    ("DescribeCollection", {}),
    ("CountCollection", {}),
    ("ShowCollectionInfo", {}),
    ("DropCollection", {}),
    ("CreateIndex", {"index_type": 1}),
    ("DescribeIndex", {}),
    ("DropIndex", {}),
    ("CreatePartition", {"tag": "t"}),
    ("HasPartition", {"tag": "t"}),
    ("ShowPartitions", {}),
    ("DropPartition", {"tag": "t"}),
    ("Insert", {"row_record_array": records([1, 2, 3, 4])}),
    ("GetVectorsByID", {"id_array": [1]}),
    ("GetVectorIDs", {"segment_name": "1"}),
    ("Search", {"topk": 1, "query_record_array": records([1, 2, 3, 4])}),
    ("SearchByID", {"topk": 1, "id_array": [1]}),
    ("DeleteByID", {"id_array": [1]}),
    ("PreloadCollection", {}),
    ("ReleaseCollection", {}),
    ("Compact", {}),
]


@pytest.mark.parametrize(("rpc", "fields"), NAMED)
def test_names_and_existence(caller: Caller, rpc: str, fields: dict[str, Any]) -> None:
    for name, reason in NAMES:
        assert caller.fails(rpc, collection_name=name, **fields) == (9, reason)
    if rpc not in ("CreateCollection", "HasCollection"):
        assert caller.fails(rpc, collection_name="missing", **fields) == (
            4,
            NOT_EXIST.format("missing"),
        )


def test_every_rpc_is_served_or_said_not_to_be() -> None:
    assert set(SERVED) | NOT_SERVED == set(schema.RPCS)
    assert not set(SERVED) & NOT_SERVED


@pytest.mark.parametrize("rpc", [*sorted(NOT_SERVED), *schema.HYBRID_RPCS, "Nonsense"])
def test_unknown_methods(caller: Caller, rpc: str) -> None:
    with pytest.raises(UnknownMethod) as caught:
        caller.operations.call(rpc, b"")
    assert caught.value.status is GrpcStatus.UNIMPLEMENTED


@pytest.mark.parametrize("rpc", [rpc for rpc in SERVED if rpc != "ShowCollections"])
def test_undecodable_bytes(caller: Caller, rpc: str) -> None:
    with pytest.raises(MalformedRequest) as caught:
        caller.operations.call(rpc, b"\x0a\xff")
    assert caught.value.status is GrpcStatus.INTERNAL


@pytest.mark.parametrize("text", ["", "{", "{'a':1}", "nprobe", '{"a":NaN}', "[" * 100_000])
def test_malformed_json(stocked: Caller, text: str) -> None:
    pair = [schema.KeyValuePair(key="params", value=text)]
    for rpc, fields in (
        ("Search", {"topk": 1, "query_record_array": records([1, 2, 3, 4])}),
        ("SearchByID", {"topk": 1, "id_array": [1]}),
        (
            "SearchInFiles",
            {"search_param": {"collection_name": "c", "topk": 1, "extra_params": pair}},
        ),
        ("CreateIndex", {"index_type": 1}),
    ):
        with pytest.raises(MalformedRequest) as caught:
            inner = {} if rpc == "SearchInFiles" else {"collection_name": "c", "extra_params": pair}
            getattr(stocked, rpc)(**inner, **fields)
        assert (caught.value.status, str(caught.value)) == (
            GrpcStatus.UNKNOWN,
            "Unexpected error in RPC handling",
        )
    stocked.ok(
        "Insert",
        collection_name="c",
        row_record_array=records([1, 2, 3, 4]),
        row_id_array=[9],
        extra_params=pair,
    )
    made = {"dimension": 4, "index_file_size": 1, "metric_type": 1}
    stocked.ok("CreateCollection", collection_name="other", extra_params=pair, **made)


# collections


def dimension_range(dimension: int) -> tuple[int, str]:
    text = (
        f"Invalid collection dimension: {dimension}. The collection dimension must be within the"
        " range of 1 ~ 32768."
    )
    return 7, text


def file_size_range(size: int) -> tuple[int, str]:
    return (
        5,
        (
            f"Invalid index file size: {size}. The index file size must be within the range of 1 ~"
            " 4096."
        ),
    )


def metric_range(metric: int) -> tuple[int, str]:
    return (
        23,
        f"Invalid index metric type: {metric}. Make sure the metric type is in MetricType list.",
    )


@pytest.mark.parametrize(
    ("dimension", "size", "metric", "expected"),
    [
        (0, 0, 0, dimension_range(0)),
        (-5, 1, 1, dimension_range(-5)),
        (32769, 1, 1, dimension_range(32769)),
        (
            12,
            0,
            3,
            (
                7,
                (
                    "Invalid collection dimension: 12. The collection dimension must be a multiple"
                    " of 8"
                ),
            ),
        ),
        (12, 0, 9, file_size_range(0)),
        (12, 4097, 1, file_size_range(4097)),
        (12, 1, 0, metric_range(0)),
        (12, 1, 8, metric_range(8)),
    ],
)
def test_create_collection_refuses(
    caller: Caller, dimension: int, size: int, metric: int, expected: tuple[int, str]
) -> None:
    fields = {"dimension": dimension, "index_file_size": size, "metric_type": metric}
    assert caller.fails("CreateCollection", collection_name="c", **fields) == expected
    assert not caller.ok("HasCollection", collection_name="c").bool_reply


def test_collections(caller: Caller) -> None:
    caller.create("b", 32768, 2, 4096)
    caller.create("a", 1, 1, 1)
    assert list(caller.ok("ShowCollections", cmd="show_collections").collection_names) == ["b", "a"]
    again = {"collection_name": "b", "dimension": 8, "index_file_size": 1, "metric_type": 3}
    assert caller.fails("CreateCollection", **again) == (9, "Collection already exists")
    described = caller.ok("DescribeCollection", collection_name="b")
    assert (described.collection_name, described.dimension) == ("b", 32768)
    assert (described.index_file_size, described.metric_type) == (4096, 2)
    caller.ok("DropCollection", collection_name="b")
    assert not caller.ok("HasCollection", collection_name="b").bool_reply
    caller.create("b")


def test_longest_name_and_case(caller: Caller) -> None:
    caller.create("n" * 255)
    caller.create("_")
    assert not caller.ok("HasCollection", collection_name="N" * 255).bool_reply


def test_stats(stocked: Caller) -> None:
    stocked.ok("CreatePartition", collection_name="c", tag="t")
    stocked.ok("Flush", collection_name_array=["c"])
    text = stocked.ok("ShowCollectionInfo", collection_name="c").json_info
    stats = json.loads(text)
    assert text == json.dumps(stats, separators=(",", ":"), sort_keys=True)
    segment = stats["partitions"][0]["segments"][0]
    assert segment.pop("name").isdigit()
    assert segment == {"data_size": 5 * (16 + 8), "index_name": "IDMAP", "row_count": 5}
    assert stats["partitions"][1] == {"row_count": 0, "segments": None, "tag": "t"}
    assert stats["row_count"] == 5


# partitions


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("_default", (1, "'_default' is built-in partition tag")),
        (" _default\n", (1, "'_default' is built-in partition tag")),
        (" \t\r\n", (1, "Invalid partition tag: . Partition tag should not be empty.")),
        ("", (1, "Invalid partition tag: . Partition tag should not be empty.")),
        (
            "é" * 128,
            (1, f"Invalid partition tag: {'é' * 128}. Partition tag exceed max length(255)."),
        ),
        ("a b", (1, "Duplicate partition is not allowed")),
    ],
)
def test_create_partition_refuses(stocked: Caller, tag: str, expected: tuple[int, str]) -> None:
    stocked.ok("CreatePartition", collection_name="c", tag="\ta b ")
    assert stocked.fails("CreatePartition", collection_name="c", tag=tag) == expected
    assert list(stocked.ok("ShowPartitions", collection_name="c").partition_tag_array) == [
        "_default",
        "a b",
    ]


def test_partitions(stocked: Caller) -> None:
    stocked.ok("CreatePartition", collection_name="c", tag=" t ")
    stocked.ok("CreatePartition", collection_name="c", tag="n" * 255)
    for tag, there in (
        ("t", True),
        (" t\n", True),
        ("_default", True),
        (" _default", True),
        ("u", False),
        ("", False),
    ):
        assert stocked.ok("HasPartition", collection_name="c", tag=tag).bool_reply is there
    assert stocked.fails("DropPartition", collection_name="c", tag="_default") == (
        9,
        "Default partition cannot be dropped.",
    )
    assert stocked.fails("DropPartition", collection_name="c", tag="") == (
        1,
        "Invalid partition tag: . Partition tag should not be empty.",
    )
    assert stocked.fails("DropPartition", collection_name="c", tag="u") == (
        1,
        "Collection c's partition u not found",
    )
    stocked.ok("DropPartition", collection_name="c", tag="t ")
    assert not stocked.ok("HasPartition", collection_name="c", tag="t").bool_reply


# indexes


@pytest.mark.parametrize(
    ("index_type", "values", "expected"),
    [
        (0, {}, (8, "Invalid index type: 0. Make sure the index type is in IndexType list.")),
        (13, {}, (8, "Invalid index type: 13. Make sure the index type is in IndexType list.")),
        (5, {"nlist": 0}, (5, "Invalid nlist value: 0. Valid range is [1, 999999]")),
        (7, {}, (8, "Unsupported index type: 7")),
        (10, {}, (8, "Unsupported index type: 10")),
        (2, {}, (5, "Parameter list must contain: nlist")),
        (2, {"nlist": 0}, (5, "Invalid nlist value: 0. Valid range is [1, 999999]")),
        (
            2,
            {"nlist": "8"},
            (
                5,
                "Invalid nlist: [json.exception.type_error.302] type must be number, but is string",
            ),
        ),
        (
            6,
            {"nlist": 8, "m": 3},
            (7, "Invalid collection dimension, dimension can not be divided by m"),
        ),
        (6, {"nlist": 8, "m": 0}, (5, "Invalid m value: 0")),
        (1000, {}, (8, "Invalid index type: 1000. Make sure the index type is in IndexType list.")),
        (1004, {}, (8, "Invalid index type: 1004. Make sure the index type is in IndexType list.")),
        (
            1001,
            {"nlist": 8, "m": 3},
            (7, "Invalid collection dimension, dimension can not be divided by m"),
        ),
        (1001, {}, (5, "Parameter list must contain: nlist")),
        (1002, {"nlist": 0}, (5, "Invalid nlist value: 0. Valid range is [1, 999999]")),
        (1003, {"M": 3, "efConstruction": 8}, (5, "Invalid M value: 3. Valid range is [4, 64]")),
    ],
)
def test_create_index_refuses(
    stocked: Caller, index_type: int, values: Any, expected: tuple[int, str]
) -> None:
    fields = {"collection_name": "c", "index_type": index_type, "extra_params": params(**values)}
    assert stocked.fails("CreateIndex", **fields) == expected
    assert stocked.ok("DescribeIndex", collection_name="c").index_type == 1


def test_indexes(stocked: Caller) -> None:
    described = stocked.ok("DescribeIndex", collection_name="c")
    assert (described.index_type, [(p.key, p.value) for p in described.extra_params]) == (
        1,
        [("params", "{}")],
    )
    stocked.ok(
        "CreateIndex", collection_name="c", index_type=2, extra_params=params(zz=1, nlist=16384)
    )
    described = stocked.ok("DescribeIndex", collection_name="c")
    assert described.extra_params[0].value == '{"nlist":16384,"zz":1}'
    assert stocked.fails(
        "Search", collection_name="c", topk=1, query_record_array=records([1, 2, 3, 4])
    ) == (
        5,
        "Parameter list must contain: nprobe",
    )
    stocked.ok("CreateIndex", collection_name="c", index_type=1001, extra_params=params(nlist=4))
    assert stocked.ok("DescribeIndex", collection_name="c").index_type == 1001
    stocked.ok("DropIndex", collection_name="c")
    stocked.ok("DropIndex", collection_name="c")
    assert stocked.search(VECTORS[:1], 1, {"nprobe": 16}).ids.tolist() == [0]
    stocked.ok("CreateIndex", collection_name="c", index_type=1)
    assert stocked.ok("DescribeIndex", collection_name="c").extra_params[0].value == "{}"


def test_describe_index_failure_has_one_empty_pair(caller: Caller) -> None:
    reply = caller.DescribeIndex(collection_name="missing")
    assert [(pair.key, pair.value) for pair in reply.extra_params] == [("params", "")]


# rows


def binary(*rows: bytes) -> list[Any]:
    return [schema.RowRecord(binary_data=row) for row in rows]


INSERT_REFUSALS: list[tuple[dict[str, Any], tuple[int, str]]] = [
    ({}, (11, EMPTY)),
    ({"row_record_array": records([], [])}, (11, EMPTY)),
    ({"row_record_array": records([1, 2, 3, 4]), "row_id_array": [1, 2]},
     (12, "The size of vector ID array must be equal to the size of the vector.")),
    ({"row_record_array": records([1, 2, 3])},
     (12, "Entities IDs are user-defined. Please provide IDs for all entities of the collection.")),
    ({"row_record_array": records([1, 2, 3], [1, 2, 3, 4]), "row_id_array": [1, 2]}, (11, SIZE)),
    ({"row_record_array": records([1, 2, 3], [1, 2, 3, 4, 5]), "row_id_array": [1, 2]}, (7, SIZE)),
    ({"row_record_array": records([1, 2, 3]), "row_id_array": [1]}, (7, SIZE)),
    ({"row_record_array": binary(b"1234", b"1234"), "row_id_array": [1, 2]}, (7, SIZE)),
    ({"row_record_array": records([1, 2, 3, 4]), "row_id_array": [1], "partition_tag": "t"},
     (1, "Collection c's partition t not found")),
    ({"row_record_array": records([1, 2, 3, 4]), "row_id_array": [1], "partition_tag": "  "},
     (1, "Collection c's partition  not found")),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "expected"), INSERT_REFUSALS)
def test_insert_refuses_and_writes_nothing(
    stocked: Caller, fields: Any, expected: tuple[int, str]
) -> None:
    assert stocked.fails("Insert", collection_name="c", **fields) == expected
    assert stocked.ok("CountCollection", collection_name="c").collection_row_count == 5


def test_insert_without_ids(caller: Caller) -> None:
    caller.create()
    ids = caller.insert(VECTORS)
    assert ids == sorted(set(ids))
    assert len(str(ids[0])) == 19
    fields = {"row_record_array": records([1, 2, 3, 4]), "row_id_array": [1]}
    reason = (
        "Entities IDs are auto-generated. All vectors of this collection must use auto-generated"
        " IDs."
    )
    assert caller.fails("Insert", collection_name="c", **fields) == (12, reason)


@pytest.mark.parametrize("surplus", [0, 1])
def test_insert_of_256_mib_and_a_row(caller: Caller, surplus: int) -> None:
    dimension = 32768
    caller.create(dimension=dimension)
    rows = (256 << 20) // (4 * dimension) + surplus
    raw_row = b"\x12" + b"\x84\x80\x08" + b"\x0a" + b"\x80\x80\x08" + bytes(4 * dimension)
    reply = schema.VectorIds.FromString(
        caller.operations.call("Insert", b"\x0a\x01c" + raw_row * rows)
    )
    if surplus:
        assert reply.status.error_code == 11
        assert reply.status.reason == "The amount of data inserted each time cannot exceed 256 MB"
    else:
        assert (reply.status.reason, len(reply.vector_id_array)) == ("OK", rows)


def test_extreme_ids_and_values(caller: Caller) -> None:
    caller.create()
    ids = [0, -1, (1 << 63) - 1, -(1 << 63), 0]
    vectors = VECTORS.copy()
    vectors[1] = [np.nan, np.inf, -np.inf, 0]
    assert caller.insert(vectors, np.array(ids)) == ids
    reply = caller.ok("GetVectorsByID", collection_name="c", id_array=[-1, 77, -(1 << 63)])
    rows = [list(record.float_data) for record in reply.vectors_data]
    assert np.array_equal(rows[0], vectors[1], equal_nan=True)
    assert rows[1:] == [[], vectors[3].tolist()]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (5, "No vector id specified")),
        ({"id_array": range(1001)}, (5, "Input id array size cannot exceed: 1000")),
        ({"id_array": [1], "partition_tag": "t"}, (1, "The specified partition does not exist")),
        ({"id_array": [1], "partition_tag": "empty"}, (1, "Collection or partition is empty")),
    ],
)
def test_get_refuses(stocked: Caller, fields: Any, expected: tuple[int, str]) -> None:
    stocked.ok("CreatePartition", collection_name="c", tag="empty")
    assert stocked.fails("GetVectorsByID", collection_name="c", **fields) == expected


def test_get_of_many_and_of_an_empty_collection(stocked: Caller) -> None:
    reply = stocked.ok(
        "GetVectorsByID", collection_name="c", id_array=[4] * 1000, partition_tag=" _default "
    )
    assert {tuple(record.float_data) for record in reply.vectors_data} == {tuple(VECTORS[4])}
    stocked.create("d")
    assert stocked.fails("GetVectorsByID", collection_name="d", id_array=[1]) == (
        1,
        "Collection or partition is empty",
    )


def topk_range(topk: int) -> tuple[int, str]:
    return 10, f"Invalid topk: {topk}. The topk must be within the range of 1 ~ 16384."


QUERY = records([1, 2, 3, 4])


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"topk": 0}, topk_range(0)),
        ({"topk": -1}, topk_range(-1)),
        ({"topk": 16385}, topk_range(16385)),
        ({"topk": 1, "partition_tag_array": ["t", " "]},
         (1, "Invalid partition tag: . Partition tag should not be empty.")),
        ({"topk": 1}, (11, EMPTY)),
        ({"topk": 1, "query_record_array": records([1, 2, 3], [1, 2])}, (11, SIZE)),
        ({"topk": 1, "query_record_array": records([1, 2, 3])}, (7, SIZE)),
        ({"topk": 1, "query_record_array": binary(b"1")}, (7, SIZE)),
        ({"topk": 1, "query_record_array": QUERY, "partition_tag_array": ["t"]},
         (1, "The specified partition does not exist")),
        ({"topk": 1, "query_record_array": QUERY, "extra_params": params(metric_type="L2")},
         (5,
          "Invalid metric_type: [json.exception.type_error.302] type must be number, but is "
          "string")),
    ],
)  # fmt: skip
def test_search_refuses(stocked: Caller, fields: Any, expected: tuple[int, str]) -> None:
    assert stocked.fails("Search", collection_name="c", **fields) == expected


def test_order_of_checks_in_search(caller: Caller) -> None:
    assert caller.fails("Search", collection_name="", topk=0)[0] == 9
    assert caller.fails("Search", collection_name="x", topk=0, partition_tag_array=[""])[0] == 10
    assert caller.fails("Search", collection_name="x", topk=1, partition_tag_array=[""])[0] == 1
    assert caller.fails("Search", collection_name="x", topk=1)[0] == 4


def test_search_shapes(stocked: Caller) -> None:
    hits = stocked.search(VECTORS[[1, 3]], 2)
    assert hits.row_num == 2
    assert hits.ids.reshape(2, 2)[:, 0].tolist() == [1, 3]
    assert hits.distances.reshape(2, 2)[:, 0].tolist() == [0, 0]
    wide = stocked.search(VECTORS[:1], 9)
    assert (wide.row_num, len(wide.ids), wide.ids[-1]) == (1, 6, -1)
    assert wide.distances[-1] == np.float32(3.4028235e38)
    stocked.create("empty")
    nothing = stocked.search(VECTORS[:2], 2, name="empty")
    assert (nothing.code, nothing.row_num, len(nothing.ids), len(nothing.distances)) == (0, 0, 0, 0)


def test_search_by_tags(stocked: Caller) -> None:
    stocked.ok("CreatePartition", collection_name="c", tag="tag 01")
    stocked.insert(VECTORS[:1], np.array([50]), tag="tag 01")
    assert stocked.search(VECTORS[:1], 1, tags=[" tag.0. "]).ids.tolist() == [50]
    assert stocked.search(VECTORS[:1], 1, tags=["_default"]).ids.tolist() == [0]


@pytest.mark.parametrize("memory", [replace(UNBOUNDED, answers=SHORT_BYTES)])
def test_an_answer_larger_than_there_is_memory_for_is_refused(stocked: Caller) -> None:
    many = np.repeat(VECTORS, 300, axis=0)
    hits = stocked.search(many, 5)
    assert hits.code == 24
    assert "Send fewer queries at a time" in hits.reason
    assert stocked.search(many, 1).code == 0


def test_delete(stocked: Caller) -> None:
    stocked.ok("DeleteByID", collection_name="c")
    stocked.ok("DeleteByID", collection_name="c", id_array=[77])
    stocked.ok("DeleteByID", collection_name="c", id_array=[1], partition_tag="missing")
    assert stocked.ok("CountCollection", collection_name="c").collection_row_count == 5
    stocked.ok("DeleteByID", collection_name="c", id_array=[1], partition_tag=" _default ")
    stocked.ok("DeleteByID", collection_name="c", id_array=[2, 3])
    assert stocked.search(VECTORS[:1], 5).ids.tolist() == [0, 4, -1]
    stocked.ok("Flush")
    stocked.ok("Compact", collection_name="c")
    assert stocked.ok("CountCollection", collection_name="c").collection_row_count == 2


# flush, commands, failures


def test_flush(stocked: Caller) -> None:
    stocked.ok("Flush")
    assert stocked.fails("Flush", collection_name_array=["c", "a b", "d"]) == (
        4,
        NOT_EXIST.format("a b"),
    )


class Broken:
    def __init__(self, error: BaseException) -> None:
        self._error = error

    def collections(self) -> list[str]:
        raise self._error


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (RuntimeError("boom"), 1, "Unexpected error: RuntimeError: boom"),
        (MemoryError(), 24, "The server ran out of memory while serving the request"),
    ],
)
def test_unforeseen_errors_are_replies_and_events(error: Exception, code: int, reason: str) -> None:
    seen: list[Event] = []
    caller = Caller(Operations(Broken(error), Settings(), Events(seen.append)))  # type: ignore[arg-type]
    assert caller.fails("ShowCollections") == (code, reason)
    assert isinstance(seen[0], RequestFailed)
    assert seen[0].rpc == "ShowCollections"
    assert "in collections" in seen[0].traceback


def test_requests_over_the_budget_are_refused_undecoded(tmp_path: Path) -> None:
    settings = Settings(background=False, request_bytes_max=1000)
    with Database.open(tmp_path, settings) as database:
        caller = Caller(Operations(database, settings))
        caller.create()
        code, reason = caller.fails(
            "Insert", collection_name="c", row_record_array=records(*[[1, 2, 3, 4]] * 60)
        )
        assert code == 24
        assert "the limit is 1000 (network.request_bytes_max)" in reason
        caller.insert(VECTORS)


def test_a_large_request_that_carries_no_rows_is_refused(caller: Caller) -> None:
    code, reason = caller.fails("HasCollection", collection_name="x" * (17 << 20))
    assert (code, reason.endswith("is over the limit of 16 MB")) == (5, True)


@pytest.mark.parametrize(
    ("vectors", "code"),
    [(VECTORS[:1, :2], 7), (np.zeros((1, 4), np.uint8), 7), (np.zeros((0, 4), np.float32), 11)],
)
@pytest.mark.parametrize("tag", ["nowhere", "("])
def test_a_search_is_told_of_its_vectors_before_its_tags(
    stocked: Caller, vectors: Any, code: int, tag: str
) -> None:
    request = packed.encode_search("c", vectors, 2, (tag,), "{}")
    reply = packed.decode_hits(stocked.operations.call("Search", request))
    assert reply.code == code


def test_an_insert_is_told_of_its_rows_before_a_blank_tag(stocked: Caller) -> None:
    """The collection has ids given by its inserts."""

    def code(vectors: Any, ids: Any) -> int:
        request = packed.encode_insert("c", vectors, ids, " ", "{}")
        return packed.decode_ids(stocked.operations.call("Insert", request)).code

    ids = np.array([77])
    assert code(VECTORS[:1], None) == 12
    assert code(VECTORS[:1, :2].copy(), ids) == 7
    assert code(VECTORS[:1], ids) == 1


def test_bytes_of_an_insert_in_this_process_are_those_of_its_arrays(
    stocked: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocked.create("bits", 512, 3)
    seen: list[int] = []
    take = stocked.operations.budget.take
    monkeypatch.setattr(
        stocked.operations.budget,
        "take",
        lambda size, held: seen.append(size) or take(size, held),
    )
    bits, ids = np.ones((2000, 64), np.uint8), np.arange(2000)
    wanted = packed.InsertRequest("bits", packed.Rows(2000, bits.size, bits), ids, "", None)
    assert stocked.operations.insert(wanted).code == 0
    assert seen == [bits.nbytes + ids.nbytes]
