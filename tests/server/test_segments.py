"""Calls about segments: their ids, searches in them, bringing them into memory."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from milvine.types import MetricType
from milvine.wire import schema
from milvine.wire.status import read_status
from tests.server.calling import NOT_EXIST, Caller, records

VECTORS = np.arange(24, dtype=np.float32).reshape(6, 4)


@pytest.fixture
def stocked(caller: Caller) -> Caller:
    """Ids 0 to 3 in `_default`, 4 and 5 in `t`, all flushed; another collection `d` with ids 8 and
    9.
    """
    caller.create()
    caller.insert(VECTORS[:4], np.array([3, 1, 0, 2]))
    caller.ok("CreatePartition", collection_name="c", tag="t")
    caller.insert(VECTORS[4:], np.array([5, 4]), tag="t")
    caller.create("d")
    caller.insert(VECTORS[:2], np.array([8, 9]), name="d")
    caller.ok("Flush")
    return caller


def segments(caller: Caller, name: str = "c", partition: int = 0) -> list[str]:
    stats = json.loads(caller.ok("ShowCollectionInfo", collection_name=name).json_info)
    return [segment["name"] for segment in stats["partitions"][partition]["segments"]]


def ids_of(caller: Caller, segment: str) -> list[int]:
    return list(
        caller.ok("GetVectorIDs", collection_name="c", segment_name=segment).vector_id_array
    )


def test_ids_of_a_segment(stocked: Caller) -> None:
    (own,), (partition,) = segments(stocked), segments(stocked, partition=1)
    assert ids_of(stocked, own) == [3, 1, 0, 2]
    assert ids_of(stocked, partition) == [5, 4]
    stocked.ok("DeleteByID", collection_name="c", id_array=[1])
    assert ids_of(stocked, own) == [3, 0, 2]
    stocked.ok("DeleteByID", collection_name="c", id_array=[0, 2, 3])
    assert ids_of(stocked, own) == []


def test_segments_that_are_not_there(stocked: Caller) -> None:
    (own,), (other,) = segments(stocked), segments(stocked, "d")
    for name in ("", "1", "x", f"0{own}", f" {own}"):
        reason = "Segment does not exist"
        assert stocked.fails("GetVectorIDs", collection_name="c", segment_name=name) == (1, reason)
    reason = "Segment does not belong to this collection"
    assert stocked.fails("GetVectorIDs", collection_name="c", segment_name=other) == (1, reason)


def search(caller: Caller, files: list[str], topk: int = 2, name: str = "c", **fields: Any) -> Any:
    asked = {
        "collection_name": name,
        "topk": topk,
        "query_record_array": records(VECTORS[0]),
        **fields,
    }
    return caller.SearchInFiles(file_id_array=files, search_param=asked)


def test_search_in_files(stocked: Caller) -> None:
    (own,), (partition,) = segments(stocked), segments(stocked, partition=1)
    stocked.insert(VECTORS[:1], np.array([77]))  # not flushed
    assert list(search(stocked, [own]).ids) == [3, 1]
    assert list(search(stocked, [partition], 9).ids) == [5, 4, -1]
    assert list(search(stocked, [own, partition, "1", own], 9).ids) == [3, 1, 0, 2, 5, 4, -1]
    assert list(search(stocked, [f" +{own}x"]).ids) == [3, 1]  # as std::stoul reads it
    assert list(search(stocked, [own], partition_tag_array=["matched by nothing"]).ids) == [3, 1]
    whole = search(stocked, [])
    assert (sorted(whole.ids), whole.status.reason, whole.row_num) == ([3, 77], "OK", 1)
    assert list(search(stocked, [], partition_tag_array=["t"]).ids) == [5, 4]


def test_search_in_files_of_deleted_rows(stocked: Caller) -> None:
    stocked.ok("DeleteByID", collection_name="c", id_array=[0, 1, 2, 3])
    assert list(search(stocked, segments(stocked)).ids) == [-1]


@pytest.mark.parametrize(
    ("files", "fields", "expected"),
    [
        (["x"], {"name": ""}, (9, "Collection name should not be empty.")),
        (["x"], {"topk": 0},
         (10, "Invalid topk: 0. The topk must be within the range of 1 ~ 16384.")),
        (["x"], {"partition_tag_array": [" "]},
         (1, "Invalid partition tag: . Partition tag should not be empty.")),
        (["x"], {"name": "x"}, (4, NOT_EXIST.format("x"))),
        (["x"], {"query_record_array": []},
         (11, "The vector array is empty. Make sure you have entered vector records.")),
        (["x"], {"query_record_array": records([1])},
         (7, "The vector dimension must be equal to the collection dimension.")),
        (["x"], {}, (1, "stoul")),
        (["1", ""], {}, (1, "stoul")),
        (["1" * 25], {}, (1, "stoul")),
        (["3"], {}, (1, "Invalid file id")),
        ([], {"partition_tag_array": ["nope"]}, (1, "The specified partition does not exist")),
    ],
)  # fmt: skip
def test_search_in_files_refuses(
    stocked: Caller, files: list[str], fields: Any, expected: tuple[int, str]
) -> None:
    reply = search(stocked, files, **fields)
    assert (reply.status.error_code, reply.status.reason) == expected


def test_files_of_another_collection_are_not_searched(stocked: Caller) -> None:
    (own,), (other,) = segments(stocked), segments(stocked, "d")
    assert search(stocked, [other]).status.reason == "Invalid file id"
    assert list(search(stocked, [other, own]).ids) == [3, 1]


@pytest.mark.parametrize("rpc", ["PreloadCollection", "ReleaseCollection"])
def test_loading_and_releasing(stocked: Caller, rpc: str) -> None:
    stocked.create("empty")
    stocked.ok(rpc, collection_name="empty")
    for tags in ([], [" t "], ["_default"], [".*"], ["nope", "t"]):
        stocked.ok(rpc, collection_name="c", partition_tag_array=tags)
        assert stocked.search(VECTORS[4:5], 1).ids.tolist() == [5]
    for tags in (["nope"], [""], [" "]):
        expected = (1, "The specified partition does not exist")
        assert stocked.fails(rpc, collection_name="c", partition_tag_array=tags) == expected


@pytest.mark.parametrize(
    "fields", [{}, {"collection_name": "missing"}, {"segment_id_array": ["x", ""]}]
)
def test_reloading_looks_at_nothing(stocked: Caller, fields: Any) -> None:
    assert read_status(stocked.ReloadSegments(**fields)) == (0, "")


def test_binary_rows(caller: Caller) -> None:
    caller.create(dimension=16, metric=MetricType.HAMMING)
    rows = [b"\x00\x00", b"\xff\x00", b"\xff\xff"]
    sent = [schema.RowRecord(binary_data=row) for row in rows]
    caller.ok("Insert", collection_name="c", row_record_array=sent, row_id_array=[7, 8, 9])
    caller.ok("Flush")
    (segment,) = segments(caller)
    assert ids_of(caller, segment) == [7, 8, 9]
    found = search(caller, [segment], query_record_array=sent[1:2])
    assert (list(found.ids), list(found.distances)) == ([8, 7], [0, 8])
    by_id = caller.ok("SearchByID", collection_name="c", id_array=[9, 1], topk=2)
    assert (list(by_id.ids), list(by_id.distances)[:2]) == ([9, 8, -1, -1], [0, 8])
    caller.ok("PreloadCollection", collection_name="c")
    caller.ok("ReleaseCollection", collection_name="c")
    assert list(search(caller, [segment], query_record_array=sent[2:]).ids) == [9, 8]


def test_segments_have_small_numbers_too(stocked: Caller) -> None:
    """As the files of 1.x: from 1, in the order of the statistics; what there is none of is passed
    over.
    """
    stocked.insert(VECTORS[:1], np.array([6]))  # a younger segment, of the older partition
    stocked.ok("Flush", collection_name_array=["c"])
    names = [*segments(stocked), *segments(stocked, partition=1)]
    assert len(names) == 3
    for number, name in enumerate(names, 1):
        assert list(search(stocked, [str(number)]).ids) == list(search(stocked, [name]).ids)
    assert list(search(stocked, ["3", "0", "9"]).ids) == [5, 4]
    assert list(search(stocked, ["1", names[2]], topk=6).ids) == list(
        search(stocked, ["1", "3"], topk=6).ids
    )
    for none in (["0"], ["4"], ["0", "99"]):
        assert read_status(search(stocked, none)) == (1, "Invalid file id")
