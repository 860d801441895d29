"""Recall sampled on live traffic."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from milvine.search.prepared import PreparedSearch
from milvine.server.metrics.recall import recall
from milvine.types import Hits, Vectors
from tests.server.metrics.running import Running, running, value, work


def _hits(ids: list[list[int]]) -> Hits:
    return Hits(np.array(ids, np.int64), np.zeros((len(ids), len(ids[0])), np.float32))


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_recall_of_hits() -> None:
    exact = _hits([[1, 2, 3, 4], [5, 6, -1, -1], [-1, -1, -1, -1]])
    assert recall(_hits([[4, 3, 9, 1], [6, -1, -1, -1], [-1, -1, -1, -1]]), exact) == [0.75, 0.5]


def _samples(server: Running, name: str = "milvine_recall_samples_total") -> float:
    return value(server.scrape(), name)


def test_searches_are_repeated_exactly(tmp_path: Path) -> None:
    with running(tmp_path, recall_sample_share=1.0) as server:
        vectors = work(server.call)
        wait_for(lambda: _samples(server) == 1)  # of two: the first was exact anyway
        server.call.search(vectors[:40], 20, {"nprobe": 64})
        wait_for(lambda: _samples(server) == 2)
        labels = {"collection": "c", "index_type": "IVF_FLAT"}
        seen = server.scrape()
        # At most eight queries of one search.
        assert value(seen, "milvine_recall_count", **labels) == 3 + 8
        # All lists: nothing is missed.
        assert value(seen, "milvine_recall_bucket", le="0.999", **labels) <= 3
        assert 0 < value(seen, "milvine_recall_recent", **labels) <= 1
        assert value(seen, "milvine_recall_samples_dropped_total") == 0
        assert value(seen, "milvine_recall_samples_failed_total") == 0


def test_the_version_of_the_search_is_compared_and_a_full_queue_drops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, real = threading.Event(), PreparedSearch.search_exactly

    def later(prepared: PreparedSearch, vectors: Vectors) -> Hits:
        held.wait(60)
        return real(prepared, vectors)

    monkeypatch.setattr(PreparedSearch, "search_exactly", later)
    with running(tmp_path, recall_sample_share=1.0) as server:
        vectors = work(server.call)
        for _ in range(10):
            server.call.search(vectors[:1], 5, {"nprobe": 64})
        wait_for(lambda: _samples(server, "milvine_recall_samples_dropped_total") >= 5)
        for start in range(7, 5000, 1000):  # every row that was found goes, with its files
            server.call.insert(vectors[start : start + 1000])
        server.call.ok("DropCollection", collection_name="c")
        held.set()
        wait_for(lambda: _samples(server) >= 3)
        seen, labels = server.scrape(), {"collection": "c", "index_type": "IVF_FLAT"}
        misses = value(seen, "milvine_recall_bucket", le="0.999", **labels)
        # Only the three queries of `work`, with nprobe 2, may have missed something.
        assert misses <= 3
        assert value(seen, "milvine_recall_samples_failed_total") == 0


def test_off_by_default(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        work(server.call)
        assert "milvine_recall_samples_total" not in {name for name, _ in server.scrape()}
        assert not any(thread.name == "milvine-recall" for thread in threading.enumerate())
