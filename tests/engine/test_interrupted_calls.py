"""An exception of a signal's handler, anywhere in a call, keeps nobody else waiting and takes
nothing for good.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.back_pressure import SearchBackPressure
from milvine.engine.database import Database
from milvine.errors import OutOfMemory
from milvine.maintenance.build_admission import Turns
from milvine.pool import Pool
from milvine.search import executor, prepared
from milvine.server.admission.answers import Answer, budget
from milvine.server.admission.budget import SHORT_BYTES, ByteBudget, Held
from milvine.server.operations import Operations
from milvine.types import MetricType, Query
from milvine.waiting import Flag, Outcome
from milvine.wire.packed import Rows, SearchRequest
from tests.interrupts import at_every_place, interrupted_at

# An interrupt in a finalizer is hidden by Python itself.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

WATCHDOG = 60.0
ROWS = np.random.default_rng(1).standard_normal((40, 8)).astype(np.float32)


def elsewhere(work: Callable[[], object]) -> None:
    """Carried out by another thread, which must come to its end."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(WATCHDOG)
    assert not thread.is_alive(), "left waiting"
    assert errors == []


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path / "db", Settings(search_threads=2, build_threads=1))
    opened.create_collection("c", 8, 1024, MetricType.L2)
    yield opened
    elsewhere(opened.close)


def test_an_insert_is_stored_or_not_and_the_next_one_is_stored(database: Database) -> None:
    count = 0

    def after() -> None:
        nonlocal count
        elsewhere(
            lambda: database.stores.writer.call(int)
        )  # what was interrupted is stored by then, or never
        before = database.collection("c").count()
        assert before % len(ROWS) == 0  # never a part
        elsewhere(lambda: database.collection("c").insert(ROWS, None))
        assert database.collection("c").count() == before + len(ROWS)
        count += 1

    assert at_every_place(lambda: database.collection("c").insert(ROWS, None), after) > 20
    assert count * len(ROWS) <= database.collection("c").count() <= 2 * count * len(ROWS)


def test_a_delete(database: Database) -> None:
    ids = np.arange(3)
    elsewhere(lambda: database.collection("c").insert(ROWS, np.arange(len(ROWS))))
    at_every_place(
        lambda: database.collection("c").delete(ids),
        lambda: elsewhere(lambda: database.collection("c").delete(ids)),
    )
    assert database.collection("c").count() == len(ROWS) - 3


def test_a_flush(database: Database) -> None:
    def after() -> None:
        elsewhere(lambda: database.collection("c").insert(ROWS, None))
        elsewhere(database.flush)

    def work() -> None:
        database.collection("c").insert(ROWS, None)
        database.flush()

    at_every_place(work, after, step=7)


@pytest.mark.parametrize("shared", [False, True])
def test_a_search_over_the_pool(
    database: Database, monkeypatch: pytest.MonkeyPatch, shared: bool
) -> None:
    monkeypatch.setattr(executor, "POOL_WORK_MIN", 1)
    monkeypatch.setattr(prepared, "SHARED_BYTES_MIN", 1 if shared else 1 << 60)
    for _ in range(3):
        database.collection("c").insert(ROWS, None)
        database.flush()
    query = Query(ROWS[:1], 5)
    wanted = database.collection("c").search(*query)

    def after() -> None:
        elsewhere(
            lambda: np.testing.assert_array_equal(
                database.collection("c").search(*query).ids, wanted.ids
            )
        )

    assert at_every_place(lambda: database.collection("c").search(*query), after) > 20
    assert not database.shared.passes and not database.shared.waiting


def test_a_request_gives_its_bytes_back(database: Database) -> None:
    operations = Operations(database, Settings())
    wanted = SearchRequest("c", (), Rows(1, 8, ROWS[:1]), 3, None)

    def after() -> None:
        assert operations.in_flight()[1] == 0

    assert at_every_place(lambda: operations.search(wanted, {}), after) > 20


def test_a_long_answer_gives_its_bytes_back() -> None:
    def work() -> None:
        with Answer(1 << 20, SHORT_BYTES + 1, int):
            pass

    def after() -> None:
        assert budget(1 << 20).used == 0

    assert at_every_place(work, after) > 3


def test_who_waits_for_a_budget_leaves_the_queue() -> None:
    asked: ByteBudget = ByteBudget(100 << 20, 0.0)
    asked.take(99 << 20)

    def work() -> None:
        held = Held()
        try:
            with suppress(OutOfMemory):
                asked.take(50 << 20, held)
        finally:
            try:
                asked.let_go(held)
            except BaseException:
                asked.let_go(held)
                raise

    def after() -> None:
        assert (asked.used, asked.waiting) == (99 << 20, 0)

    assert at_every_place(work, after) > 5


def test_room_for_partial_hits_is_given_back() -> None:
    room = SearchBackPressure(10)

    def work() -> None:
        with room.reserve(10):
            pass

    assert at_every_place(work, lambda: elsewhere(work)) > 5


def test_a_turn_of_a_build_is_handed_on() -> None:
    turns = Turns()

    def work() -> None:
        with turns.turn(1, lambda: 1, lambda: False) as mine:
            assert mine

    assert at_every_place(work, lambda: elsewhere(work)) > 5


def test_who_tells_an_outcome_never_waits_for_those_who_wait() -> None:
    number, left = 0, True
    while left:
        outcome: Outcome[int] = Outcome()
        threading.Timer(0.001, outcome.set_result, (1,)).start()
        left = interrupted_at(number, outcome.result)
        elsewhere(outcome.result)
        number += 1


def test_who_sets_an_event_never_waits_for_those_who_wait() -> None:
    event = Flag()

    def after() -> None:
        elsewhere(event.set)
        assert event.wait(WATCHDOG) and event._waiting == []
        event.clear()

    assert at_every_place(lambda: event.wait(0), after) > 3


def test_a_pool_goes_on(tmp_path: Path) -> None:
    pool = Pool(2, "test")

    def work() -> None:
        done = Flag()
        assert pool.put(done.set)
        assert done.wait(WATCHDOG)

    assert at_every_place(work, lambda: elsewhere(work)) > 5
    elsewhere(pool.close)
    assert not pool.put(lambda: None)


def test_closing_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    number, left = 0, True
    while left:
        opened = Database.open(tmp_path / "db", Settings(background=False))
        left = interrupted_at(number, opened.close)
        elsewhere(opened.close)
        number += 5


def test_opening_leaves_nothing_behind(tmp_path: Path) -> None:
    opened: list[Database] = []

    def work() -> None:
        opened.append(Database.open(tmp_path / "db", Settings(background=False)))

    def after() -> None:
        while opened:
            opened.pop().close()
        # As many files as before.
        Database.open(tmp_path / "db", Settings(background=False)).close()

    assert at_every_place(work, after, step=11) > 20
