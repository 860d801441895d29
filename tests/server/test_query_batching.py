"""Searches that arrive together are answered as if each had come alone, to the byte."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from milvine.engine.database import Database
from milvine.events import Event, Events, Searched
from milvine.events.server import Answered
from milvine.server.operations import Operations, Refused
from milvine.server.operations.query_batching import answer_searches
from milvine.types import IndexSetting, IndexType, MetricType
from milvine.wire import packed

DIMENSION = 8
_RNG = np.random.default_rng(5)
QUERIES = _RNG.standard_normal((6, DIMENSION)).astype(np.float32)


@pytest.fixture(scope="module")
def seen() -> list[Event]:
    return []


@pytest.fixture(scope="module")
def operations(tmp_path_factory: pytest.TempPathFactory, seen: list[Event]) -> Any:
    events = Events(seen.append)
    with Database.open(Path(tmp_path_factory.mktemp("db")), events=events) as database:
        database.create_collection("flat", DIMENSION, 1024, MetricType.L2)
        database.create_collection("graph", DIMENSION, 1024, MetricType.IP)
        database.create_collection("empty", DIMENSION, 1024, MetricType.L2)
        database.collection("flat").create_partition("a")
        database.collection("flat").insert(
            _RNG.standard_normal((3000, DIMENSION)).astype(np.float32), None
        )
        database.collection("flat").insert(
            _RNG.standard_normal((20, DIMENSION)).astype(np.float32), None, "a"
        )
        database.collection("graph").insert(
            _RNG.standard_normal((5000, DIMENSION)).astype(np.float32), None
        )
        database.collection("graph").create_index(
            IndexSetting.of(IndexType.HNSW, {"M": 8, "efConstruction": 40})
        )
        yield Operations(database, events=events)


def request(
    name: str, topk: int, tag: str, query: int, rows: int, params: str, width: int
) -> bytes:
    vectors = np.resize(QUERIES[query : query + rows], (max(1, min(rows, 6 - query)), width))
    return packed.encode_search(
        name, vectors.astype(np.float32), topk, (tag,) if tag else (), params
    )


REQUESTS = st.builds(
    request,
    st.sampled_from(["flat", "flat", "graph", "empty", "nowhere", "no name"]),
    st.sampled_from([3, 3, 5, 0]),
    st.sampled_from(["", "", "a", "nothing"]),
    st.integers(0, 5),
    st.sampled_from([1, 1, 1, 2]),
    st.sampled_from(['{"ef":32}', '{"ef":32}', "{}", "no json"]),
    st.sampled_from([DIMENSION, DIMENSION, DIMENSION, 4]),
) | st.binary(max_size=30)


def alone(operations: Operations, each: bytes) -> bytes | str:
    try:
        return operations.call("Search", each)
    except Refused as refused:
        return f"{refused.status} {refused}"


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(REQUESTS, max_size=8))
def test_each_gets_the_reply_that_it_would_get_alone(
    operations: Operations, requests: list[bytes]
) -> None:
    together = answer_searches(operations, requests)
    told = [f"{r.status} {r}" if isinstance(r, Refused) else r for r in together]
    assert told == [alone(operations, each) for each in requests]


def test_alike_searches_share_one_pass_and_count_each(
    operations: Operations, seen: list[Event]
) -> None:
    seen.clear()
    same = [request("graph", 3, "", n, 1, '{"ef":32}', DIMENSION) for n in range(4)]
    answer_searches(operations, [*same, request("flat", 3, "", 0, 1, "{}", DIMENSION)])
    assert sorted(event.nq for event in seen if isinstance(event, Searched)) == [1, 4]
    assert sum(isinstance(event, Answered) for event in seen) == 5
