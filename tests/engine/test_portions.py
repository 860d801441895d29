"""Searches whose partial hits do not fit into memory at once: portions of their queries, with the
same answer.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.back_pressure import SearchBackPressure
from milvine.engine.database import Database
from milvine.events import Event, Events, Searched
from milvine.index.score import FEW
from milvine.memory_plan import UNBOUNDED
from milvine.search.executor import ThreadExecutor
from milvine.search.portions import FREE_HITS, query_bytes
from milvine.types import IndexSetting, IndexType, MetricType

SETTINGS = {
    "FLAT": (IndexSetting(), {}),
    "IVF_FLAT": (IndexSetting.of(IndexType.IVF_FLAT, {"nlist": 16}), {"nprobe": 5}),
    "HNSW": (IndexSetting.of(IndexType.HNSW, {"M": 8, "efConstruction": 60}), {"ef": 400}),
}
TIMEOUT = 30


@pytest.fixture(params=SETTINGS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def stocked(database: Database, kind: str) -> Database:
    """An indexed segment, small ones, rows that are not flushed, and some deleted of each."""
    database.create_collection("c", 8, 1024, MetricType.L2)
    rows = np.random.default_rng(5).random((7_000, 8), dtype=np.float32)
    for start, stop in ((0, 5_000), (5_000, 5_600), (5_600, 6_500), (6_500, 7_000)):
        database.collection("c").insert(rows[start:stop], np.arange(start, stop))
        if stop == 5_000:
            database.collection("c").create_index(SETTINGS[kind][0])
        elif stop < 7_000:
            database.flush(["c"])
    database.collection("c").delete(np.arange(0, 7_000, 9))
    return database


@pytest.mark.parametrize(("nq", "k"), [(1, 5_000), (2, 3_000), (50, 300), (50, 7_000)])
def test_portions_answer_as_the_whole_does(stocked: Database, kind: str, nq: int, k: int) -> None:
    vectors = np.random.default_rng(6).random((nq, 8), dtype=np.float32)
    params = {**SETTINGS[kind][1], **({"ef": k} if kind == "HNSW" else {})}
    whole = stocked.collection("c").search(vectors, k, params)
    assert whole.ids.shape == (nq, min(k, stocked.collection("c").count() + 1))
    for queries in (1, 3, nq):
        collection = stocked.collection("c")
        prepared = collection.prepare(k, params)
        each = query_bytes(k, prepared.plan.tasks)
        portions = ThreadExecutor(2, portion_bytes=queries * each)
        again = prepared.search(vectors, portions)
        portions.close()
        assert np.array_equal(again.ids, whole.ids)
        np.testing.assert_allclose(again.distances, whole.distances, rtol=1e-6)


def test_what_a_search_took_is_told_for_all_portions(
    tmp_path: Path,
) -> None:
    events, memory = list[Event](), replace(UNBOUNDED, searches=4)
    settings = Settings(background=False, search_threads=2)
    with Database.open(tmp_path, settings, Events(events.append), memory=memory) as database:
        assert database.memory.search_portion == 1
        told = searched_in_portions(database, events)
    steps = told.steps
    whole = steps.scan_seconds + steps.reduce_seconds
    assert min(steps.scan_seconds, steps.reduce_seconds) > 0
    assert steps.plan_seconds + whole <= told.seconds
    assert len(steps.scans) == 2 and all(
        steps.scan_seconds / 20 < scan.seconds <= whole for scan in steps.scans
    )


def searched_in_portions(database: Database, events: list[Event]) -> Searched:
    database.create_collection("c", 4, 1024, MetricType.L2)
    for tag in ("", "other"):
        if tag:
            database.collection("c").create_partition(tag)
        database.collection("c").insert(
            np.random.default_rng(1).random((6_000, 4), dtype=np.float32), None, tag
        )
        database.flush(["c"])
    events.clear()
    database.collection("c").search(np.zeros((20, 4), np.float32), 1_000)
    return next(event for event in events if isinstance(event, Searched))


def test_small_searches_are_not_counted() -> None:
    assert FEW < FREE_HITS


def test_room_is_shared_and_given_back() -> None:
    room, inside = SearchBackPressure(10), list[int]()
    lock, most = threading.Lock(), 0

    def work(size: int) -> None:
        nonlocal most
        with room.reserve(size):
            with lock:
                inside.append(min(size, 10))
                most = max(most, sum(inside))
            if size == 7:
                raise ValueError(size)
            with lock:
                inside.remove(min(size, 10))

    with ThreadPoolExecutor(8) as threads:
        done = [threads.submit(work, size) for size in (3, 4, 5, 99, 2, 1, 10, 6) * 20]
        assert [each.result(TIMEOUT) for each in done] == [None] * 160
    assert 0 < most <= 10
    with pytest.raises(ValueError, match="7"):
        work(7)
    with room.reserve(10):  # what failed has given its room back
        pass


def test_who_wants_much_is_not_passed_by_those_who_want_little() -> None:
    room, order = SearchBackPressure(10), list[str]()
    first, waits = threading.Event(), threading.Event()

    def hold() -> None:
        with room.reserve(5):
            first.set()
            assert waits.wait(TIMEOUT)

    def want(size: int, name: str) -> None:
        with room.reserve(size):
            order.append(name)

    with ThreadPoolExecutor(3) as threads:
        holding = threads.submit(hold)
        assert first.wait(TIMEOUT)
        much = threads.submit(want, 10, "much")
        until = time.monotonic() + TIMEOUT
        while not room.waiting and time.monotonic() < until:
            time.sleep(0.001)
        little = threads.submit(want, 1, "little")
        assert not much.done() and not little.done()
        waits.set()
        for each in (holding, much, little):
            each.result(TIMEOUT)
    assert order == ["much", "little"]
