"""Exact searches that share a pass are answered as if each had come alone, and none is ever left
waiting.
"""

import ctypes
import threading
import time

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.engine.sharing import Found, SharedScans
from milvine.errors import DatabaseClosed, IllegalDimension, StorageFailed
from milvine.events import Events, Searched
from milvine.search import prepared
from milvine.types import Hits, IndexSetting, IndexType, MetricType, Query

WATCHDOG = 60.0
ONE_PASS = Settings(background=False, search_threads=1, build_threads=1)
RNG = np.random.default_rng(3)
ROWS = RNG.standard_normal((3000, 8)).astype(np.float32)
QUERIES = RNG.standard_normal((64, 8)).astype(np.float32)


@pytest.fixture(autouse=True)
def small_ones_share(monkeypatch):
    monkeypatch.setattr(prepared, "SHARED_BYTES_MIN", 1)


@pytest.fixture
def database(tmp_path, events):
    with Database.open(tmp_path / "db", ONE_PASS, Events(events.append)) as opened:
        opened.create_collection("c", 8, 1024, MetricType.L2)
        opened.collection("c").insert(ROWS, np.arange(len(ROWS)))
        opened.flush()
        yield opened


@pytest.fixture
def events():
    return []


class Gate:
    """Stands in for `find`: every pass waits until it is let go, and is noted with what it was
    asked.
    """

    def __init__(self):
        self.open, self.passes, self.began = threading.Event(), [], threading.Semaphore(0)
        self.find = lambda find, query: find(query)

    def __call__(self, find, query):
        self.passes.append(len(query.vectors))
        self.began.release()
        assert self.open.wait(WATCHDOG)
        return self.find(find, query)


class HeldScans(SharedScans):
    """One pass at once, each through a gate."""

    def __init__(self, gate):
        super().__init__(1)
        self.gate = gate

    def search(self, collection, query, find):
        return super().search(collection, query, lambda asked: self.gate(find, asked))


class Caller(threading.Thread):
    def __init__(self, work):
        super().__init__(daemon=True)
        self.work, self.answer, self.error = work, None, None
        self.start()

    def run(self):
        try:
            self.answer = self.work()
        except BaseException as error:
            self.error = error

    def ended(self):
        self.join(WATCHDOG)
        assert not self.is_alive(), "left waiting"
        return self


def held(database):
    """The database with its passes held at their beginning."""
    gate = Gate()
    database.shared = HeldScans(gate)
    return gate


def waiting(database, count):
    """Returns when so many wait for a pass."""
    until = time.monotonic() + WATCHDOG
    while database.shared.waiting < count:
        assert time.monotonic() < until
        time.sleep(0.001)


def crowd(database, queries, tags=()):
    """One caller under way in a pass of its own, the others waiting."""
    gate = held(database)
    callers = []
    for number, vector in enumerate(queries):
        callers.append(Caller(lambda vector=vector: find(database, vector[None], 5, tags)))
        if number:
            waiting(database, number)
        else:
            assert gate.began.acquire(timeout=WATCHDOG)
    return gate, callers


def find(database, vectors, k=5, tags=()):
    return database.collection("c").search(vectors, k, {}, tags)


def same(left, right):
    assert np.array_equal(left.ids, right.ids) and np.array_equal(left.distances, right.distances)


def test_those_that_wait_share_the_next_pass_and_get_their_own_rows(database, events):
    alone = [find(database, vector[None]) for vector in QUERIES[:8]]
    events.clear()
    gate, callers = crowd(database, QUERIES[:8])
    gate.open.set()
    for caller, expected in zip(callers, alone, strict=True):
        same(caller.ended().answer, expected)
    assert gate.passes == [1, 7]
    assert [event.nq for event in events if isinstance(event, Searched)] == [1] * 8
    assert not database.shared.passes and not database.shared.waiting


def test_a_pass_takes_a_bounded_number(database):
    gate, callers = crowd(database, QUERIES[:20])
    gate.open.set()
    for caller in callers:
        assert caller.ended().error is None
    assert gate.passes == [1, 8, 8, 3]


def test_those_that_ask_differently_do_not_wait_for_each_other(database):
    gate = held(database)
    for k, tags in ((5, ()), (6, ()), (5, ("_default",))):
        Caller(lambda k=k, tags=tags: find(database, QUERIES[:1], k, tags))
        assert gate.began.acquire(timeout=WATCHDOG)
    gate.open.set()
    assert gate.passes == [1, 1, 1]


def test_rows_acknowledged_while_a_search_waits_are_seen_and_deleted_ones_are_not(database):
    gate, callers = crowd(database, QUERIES[:3])
    database.collection("c").insert(QUERIES[2:3], np.array([7777]))
    callers.append(Caller(lambda: find(database, QUERIES[2:3])))
    waiting(database, 3)
    gate.open.set()
    assert callers[-1].ended().answer.ids[0, 0] == 7777
    database.collection("c").delete(np.array([7777]))
    assert find(database, QUERIES[2:3]).ids[0, 0] != 7777


def test_a_search_of_another_width_is_in_no_pass_of_others(database):
    gate, callers = crowd(database, QUERIES[:3])
    bad = Caller(lambda: find(database, np.zeros((1, 4), np.float32)))
    assert isinstance(bad.ended().error, IllegalDimension)
    gate.open.set()
    assert all(caller.ended().error is None for caller in callers)
    assert gate.passes == [1, 2]


