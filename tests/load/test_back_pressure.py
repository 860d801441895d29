"""A full insert buffer: writers wait for a flush, nobody fails, memory does not grow; a failing
flush is an error.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.errors import CorruptFile, StorageFailed
from milvine.events import Event, Events, Flushed
from milvine.limits import MIB
from milvine.maintenance.flush import flush
from milvine.types import MetricType

SETTINGS = Settings(background=False, search_threads=1, insert_buffer_size=MIB, wal_sync=False)
ROWS = np.ones((200, 64), np.float32)
WRITERS, TURNS = 8, 40


@pytest.fixture
def told() -> list[Event]:
    return []


@pytest.fixture
def db(tmp_path: Path, told: list[Event]) -> Iterator[Database]:
    with Database.open(tmp_path, SETTINGS, Events(told.append)) as db:
        for name in ("a", "b"):
            db.create_collection(name, 64, 1024, MetricType.L2)
        yield db


def insert_until_full(db: Database, name: str) -> None:
    while db.stores.tail_bytes() <= MIB:
        db.collection(name).insert(ROWS, None)


def test_writers_wait_for_one_flush_at_a_time(db: Database, told: list[Event]) -> None:
    most = [0]

    def write(number: int) -> None:
        for _ in range(TURNS):
            db.collection("ab"[number % 2]).insert(ROWS, None)
            most[0] = max(most[0], db.stores.tail_bytes())

    with ThreadPoolExecutor(WRITERS) as threads:
        for done in [threads.submit(write, number) for number in range(WRITERS)]:
            done.result(120)
    row = ROWS.nbytes // len(ROWS) + 32
    assert (
        db.collection("a").count() == db.collection("b").count() == WRITERS * TURNS * len(ROWS) // 2
    )
    assert most[0] <= MIB + WRITERS * len(ROWS) * row
    flushes = [event for event in told if isinstance(event, Flushed)]
    smallest = min(event.rows for event in flushes)
    assert smallest * row > MIB // 4, "whoever waited flushed a crumb of its own"


def test_a_flush_that_fails_is_told_to_the_writer_and_tried_again(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert_until_full(db, "a")
    stored = db.collection("a").count()

    def full(*arguments: Any) -> None:
        raise StorageFailed("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("milvine.maintenance.flush_steps.write_rows", full)
        with ThreadPoolExecutor(WRITERS) as threads:
            for done in [
                threads.submit(db.collection("b").insert, ROWS, None) for _ in range(WRITERS)
            ]:
                with pytest.raises(StorageFailed, match="No space left"):
                    done.result(60)
        assert (db.collection("a").count(), db.collection("b").count()) == (stored, 0)
    db.collection("b").insert(ROWS, None)
    assert (db.collection("a").count(), db.collection("b").count()) == (stored, len(ROWS))


def test_a_damaged_collection_does_not_keep_rows_from_others(
    db: Database, told: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    db.collection("b").insert(ROWS, None)
    insert_until_full(db, "a")
    b = db.stores.names["b"].id

    def damaged(stores: Any, state: Any) -> None:
        if state.collection.name == "a":
            raise CorruptFile("damaged")
        flush(stores, state)

    monkeypatch.setattr("milvine.engine.back_pressure.flush", damaged)
    db.collection("b").insert(ROWS, None)
    flushed = [(each.collection_id, each.rows) for each in told if isinstance(each, Flushed)]
    assert flushed == [(b, len(ROWS))]
    db.flush(["b"])
    insert_until_full(db, "a")
    with pytest.raises(CorruptFile):
        db.collection("b").insert(ROWS, None)
    assert db.collection("b").count() == 2 * len(ROWS)
    monkeypatch.undo()


def test_who_waits_sees_a_collection_dropped(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest tail goes while somebody makes room."""
    insert_until_full(db, "a")
    making, dropped, flushed = threading.Event(), threading.Event(), []

    def held(stores: Any, state: Any) -> None:
        making.set()
        assert dropped.wait(60)
        flushed.append(state.collection.name)
        flush(stores, state)

    monkeypatch.setattr("milvine.engine.back_pressure.flush", held)
    with ThreadPoolExecutor(2) as threads:
        inserts = [threads.submit(db.collection("b").insert, ROWS, None)]
        assert making.wait(60)
        inserts.append(threads.submit(db.collection("b").insert, ROWS, None))
        db.collection("a").drop()
        dropped.set()
        for done in inserts:
            done.result(60)
    assert flushed == ["a"] and db.collection("b").count() == 2 * len(ROWS)
