"""Every public method says what it takes, returns and raises, and what they say of values is so."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milvus import AsyncMilvus, IndexType, MetricType, Milvus, ParamError, Prepare, Status
from tests.client.test_surface import METHODS, REMOVED

CALLS = sorted(set(METHODS) - {"_cmd", "client_version", "close"})
ASYNCHRONOUS = {"_async", "_callback"}  # said of all, in the class


def sections(text: str | None) -> dict[str, str]:
    """`Args`, `Returns` and `Raises` of a docstring, and what stands before them."""
    parts = re.split(r"^(Args|Returns|Raises):$", inspect.cleandoc(text or ""), flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def taken(method: Any) -> list[str]:
    parameters = inspect.signature(method).parameters.values()
    named = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
    return [name for name in named if name != "self" and name not in ASYNCHRONOUS]


@pytest.mark.parametrize("name", CALLS)
def test_a_method_says_what_it_takes_returns_and_raises(name: str) -> None:
    method = getattr(Milvus, name)
    said = sections(method.__doc__)
    assert set(said) == {"", "Args", "Returns", "Raises"}
    assert re.findall(r"^    (\w+): ", said["Args"], re.MULTILINE) == taken(method)
    assert "specification " in said[""], "where the rule comes from"
    assert "Status" in said["Returns"] or "As `search`" in said["Returns"]
    assert re.match(r"\n    \w+Error", said["Raises"])
    assert sections(getattr(AsyncMilvus, name).__doc__) == said


def test_the_rest_says_what_it_is() -> None:
    for owner in (Milvus, AsyncMilvus, Prepare):
        for name, each in inspect.getmembers(owner):
            if not name.startswith("_") and name not in REMOVED:
                assert (each.__doc__ or "").strip(), f"{owner.__name__}.{name}"
    for name in ("collection_name", "timeout", "ParamError", "NotConnectError", "vectors"):
        assert name in (Milvus.__doc__ or "")


@pytest.fixture
def milvus(tmp_path: Path) -> Iterator[Milvus]:
    client = Milvus(uri=tmp_path.as_uri())
    yield client
    client.close()


def made(milvus: Milvus, metric: MetricType, dimension: int, rows: Any) -> None:
    param = {"collection_name": "a", "dimension": dimension, "metric_type": metric}
    assert milvus.create_collection(param).OK()
    assert milvus.insert("a", rows, list(range(len(rows))))[0].OK()


NONE, ALL, HALF = b"\x00", b"\xff", b"\xf0"


@pytest.mark.parametrize(
    ("metric", "query", "hits"),
    [
        (MetricType.HAMMING, HALF, {2: 0.0, 0: 4.0, 1: 4.0}),
        (MetricType.JACCARD, HALF, {2: 0.0, 1: 0.5, 0: 1.0}),
        (MetricType.JACCARD, NONE, {0: 0.0, 1: 1.0, 2: 1.0}),
        (MetricType.TANIMOTO, HALF, {2: 0.0, 1: 1.0, 0: float("inf")}),
        (MetricType.SUBSTRUCTURE, HALF, {1: 0.0, 2: 0.0}),
        (MetricType.SUPERSTRUCTURE, HALF, {0: 0.0, 2: 0.0}),
    ],
)
def test_distances_of_binary_metrics(
    milvus: Milvus, metric: MetricType, query: bytes, hits: dict[int, float]
) -> None:
    made(milvus, metric, 8, [NONE, ALL, HALF])
    status, result = milvus.search("a", 3, [query], params={})
    assert status.OK() and [(hit.id, hit.distance) for hit in result[0]] == list(hits.items())
    assert milvus.get_entity_by_id("a", [2, 9])[1] == [HALF, []]


def test_distances_of_float_metrics(milvus: Milvus) -> None:
    rows = [[0.0, 0.0], [3.0, 4.0], [3.0, 4.0]]
    made(milvus, MetricType.L2, 2, rows)
    result = milvus.search("a", 3, [[0.0, 0.0]], params={})[1]
    assert (result.id_array, result.distance_array) == ([[0, 1, 2]], [[0.0, 25.0, 25.0]])
    milvus.drop_collection("a")
    made(milvus, MetricType.IP, 2, rows)
    result = milvus.search("a", 3, [[1.0, 1.0]], params={})[1]
    assert (result.id_array, result.distance_array) == ([[1, 2, 0]], [[7.0, 7.0, 0.0]])


def test_shapes_of_a_result(milvus: Milvus) -> None:
    made(milvus, MetricType.L2, 2, np.eye(2))
    result = milvus.search("a", 5, np.eye(2), params=None)[1]
    assert result.shape == (2, 3) and [len(row) for row in result] == [2, 2]
    milvus.create_partition("a", "empty")
    assert len(milvus.search("a", 5, np.eye(2), partition_tags=["empty"], params={})[1]) == 0
    assert milvus.search("a", 5, np.eye(2), partition_tags=["emp.*"], params={})[0].OK()


def codes(*calls: tuple[Any, int]) -> None:
    for answer, code in calls:
        status = answer if isinstance(answer, Status) else answer[0]
        assert status.code == code, (answer, code)


def test_codes(milvus: Milvus) -> None:
    def create(**more: Any) -> Status:
        return milvus.create_collection({"collection_name": "b", "dimension": 4, **more})

    made(milvus, MetricType.L2, 2, np.eye(2))
    codes(
        (create(dimension=0), 7),
        (create(dimension=32769), 7),
        (create(dimension=9, metric_type=MetricType.HAMMING), 7),
        (create(index_file_size=0), 5),
        (create(index_file_size=4097), 5),
        (create(collection_name="a"), 9),
        (create(collection_name="1a"), 9),
        (create(collection_name="a" * 256), 9),
        (create(dimension=32768, collection_name="a" * 255), 0),
        (milvus.count_entities("c"), 4),
        (milvus.search("a", 0, np.eye(2), params={}), 10),
        (milvus.search("a", 16385, np.eye(2), params={}), 10),
        (milvus.search("a", 16384, np.eye(2), params={}), 0),
        (milvus.search("a", 1, np.eye(3), params={}), 7),
        (milvus.search("a", 1, np.eye(2), ["none"], {}), 1),
        (milvus.insert("a", np.eye(2)), 12),
        (milvus.insert("a", np.eye(2), [7, 8], "none"), 1),
        (milvus.insert("a", np.eye(3), [7, 8, 9]), 7),
        (milvus.get_entity_by_id("a", range(1001)), 5),
        (milvus.get_entity_by_id("a" * 255, [1]), 1),
        (milvus.delete_entity_by_id("a", [77], partition_tag="none"), 0),
        (milvus.create_partition("a", "_default"), 1),
        (milvus.drop_partition("a", "_default"), 9),
        (milvus.drop_partition("a", "none"), 1),
        (milvus.load_collection("a", ["none"]), 1),
        (milvus.reload_segments("none", ["x"]), 0),
        (milvus.list_id_in_segment("a", "1"), 1),
        (milvus.search_in_segment("a", [999], np.eye(2), 1, {}), 1),
        (milvus.create_index("a", IndexType.IVF_FLAT, {}), 5),
        (milvus.create_index("a", IndexType.IVF_PQ, {"nlist": 1, "m": 3}), 7),
        (milvus.get_config("no", "such"), 1),
        (milvus.set_config("cache", "cache_size", "x"), 5),
        (milvus.drop_index("a"), 0),
        (milvus.compact("a"), 0),
        (milvus.flush(["none"]), 4),
    )
    assert milvus.search("a", 0, np.eye(2), params={})[1] == []
    assert milvus.search("a", 0, np.eye(2), params={}, _async=True).result()[1] is None
    assert milvus.search("a", 1, np.eye(2), params={}, timeout=0)[1] is None
    assert milvus.get_entity_by_id("a", [1, 1])[1] == [[0.0, 1.0]] * 2


def test_constructor() -> None:
    assert Milvus(host="127.0.0.1", port=1, try_connect=False, max_retry=0).handler == "GRPC"
    with pytest.raises(ParamError):
        Milvus(host="127.0.0.1", port=1, try_connect=False, pool_size=0)