def test_each_of_a_pass_that_fails_raises_an_error_of_its_own(database):
    def failing(find, query):
        raise StorageFailed("no")

    gate, callers = crowd(database, QUERIES[:6])
    gate.find = failing
    gate.open.set()
    errors = [caller.ended().error for caller in callers]
    assert all(isinstance(error, StorageFailed) for error in errors)
    assert len({id(error) for error in errors}) == 6
    assert not database.shared.passes and not database.shared.waiting


def failing_together(error):
    """A search that fails for more than one query."""

    def failing(find, query):
        if len(query.vectors) > 1:
            raise error
        return find(query)

    return failing


def test_what_fails_only_together_is_answered_alone(database):
    alone = [find(database, vector[None]) for vector in QUERIES[:4]]
    gate, callers = crowd(database, QUERIES[:4])
    gate.find = failing_together(MemoryError)
    gate.open.set()
    for caller, expected in zip(callers, alone, strict=True):
        same(caller.ended().answer, expected)


def test_an_interrupted_leader_strands_nobody(database):
    gate, callers = crowd(database, QUERIES[:6])
    gate.find = failing_together(KeyboardInterrupt)
    gate.open.set()
    errors = [caller.ended().error for caller in callers]
    assert [type(error) for error in errors if error] == [KeyboardInterrupt]
    assert not database.shared.passes and not database.shared.waiting


def test_closing_ends_those_that_wait(database):
    gate, callers = crowd(database, QUERIES[:5])
    database.close()
    gate.open.set()
    errors = [caller.ended().error for caller in callers]
    assert all(isinstance(error, DatabaseClosed) for error in errors)
    assert len({id(error) for error in errors}) == 5


def test_answers_equal_those_of_single_searches_while_rows_come_and_go(database):
    """Every answer is that of some moment of its call: rows that stay are in it, those gone before
    are not.
    """
    stop = threading.Event()
    fixed = [find(database, vector[None]) for vector in QUERIES]

    def churn():
        number = 10_000
        while not stop.is_set():
            ids = np.arange(number, number + 3)
            # Far from every query.
            database.collection("c").insert(100 + RNG.random((3, 8)).astype(np.float32), ids)
            database.collection("c").delete(ids)
            number += 3

    def search(start):
        for number in range(200):
            at = (start + number) % len(QUERIES)
            same(find(database, QUERIES[at : at + 1]), fixed[at])

    writer = Caller(churn)
    callers = [Caller(lambda start=start: search(start * 7)) for start in range(8)]
    errors = [caller.ended().error for caller in callers]
    stop.set()
    assert writer.ended().error is None and errors == [None] * 8


def test_own_rows_are_found_at_once_by_everybody(database):
    """Each thread finds what it inserted a moment ago, and not what it deleted."""

    def work(base):
        for number in range(40):
            row = np.full((1, 8), base * 50 + number, np.float32)
            name = np.array([base * 1000 + 10_000 + number])
            database.collection("c").insert(row, name)
            assert find(database, row, 1).ids[0, 0] == name[0]
            database.collection("c").delete(name)
            assert find(database, row, 1).ids[0, 0] != name[0]

    assert [
        caller.ended().error for caller in [Caller(lambda n=n: work(n)) for n in range(1, 9)]
    ] == [None] * 8


class Shot(Exception):
    """Thrown into a thread from outside, between any two of its instructions."""


@pytest.mark.parametrize("passes", [1, 2])
def test_no_interrupt_at_any_moment_leaves_another_waiting(passes):
    hits = Hits(np.zeros((16, 1), np.int64), np.zeros((16, 1), np.float32))
    shared = SharedScans(passes)
    stop, done, caught, shots = threading.Event(), [0] * 6, [0] * 6, [0] * 6

    def work(at):
        while not stop.is_set():
            try:
                while not stop.is_set():
                    shared.search(
                        None, Query(QUERIES[:1], 1), lambda query: Found(None, hits, None)
                    )
                    done[at] += 1
            except Shot:
                caught[at] += 1

    callers = [Caller(lambda at=at: work(at)) for at in range(len(done))]
    until = time.monotonic() + 2
    while time.monotonic() < until:
        for at, caller in enumerate(callers[:3]):
            if caught[at] < shots[at]:
                continue  # one search is hit once at most
            shots[at] += 1
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(caller.ident), ctypes.py_object(Shot)
            )
        time.sleep(0.001)
    before = list(done)
    assert sum(caught) > 100
    time.sleep(0.5)
    moving = [now > then for now, then in zip(done, before, strict=True)]
    stop.set()
    for caller in callers:
        caller.ended()
    assert all(moving[3:])
    assert not shared.passes and not shared.waiting


def test_only_long_exact_searches_of_one_query_share(database, monkeypatch):
    collection = database.collection("c")
    assert collection.prepare(5).shared
    gate = held(database)
    gate.open.set()
    find(database, QUERIES[:2])
    assert gate.passes == []
    find(database, QUERIES[:1])
    assert gate.passes == [1]
    (segment,) = collection.pin().segments
    assert not collection.prepare(5, segments={segment.segment.record.id}).shared
    monkeypatch.setattr(prepared, "SHARED_BYTES_MIN", ROWS.nbytes + 1)
    assert not collection.prepare(6).shared
    monkeypatch.setattr(prepared, "SHARED_BYTES_MIN", 1)
    collection.delete(np.array([5]))
    # With a dead row each query is compared for itself.
    assert not collection.prepare(5).shared
    collection.create_index(IndexSetting.of(IndexType.IVF_FLAT, {"nlist": 4}))
    assert not collection.prepare(5, {"nprobe": 4}).shared
