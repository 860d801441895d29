"""Searches and answers wait to be counted: for how long, and what whoever asks is told."""

from __future__ import annotations

import gc
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.events import Event, Events, Searched
from milvine.events.server import Answered, Stopping
from milvine.server.metrics.tally import Tally
from milvine.types import MetricType, Scanned, WatchedSearch

ONE = Scanned("HNSW", (7,), 5000, 0)


def searched(*scanned: Scanned) -> Searched:
    scans = [(each, 0.001, 0.002) for each in scanned]
    return Searched(
        "c", 1, 10, 0.004, WatchedSearch(MetricType.L2, {}, 0.001, 0.002, 0.001, scans, 0)
    )


def told(tally: Tally) -> dict[tuple[str, str], float]:
    """Values by name and first label."""
    samples = [sample for family in tally.collect() for sample in family.samples]
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value for sample in samples
    }


def test_what_waits_is_counted_before_anything_is_told() -> None:
    tally = Tally(lambda collection, scanned: 100)
    for _ in range(3):
        tally.listen(searched(ONE))
        tally.listen(Answered("Search", 0, 50, 0.005))
    tally.listen(Answered("Search", 2, 50, 0.005))
    found = told(tally)
    assert found["query_response_summary_count", ""] == 3
    assert found["query_response_summary_sum", ""] == pytest.approx(12_000)
    assert found["search_file_size_total", "index"] == 300
    assert found["milvine_scanned_rows_total", "HNSW"] == 15_000
    assert found["milvine_search_step_seconds_total", "scan"] == pytest.approx(0.006)
    assert (found["search_request_total", "success"], found["search_request_total", "fail"]) == (
        3,
        1,
    )
    assert found["milvine_request_bytes_total", "Search"] == 200
    assert found["milvine_request_seconds_count", "Search"] == 4
    assert told(tally) == found  # once, not again


def test_files_are_looked_at_while_they_are_there() -> None:
    sizes = {(7,): 100, (8,): 20}
    tally = Tally(lambda collection, scanned: sizes.get(scanned.segments, 0))
    for scanned in (ONE, Scanned("exact", (8,), 10, 0), ONE):
        tally.listen(searched(scanned))
    sizes.clear()  # merged into others
    found = told(tally)
    assert (found["search_file_size_gauge", "index"], found["search_file_size_gauge", "raw"]) == (
        100,
        20,
    )
    assert (found["search_file_size_total", "index"], found["search_file_size_total", "raw"]) == (
        200,
        20,
    )


def test_the_last_file_is_the_last_that_was_searched() -> None:
    tally = Tally(lambda collection, scanned: scanned.segments[0])
    for number in (7, 8, 9, 8):
        tally.listen(searched(Scanned("HNSW", (number,), 10, 0)))
    tally.listen(searched(ONE, Scanned("HNSW", (8,), 10, 0)))
    assert told(tally)["search_file_size_gauge", "index"] == 8


def kept_searches() -> int:
    """Events of searches that somebody keeps."""
    return sum(isinstance(each, Searched) for each in gc.get_objects())


def test_no_more_wait_than_a_few() -> None:
    tally, before = Tally(lambda collection, scanned: 1, waiting_max=8), kept_searches()
    kept = []
    for _ in range(20):
        tally.listen(searched(Scanned("tail", (), 10, 0)))
        kept.append(kept_searches() - before)
    assert max(kept) == 7 and kept.count(0) == 2
    tally.listen(searched(*[ONE] * 129))
    assert kept_searches() == before  # that is much to keep


def test_no_event_is_lost_between_threads() -> None:
    tally = Tally(lambda collection, scanned: 1)

    def tell() -> None:
        for _ in range(2000):
            tally.listen(searched(ONE))
            tally.listen(Answered("Search", 0, 1, 0.001))

    threads = [threading.Thread(target=tell) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        told(tally)
    for thread in threads:
        thread.join()
    found = told(tally)
    assert (
        found["query_response_summary_count", ""]
        == found["search_request_total", "success"]
        == 8000
    )


def test_a_search_that_waits_holds_no_segment(tmp_path: Path) -> None:
    events = Events()
    tally = Tally(lambda collection, scanned: 1)
    events.subscribe(tally.listen)
    rows = np.random.default_rng(3).random((50, 8), dtype=np.float32)
    with Database.open(tmp_path / "db", Settings(background=False), events) as database:
        database.create_collection("c", 8, 1024, MetricType.L2)
        database.collection("c").insert(rows, None)
        database.flush()
        before = kept_searches()
        for _ in range(2):
            database.collection("c").search(rows[:1], 5)
        (segment,) = database.stores.names["c"].version.segments
        held = weakref.ref(segment.segment)
        del segment
        assert kept_searches() > before
        database.collection("c").drop()
        gc.collect()
        assert held() is None


def test_listeners_are_told_what_they_asked_for() -> None:
    events, all_of_them, few = Events(), [], []
    events.subscribe(all_of_them.append)
    events.emit(Answered("Search", 0, 1, 0.1))
    events.subscribe(few.append, (Stopping, Searched))
    for event in (Answered("Search", 0, 1, 0.1), Stopping(), searched()):
        events.emit(event)
    kinds: list[list[type[Event]]] = [
        [type(event) for event in told] for told in (all_of_them, few)
    ]
    assert kinds == [[Answered, Answered, Stopping, Searched], [Stopping, Searched]]
