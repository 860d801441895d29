"""Exact searches that share a pass are answered as if each had come alone, and none is ever left
waiting.
"""

import ctypes
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine import sharing
from milvine.engine.database import Database
from milvine.engine.sharing import SHARED_BYTES_MIN, Found, SharedScans, pays
from milvine.errors import DatabaseClosed, IllegalDimension, PartitionNotFound
from milvine.events import Events, Searched
from milvine.types import Hits, IndexSetting, IndexType, MetricType, Query

WATCHDOG = 60.0
ONE_PASS = Settings(background=False, search_threads=1, build_threads=1)
RNG = np.random.default_rng(3)
ROWS = RNG.standard_normal((3000, 8)).astype(np.float32)
QUERIES = RNG.standard_normal((64, 8)).astype(np.float32)


@pytest.fixture(autouse=True)
def small_ones_share(monkeypatch):
    monkeypatch.setattr(sharing, "SHARED_BYTES_MIN", 1)


@pytest.fixture
def database(tmp_path, events):
    with Database.open(tmp_path / "db", ONE_PASS, Events(events.append)) as opened:
        opened.create_collection("c", 8, 1024, MetricType.L2)
        opened.insert("c", ROWS, np.arange(len(ROWS)))
        opened.flush()
        yield opened


@pytest.fixture
def events():
    return []


class Gate:
    """Stands in for `find`: every pass waits until it is let go, and is noted with what it was
    asked.
    """

    def __init__(self, find):
        self.find, self.open, self.passes, self.began = (
            find,
            threading.Event(),
            [],
            threading.Semaphore(0),
        )

    def __call__(self, state, query):
        self.passes.append(len(query.vectors))
        self.began.release()
        assert self.open.wait(WATCHDOG)
        return self.find(state, query)


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
    gate = Gate(database._find)
    database._shared = SharedScans(gate, 1)
    return gate


def waiting(database, count):
    """Returns when so many wait for a pass."""
    until = time.monotonic() + WATCHDOG
    while sum(len(group.waiting) for group in list(database._shared._groups.values())) < count:
        assert time.monotonic() < until
        time.sleep(0.001)


def crowd(database, queries, **other):
    """One caller under way in a pass of its own, the others waiting."""
    gate = held(database)
    callers = []
    for number, vector in enumerate(queries):
        query = replace(Query(vector[None], 5), **other)
        callers.append(Caller(lambda query=query: database.search("c", query)))
        if number:
            waiting(database, number)
        else:
            assert gate.began.acquire(timeout=WATCHDOG)
    return gate, callers


def same(left, right):
    assert np.array_equal(left.ids, right.ids) and np.array_equal(left.distances, right.distances)


def test_those_that_wait_share_the_next_pass_and_get_their_own_rows(database, events):
    alone = [database.search("c", Query(vector[None], 5)) for vector in QUERIES[:8]]
    events.clear()
    gate, callers = crowd(database, QUERIES[:8])
    gate.open.set()
    for caller, expected in zip(callers, alone, strict=True):
        same(caller.ended().answer, expected)
    assert gate.passes == [1, 7]
    assert [event.nq for event in events if isinstance(event, Searched)] == [1] * 8
    assert not database._shared._groups


def test_a_pass_takes_a_bounded_number(database):
    gate, callers = crowd(database, QUERIES[:20])
    gate.open.set()
    for caller in callers:
        assert caller.ended().error is None
    assert gate.passes == [1, 8, 8, 3]


def test_those_that_ask_differently_do_not_wait_for_each_other(database):
    gate = held(database)
    for query in (
        Query(QUERIES[:1], 5),
        Query(QUERIES[:1], 6),
        Query(QUERIES[:1], 5, {}, ("_default",)),
    ):
        Caller(lambda query=query: database.search("c", query))
        assert gate.began.acquire(timeout=WATCHDOG)
    gate.open.set()
    assert gate.passes == [1, 1, 1]


def test_rows_acknowledged_while_a_search_waits_are_seen_and_deleted_ones_are_not(database):
    gate, callers = crowd(database, QUERIES[:3])
    database.insert("c", QUERIES[2:3], np.array([7777]))
    callers.append(Caller(lambda: database.search("c", Query(QUERIES[2:3], 5))))
    waiting(database, 3)
    gate.open.set()
    assert callers[-1].ended().answer.ids[0, 0] == 7777
    database.delete("c", np.array([7777]))
    assert database.search("c", Query(QUERIES[2:3], 5)).ids[0, 0] != 7777


