"""Requests as messages, and an insert of one made beforehand (specification 5.6)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from milvine.wire import schema
from milvus import DataType, IndexType, MetricType, Milvus, ParamError, Prepare, RangeType
from tests.client.fakes import FakeTransport, reply_of

PARAMS = [schema.KeyValuePair(key="params", value='{"nprobe":16}')]
CLIENT = schema.Status(error_code=0, reason="Client")
FLOATS = [schema.RowRecord(float_data=[1.0, 2.0])]
SEARCH = schema.SearchParam(
    collection_name="a",
    partition_tag_array=["t"],
    query_record_array=FLOATS,
    topk=3,
    extra_params=PARAMS,
)
IN_ALL = schema.SearchParam(
    collection_name="a", query_record_array=FLOATS, topk=3, extra_params=PARAMS
)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (Prepare.collection_name("a"), schema.CollectionName(collection_name="a")),
        (Prepare.compact_param("a"), schema.CollectionName(collection_name="a")),
        (
            Prepare.collection_schema("a", 4, 8, MetricType.IP, {"nprobe": 16}),
            schema.CollectionSchema(
                status=CLIENT,
                collection_name="a",
                dimension=4,
                index_file_size=8,
                metric_type=2,
                extra_params=PARAMS,
            ),
        ),
        (
            Prepare.preload_param("a", ["t"]),
            schema.PreloadCollectionParam(collection_name="a", partition_tag_array=["t"]),
        ),
        (Prepare.release_param("a", None), schema.PreloadCollectionParam(collection_name="a")),
        (
            Prepare.reload_param("a", ["7"]),
            schema.ReLoadSegmentsParam(collection_name="a", segment_id_array=["7"]),
        ),
        (
            Prepare.insert_param("a", [[1.0, 2.0]], None, [5], {"nprobe": 16}),
            schema.InsertParam(
                collection_name="a", row_record_array=FLOATS, row_id_array=[5], extra_params=PARAMS
            ),
        ),
        (
            Prepare.index_param("a", IndexType.HNSW, {"nprobe": 16}),
            schema.IndexParam(
                status=CLIENT, collection_name="a", index_type=11, extra_params=PARAMS
            ),
        ),
        (Prepare.search_param("a", 3, [[1.0, 2.0]], ["t"], {"nprobe": 16}), SEARCH),
        (
            Prepare.search_vector_in_files_param("a", [[1.0, 2.0]], 3, [7], {"nprobe": 16}),
            schema.SearchInFilesParam(file_id_array=["7"], search_param=IN_ALL),
        ),
        (Prepare.cmd("status"), schema.Command(cmd="status")),
        (Prepare.partition_param("a", "t"), schema.PartitionParam(collection_name="a", tag="t")),
        (
            Prepare.delete_by_id_param("a", [5], None),
            schema.DeleteByIDParam(collection_name="a", id_array=[5]),
        ),
        (Prepare.flush_param(["a"]), schema.FlushParam(collection_name_array=["a"])),
    ],
)
def test_messages(made: Any, expected: Any) -> None:
    assert made == expected and type(made) is type(expected)


def test_an_insert_made_beforehand() -> None:
    transport = FakeTransport(Insert=reply_of("Insert", vector_id_array=[5]))
    milvus = Milvus(transport=transport, try_connect=False)
    param = Prepare.insert_param("a", np.ones((1, 2)), "t", ids=[5])
    assert milvus.insert(None, None, insert_param=param)[1] == [5]
    sent = transport.last()
    assert sent.extra_params.pop().key == "idempotency_key" and sent == param
    param.extra_params.add(key="idempotency_key", value="mine")
    milvus.insert(None, None, insert_param=param)
    assert transport.last() == param
    for wrong in (Prepare.cmd("x"), "x", b"x"):
        with pytest.raises(ParamError, match="The value of key 'insert_param' is invalid"):
            milvus.insert(None, None, insert_param=wrong)


ROWS = [[1.0, 2.0]]
WRONG: list[tuple[Any, tuple[Any, ...], str]] = [
    (Prepare.collection_name, (5,), "collection_name"),
    (Prepare.compact_param, (None,), "collection_name"),
    (Prepare.collection_name, ("a\ud800",), "collection_name"),
    (Prepare.collection_schema, (b"a", 4, 8, 1, None), "collection_name"),
    (Prepare.collection_schema, ("a", "4", 8, 1, None), "dimension"),
    (Prepare.collection_schema, ("a", 4, 1.5, 1, None), "index_file_size"),
    (Prepare.collection_schema, ("a", 4, 8, "L2", None), "metric_type"),
    (Prepare.collection_schema, ("a", 4, 8, 1, [1]), "Params must be a dictionary type"),
    (Prepare.collection_schema, ("a", 4, 8, 1, {"x": object()}), "cannot be sent as JSON"),
    (Prepare.preload_param, ("a", "tag"), "partition_tags"),
    (Prepare.preload_param, ("a", [1]), "partition_tags"),
    (Prepare.release_param, (None, None), "collection_name"),
    (Prepare.release_param, ("a", 5), "partition_tags"),
    (Prepare.reload_param, ("a", None), "segment_ids"),
    (Prepare.insert_param, ("a", [], None), "A vector must be"),
    (Prepare.insert_param, (5, ROWS, None), "collection_name"),
    (Prepare.insert_param, ("a", ROWS, 5), "partition_tag"),
    (Prepare.insert_param, ("a", ROWS, None, [1.5]), "element 0 is 1.5"),
    (Prepare.insert_param, ("a", ROWS, None, [1], "{}"), "Params must be a dictionary type"),
    (Prepare.index_param, ("a", "FLAT", None), "index_type"),
    (Prepare.index_param, ("a", 1, [1]), "Params must be a dictionary type"),
    (Prepare.search_param, ("a", "3", ROWS, None, None), "topk"),
    (Prepare.search_param, ("a", 3, ROWS, "t", None), "partition_tag_array"),
    (Prepare.search_param, ("a", 3, [1.0], None, None), "Invalid vector"),
    (Prepare.search_param, ("a", 3, ROWS, None, 5), "Params must be a dictionary type"),
    (Prepare.search_vector_in_files_param, ("a", ROWS, 3, None, None), "`ids` value"),
    (Prepare.search_vector_in_files_param, ("a", ROWS, None, [7], None), "topk"),
    (Prepare.cmd, (None,), "cmd"),
    (Prepare.partition_param, ("a", None), "partition_tag"),
    (Prepare.delete_by_id_param, ("a", "12", None), "is no list, tuple or array"),
    (Prepare.flush_param, ("a",), "collection_names"),
]


@pytest.mark.parametrize(("method", "arguments", "told"), WRONG)
def test_what_is_none(method: Any, arguments: tuple[Any, ...], told: str) -> None:
    with pytest.raises(ParamError) as caught:
        method(*arguments)
    assert told in str(caught.value)


def test_every_method_is_tried() -> None:
    methods = {name for name in vars(Prepare) if not name.startswith("_")}
    assert {method.__name__ for method, *_ in WRONG} == methods


def test_a_name_may_be_empty() -> None:
    assert Prepare.collection_name("") == schema.CollectionName()
    assert Prepare.flush_param([]) == schema.FlushParam()


def test_names_of_0_2() -> None:
    assert (DataType.VECTOR, DataType.UNKNOWN, RangeType.LT, RangeType.NE) == (100, 9999, 0, 5)
