"""SearchByID: stored rows as queries."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from milvine.memory_plan import UNBOUNDED
from tests.server.calling import NOT_EXIST, Caller, params
from tests.server.test_segments import VECTORS, stocked

__all__ = ["stocked"]
MAX = np.float32(3.4028235e38)


def found(caller: Caller, ids: list[int], topk: int, **fields: Any) -> list[list[int]]:
    reply = caller.ok("SearchByID", collection_name="c", id_array=ids, topk=topk, **fields)
    assert reply.row_num == len(ids)
    assert len(reply.ids) == len(reply.distances)
    return np.array(reply.ids).reshape(reply.row_num, -1).tolist()


def test_stored_rows_are_queries(stocked: Caller) -> None:
    assert found(stocked, [3, 4, 3], 2) == [[3, 1], [4, 5], [3, 1]]
    stocked.insert(VECTORS[5:], np.array([77]))  # not flushed
    assert found(stocked, [77], 1) == [[4]]
    assert found(stocked, [4], 2) == [[4, 77]]


def test_fewer_rows_than_topk_and_unknown_ids(stocked: Caller) -> None:
    assert found(stocked, [3, 99], 10) == [[3, 1, 0, 2, 5, 4, -1], [-1] * 7]
    reply = stocked.ok("SearchByID", collection_name="c", id_array=[99, -1], topk=2)
    assert (list(reply.ids), set(reply.distances), reply.row_num) == ([-1] * 4, {float(MAX)}, 2)
    stocked.ok("DeleteByID", collection_name="c", id_array=[3])
    assert found(stocked, [3, 1], 1) == [[-1], [1]]


def test_tags_narrow_the_search_and_not_the_lookup(stocked: Caller) -> None:
    assert found(stocked, [3], 1, partition_tag_array=[" t "]) == [[5]]
    assert found(stocked, [4], 1, partition_tag_array=["_default", "nope"]) == [[2]]
    stocked.ok("CreatePartition", collection_name="c", tag="empty")
    reply = stocked.ok(
        "SearchByID", collection_name="c", id_array=[4], topk=1, partition_tag_array=["empty"]
    )
    assert (reply.row_num, len(reply.ids)) == (0, 0)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"collection_name": "", "topk": 0}, (5, "No vector id specified")),
        ({"collection_name": "", "topk": 0, "id_array": [1]},
         (9, "Collection name should not be empty.")),
        ({"collection_name": "x", "topk": 0, "id_array": [1]},
         (10, "Invalid topk: 0. The topk must be within the range of 1 ~ 16384.")),
        ({"collection_name": "x", "topk": 1, "id_array": [1], "partition_tag_array": [""]},
         (4, NOT_EXIST.format("x"))),
        ({"collection_name": "c", "topk": 1, "id_array": [1], "partition_tag_array": [""]},
         (1, "The specified partition does not exist")),
        ({"collection_name": "c", "topk": 1, "id_array": [1],
          "extra_params": params(metric_type="L2")},
         (5,
          "Invalid metric_type: [json.exception.type_error.302] type must be number, but is "
          "string")),
        ({"collection_name": "e", "topk": 1, "id_array": [1]},
         (1, "Collection or partition is empty")),
    ],
)  # fmt: skip
def test_refuses(stocked: Caller, fields: Any, expected: tuple[int, str]) -> None:
    stocked.create("e")
    assert stocked.fails("SearchByID", **fields) == expected


def test_parameters_of_the_index_setting_are_checked(stocked: Caller) -> None:
    stocked.ok("CreateIndex", collection_name="c", index_type=2, extra_params=params(nlist=16))
    asked = {"collection_name": "c", "id_array": [3], "topk": 1}
    assert stocked.fails("SearchByID", **asked) == (5, "Parameter list must contain: nprobe")
    assert found(stocked, [3], 1, extra_params=params(nprobe=1)) == [[3]]


@pytest.mark.parametrize("memory", [replace(UNBOUNDED, answers=100)])
def test_an_answer_larger_than_there_is_memory_for_is_refused(stocked: Caller) -> None:
    assert stocked.fails("SearchByID", collection_name="c", id_array=[1, 2, 3], topk=3)[0] == 24
