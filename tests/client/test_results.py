"""Search results and the small result objects (specification 5.9)."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from milvine.client import replies
from milvine.client.exceptions import ParamError
from milvine.client.results import CollectionSchema, IndexParam, PartitionParam, TopKQueryResult
from milvine.wire import packed
from milvine.wire.walk import SMALL
from milvus import IndexType, MetricType

_form = {"lists": False}


@pytest.fixture(autouse=True, params=["arrays", "lists"])
def form(request: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test for results of either form."""
    monkeypatch.setitem(_form, "lists", request.param == "lists")


def result_of(nq: int, ids: Any, distances: Any) -> TopKQueryResult:
    ids, distances = np.array(ids, np.int64), np.array(distances, np.float32)
    if _form["lists"]:
        return TopKQueryResult.of(nq, ids.tolist(), distances.tolist())
    return TopKQueryResult.of(nq, ids, distances)


def hits(nq: int, width: int, fillers: int = 0) -> TopKQueryResult:
    ids = np.arange(nq)[:, None] * 10 + np.arange(width)
    distances = np.tile(np.arange(width, dtype=np.float32) / 2, (nq, 1))
    ids[:, width - fillers :] = -1
    return result_of(nq, ids.ravel(), distances.ravel())


def test_rows_and_hits() -> None:
    result = hits(3, 4, fillers=1)
    assert len(result) == 3 and result.shape == (3, 4)
    assert [len(row) for row in result] == [3, 3, 3]
    assert result[1][2].id == 12 and result[1][2].distance == 1.0
    assert result[-1][-1].id == 22 and result[np.int64(0)][0].id == 0
    assert type(result[0][0].id) is int and type(result[0][0].distance) is float
    assert [row[0].id for row in result[1:]] == [10, 20]
    assert [hit.id for hit in result[0][:2]] == [0, 1]
    assert result.id_array == [[0, 1, 2], [10, 11, 12], [20, 21, 22]]
    assert result.distance_array == [[0.0, 0.5, 1.0]] * 3
    assert str(result[0][1]) == "Result(id=1, distance=0.5)"


def test_a_row_ends_at_its_first_filler() -> None:
    result = result_of(2, [5, -1, 6, -1, 7, 8], np.zeros(6))
    assert result.id_array == [[5], []]
    assert len(result[1]) == 0 and list(result[1]) == []


@pytest.mark.parametrize("at", [3, -4])
def test_out_of_range(at: int) -> None:
    result = hits(3, 3)
    with pytest.raises(IndexError):
        result[at]
    with pytest.raises(IndexError):
        result[0][at]


def test_loops_do_not_disturb_each_other() -> None:
    result = hits(3, 2)
    for _ in result:
        break
    assert [[hit.id for hit in row] for row in result] == [[0, 1], [10, 11], [20, 21]]
    assert [(a[0].id, b[0].id) for a in result[:2] for b in result[:2]] == [
        (0, 0),
        (0, 10),
        (10, 0),
        (10, 10),
    ]


def test_nothing_found() -> None:
    nothing = result_of(0, [], [])
    assert (
        len(nothing) == 0
        and nothing.shape == (0, 0)
        and list(nothing) == []
        and nothing.id_array == []
    )
    assert hits(2, 1, fillers=1).id_array == [[], []]


def test_distances_are_float32_seen_as_floats() -> None:
    result = result_of(1, [1], [0.1])
    assert repr(result[0][0]) == "Result(id=1, distance=0.10000000149011612)"


def test_lists_that_are_handed_out_are_their_owners() -> None:
    result = hits(2, 2)
    result.id_array[0].clear()
    result.distance_array[0].clear()
    assert [hit.id for hit in result[0]] == [0, 1] and [hit.distance for hit in result[0]] == [
        0.0,
        0.5,
    ]


def test_a_result_goes_to_another_process() -> None:
    again = pickle.loads(pickle.dumps(hits(2, 3, fillers=1)))
    assert (
        again.id_array == [[0, 1], [10, 11]]
        and again.shape == (2, 3)
        and repr(again) == repr(hits(2, 3, fillers=1))
    )


@pytest.mark.parametrize("width", [0, 1, 10, 3000])
def test_replies_of_any_size_are_read_alike(width: int) -> None:
    ids = np.arange(2 * width).reshape(2, width) + (1 << 60)
    distances = np.random.default_rng(width).random((2, width), np.float32)
    data = packed.encode_hits(ids, distances)
    assert (len(data) > SMALL) == (width == 3000)
    status, result = replies.SEARCH.pair(data)
    assert status.OK() and result.shape == ((2, width) if width else (0, 0))
    assert (result.id_array, result.distance_array) == (
        (ids.tolist(), distances.tolist()) if width else ([], [])
    )


def test_raw() -> None:
    raw = hits(2, 2).raw
    assert TopKQueryResult(raw).id_array == hits(2, 2).id_array
    assert raw.row_num == 2 and list(raw.ids) == [0, 1, 10, 11] and raw.status.error_code == 0


@pytest.mark.parametrize(
    ("nq", "ids", "distances", "error"),
    [(1, 2, 3, ParamError), (2, 3, 3, ValueError), (0, 1, 1, ValueError)],
)
def test_misaligned(nq: int, ids: int, distances: int, error: Any) -> None:
    with pytest.raises(error):
        result_of(nq, np.zeros(ids), np.zeros(distances))


def test_repr_of_few_queries() -> None:
    assert (
        repr(hits(2, 2)) == "[\n[\n(id:0, distance:0.0),\n(id:1, distance:0.5)\n],\n[\n(id:10,"
        " distance:0.0),\n(id:11, distance:0.5)\n]\n]"
    )
    assert str(hits(1, 1)) == "[\n[\n(id:0, distance:0.0)\n]\n]"


def test_repr_of_many_queries() -> None:
    lines = repr(hits(6, 6)).splitlines()
    assert [line.strip() for line in lines[:6]] == [
        "[",
        "[ (id:0, distance:0.0),",
        "(id:1, distance:0.5),",
        "(id:2, distance:1.0),",
        "...",
        "(id:5, distance:2.5) ]",
    ]
    assert [line.strip() for line in lines[-3:]] == ["......", "......", "]"]
    assert "id:30" not in repr(hits(6, 6)) and "..." in repr(hits(7, 2))


def test_small_results() -> None:
    schema = CollectionSchema("test01", 256, 1024, MetricType.L2)
    assert (
        repr(schema)
        == "CollectionSchema(collection_name='test01', dimension=256, index_file_size=1024,"
        " metric_type=<MetricType: L2>)"
    )
    index = IndexParam("a", IndexType.FLAT, {})
    assert (
        repr(index) == "IndexParam(_collection_name='a', _index_type=<IndexType: FLAT>, _params={})"
    )
    assert str(index) == "(collection_name='a', index_type=<IndexType: FLAT>, params={})"
    assert (
        repr(PartitionParam("test01", "_default")) == "(collection_name='test01', tag='_default')"
    )
