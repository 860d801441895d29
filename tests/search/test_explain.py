"""What a search did: told by `explain`, and by the event Searched when somebody listens."""

from __future__ import annotations

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.errors import CollectionNotFound, PartitionNotFound
from milvine.events import Events, Searched
from milvine.types import IndexSetting, IndexType, MetricType, Query


def ask(vectors, nq=1, params=None, tags=()):
    return Query(vectors[:nq].copy(), 5, params or {}, tags)


def kinds(steps):
    return [scan.kind for scan in steps.scans]


@pytest.fixture
def layered(database, vectors):
    """A flushed segment with deleted rows, and a tail."""
    database.create_collection("c", 8, 1024, MetricType.L2)
    database.collection("c").insert(vectors[:40], np.arange(40))
    database.flush()
    database.collection("c").delete(np.arange(3))
    database.collection("c").insert(vectors[40:], np.arange(40, 60))
    return database


def explained(database, name, vectors, k, params=None, tags=(), segments=frozenset()):
    collection = database.collection(name)
    return collection.explain(collection.prepare(k, params, tags, segments), vectors)


def test_explain_tells_the_plan(layered, vectors):
    steps = explained(layered, "c", *ask(vectors))
    exact, tail = steps.scans
    assert kinds(steps) == ["exact", "tail"] and steps.metric == "L2" and steps.skipped == 0
    assert (exact.rows, exact.masked, len(exact.segments)) == (40, 3, 1)
    assert (tail.rows, tail.masked, tail.segments) == (20, 0, ())
    assert 0 < exact.began <= tail.began and exact.seconds > 0
    # One after the other, being small.
    assert sum(scan.seconds for scan in steps.scans) <= steps.scan_seconds
    assert min(steps.plan_seconds, steps.reduce_seconds) > 0


def test_explain_of_one_partition_and_of_one_segment(layered, vectors):
    layered.collection("c").create_partition("p")
    layered.collection("c").insert(vectors[:5], np.arange(100, 105), "p")
    only_p = explained(layered, "c", *ask(vectors, tags=("p",)))
    assert sum(scan.rows - scan.masked for scan in only_p.scans) == 5
    segment = explained(layered, "c", *ask(vectors)).scans[0].segments[0]
    assert kinds(explained(layered, "c", *ask(vectors), segments=frozenset({segment}))) == ["exact"]


def test_explain_raises_what_the_search_raises(layered, vectors):
    with pytest.raises(PartitionNotFound):
        explained(layered, "c", *ask(vectors, tags=("nowhere",)))
    with pytest.raises(CollectionNotFound):
        explained(layered, "d", *ask(vectors))


def test_explain_of_nothing(database, vectors):
    database.create_collection("c", 8, 1024, MetricType.IP)
    steps = explained(database, "c", *ask(vectors))
    assert steps.scans == () and steps.scan_seconds == 0


def test_explain_names_the_index_and_its_parameters(database):
    rows = np.random.default_rng(3).random((4200, 4), dtype=np.float32)
    database.create_collection("c", 4, 1024, MetricType.L2)
    database.collection("c").insert(rows, None)
    database.collection("c").create_index(IndexSetting.of(IndexType.IVF_SQ8, {"nlist": 8}))
    steps = explained(
        database, "c", *ask(rows, params={"nprobe": 3, "note": [1.0, 2.0], "metric_type": 1})
    )
    assert kinds(steps) == ["IVF_SQ8"]
    # What else a caller sends is not repeated.
    assert steps.params == {"nprobe": 3, "metric_type": 1}


def test_many_scans_side_by_side_are_each_timed(tmp_path):
    rows = np.random.default_rng(3).random((4096, 512), dtype=np.float32)
    with Database.open(tmp_path / "db", Settings(background=False, search_threads=2)) as database:
        database.create_collection("c", 512, 1024, MetricType.L2)
        for _ in range(2):
            database.collection("c").insert(rows, None)
            database.flush()
        steps = explained(database, "c", *ask(rows, nq=8))
    assert kinds(steps) == ["exact", "exact"] and all(scan.seconds > 0 for scan in steps.scans)


def test_searches_are_told_to_listeners(layered, events, vectors):
    hits = layered.collection("c").search(*ask(vectors, nq=3))
    layered.collection("c").search_by_id(np.array([7, 8]), 4, {"nprobe": 1})
    first, second = [event for event in events if isinstance(event, Searched)]
    assert (first.collection, first.nq, first.topk) == ("c", 3, 5) and hits.nq == 3
    assert kinds(first.steps) == ["exact", "tail"]
    assert (
        first.seconds
        >= first.steps.plan_seconds + first.steps.scan_seconds + first.steps.reduce_seconds
    )
    assert (second.nq, second.topk, second.steps.params) == (2, 4, {"nprobe": 1})


def test_a_told_search_finds_the_same(layered, vectors, tmp_path):
    told = layered.collection("c").search(*ask(vectors, nq=4))
    layered.stores.events = Events()
    silent = layered.collection("c").search(*ask(vectors, nq=4))
    assert np.array_equal(told.ids, silent.ids) and np.array_equal(told.distances, silent.distances)