def test_a_search_of_another_width_is_in_no_pass_of_others(database):
    find = database._find

    def of_width(state, query):
        if query.vectors.shape[1] != 8:
            raise IllegalDimension("4")
        return find(state, query)

    gate, callers = crowd(database, QUERIES[:3])
    gate.find = of_width
    bad = Caller(lambda: database.search("c", Query(np.zeros((1, 4), np.float32), 5)))
    assert gate.began.acquire(timeout=WATCHDOG)
    gate.open.set()
    assert isinstance(bad.ended().error, IllegalDimension)
    assert all(caller.ended().error is None for caller in callers)
    assert sorted(gate.passes) == [1, 1, 2]


def test_each_of_a_pass_that_fails_raises_an_error_of_its_own(database):
    gate, callers = crowd(database, QUERIES[:6], tags=("nowhere",))
    gate.open.set()
    errors = [caller.ended().error for caller in callers]
    assert all(isinstance(error, PartitionNotFound) for error in errors)
    assert len({id(error) for error in errors}) == 6
    assert not database._shared._groups


def failing_together(database, error):
    """The search of the database, which fails for more than one query."""
    find = database._find

    def failing(state, query):
        if len(query.vectors) > 1:
            raise error
        return find(state, query)

    return failing


def test_what_fails_only_together_is_answered_alone(database):
    alone = [database.search("c", Query(vector[None], 5)) for vector in QUERIES[:4]]
    find = failing_together(database, MemoryError)
    gate, callers = crowd(database, QUERIES[:4])
    gate.find = find
    gate.open.set()
    for caller, expected in zip(callers, alone, strict=True):
        same(caller.ended().answer, expected)


def test_an_interrupted_leader_strands_nobody(database):
    find = failing_together(database, KeyboardInterrupt)
    gate, callers = crowd(database, QUERIES[:6])
    gate.find = find
    gate.open.set()
    errors = [caller.ended().error for caller in callers]
    assert [type(error) for error in errors if error] == [KeyboardInterrupt]
    assert not database._shared._groups


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
    fixed = [database.search("c", Query(vector[None], 5)) for vector in QUERIES]

    def churn():
        number = 10_000
        while not stop.is_set():
            ids = np.arange(number, number + 3)
            # Far from every query.
            database.insert("c", 100 + RNG.random((3, 8)).astype(np.float32), ids)
            database.delete("c", ids)
            number += 3

    def search(start):
        for number in range(200):
            at = (start + number) % len(QUERIES)
            same(database.search("c", Query(QUERIES[at : at + 1], 5)), fixed[at])

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
            database.insert("c", row, name)
            assert database.search("c", Query(row, 1)).ids[0, 0] == name[0]
            database.delete("c", name)
            assert database.search("c", Query(row, 1)).ids[0, 0] != name[0]

    assert [
        caller.ended().error for caller in [Caller(lambda n=n: work(n)) for n in range(1, 9)]
    ] == [None] * 8


class Shot(Exception):
    """Thrown into a thread from outside, between any two of its instructions."""


@pytest.mark.parametrize("passes", [1, 2])
def test_no_interrupt_at_any_moment_leaves_another_waiting(passes):
    hits = Hits(np.zeros((16, 1), np.int64), np.zeros((16, 1), np.float32))
    shared = SharedScans(lambda state, query: Found(None, hits, None), passes)
    stop, done, caught, shots = threading.Event(), [0] * 6, [0] * 6, [0] * 6

    def work(at):
        while not stop.is_set():
            try:
                while not stop.is_set():
                    shared.search(None, Query(QUERIES[:1], 1))
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
    assert not shared._groups


def test_only_long_exact_searches_of_one_query_share(database, monkeypatch):
    state = database._state("c")
    assert pays(state, Query(QUERIES[:1], 5)) and not pays(state, Query(QUERIES[:2], 5))
    monkeypatch.setattr(sharing, "SHARED_BYTES_MIN", SHARED_BYTES_MIN)
    assert not pays(state, Query(QUERIES[:1], 5))
    monkeypatch.setattr(sharing, "SHARED_BYTES_MIN", 1)
    database.delete("c", np.array([5]))
    # With a dead row each query is compared for itself.
    assert not pays(state, Query(QUERIES[:1], 5))
    database.create_index("c", IndexSetting.of(IndexType.IVF_FLAT, {"nlist": 4}))
    assert not pays(state, Query(QUERIES[:1], 5))
