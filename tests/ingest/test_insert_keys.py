"""An insert that comes again with its key stores its rows once: live, in one group, after flush,
trim and restart.
"""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milvine.catalog.keys import drop_keys, store_keys, stored_keys
from milvine.catalog.model import InsertKey
from milvine.catalog.sql import Catalog
from milvine.catalog.sqlite import engine_of
from milvine.config import Settings
from milvine.engine.database import Database
from milvine.errors import IllegalArgument, StorageFailed
from milvine.ingest import keys as keys_module
from milvine.ingest.keys import RecentInserts, key_of
from milvine.ingest.requests import InsertRequest
from milvine.limits import INSERT_KEYS_MAX
from milvine.types import MetricType
from milvine.wal.record import InsertRecord

QUIET = Settings(background=False, search_threads=1, build_threads=1)
ROWS = np.arange(12, dtype=np.float32).reshape(3, 4)
GIVEN = np.array([5, 6, 7], np.int64)


def made(folder: Path) -> Database:
    db = Database.open(folder, QUIET)
    db.create_collection("given", 4, 1, MetricType.L2)
    db.create_collection("auto", 4, 1, MetricType.L2)
    return db


@pytest.fixture
def db(tmp_path: Path):
    with made(tmp_path / "db") as opened:
        yield opened


def test_the_second_is_answered_as_the_first(db: Database) -> None:
    first = db.insert("auto", ROWS, None, key="a")
    assert db.insert("auto", ROWS, None, key="a").tolist() == first.tolist()
    assert db.insert("auto", ROWS, None, key="b").tolist() != first.tolist()
    assert db.insert("given", ROWS, GIVEN, key="a").tolist() == [5, 6, 7]
    assert db.insert("given", ROWS, GIVEN, key="a").tolist() == [5, 6, 7]
    assert (db.count("auto"), db.count("given")) == (6, 3)


def test_without_a_key_rows_double(db: Database) -> None:
    db.insert("given", ROWS, GIVEN)
    db.insert("given", ROWS, GIVEN)
    assert db.count("given") == 6


def test_one_key_is_for_one_insert(db: Database) -> None:
    db.insert("auto", ROWS, None, key="a")
    db.insert("given", ROWS, GIVEN, key="a")
    with pytest.raises(
        IllegalArgument, match="insert of 3 rows with generated ids; one key is for one insert"
    ):
        db.insert("auto", ROWS[:2], None, key="a")
    with pytest.raises(IllegalArgument, match="insert of 3 rows with given ids"):
        db.insert("given", ROWS, GIVEN + 1, key="a")
    assert (db.count("auto"), db.count("given")) == (3, 3)


def test_deleted_rows_do_not_come_back(db: Database) -> None:
    db.insert("given", ROWS, GIVEN, key="a")
    db.delete("given", GIVEN)
    db.insert("given", ROWS, GIVEN, key="a")
    assert db.count("given") == 0


def test_a_refused_insert_leaves_no_key(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    log = db.stores.writer.log
    with monkeypatch.context() as patch:
        patch.setattr(log, "append", lambda records: (_ for _ in ()).throw(StorageFailed("full")))
        with pytest.raises(StorageFailed):
            db.insert("auto", ROWS, None, key="a")
    db.insert("auto", ROWS[:2], None, key="a")
    assert db.count("auto") == 2


def test_both_in_one_group(db: Database) -> None:
    """The writer is held up, so that the two queue up and are committed together."""
    state, writer, go = db.stores.names["auto"], db.stores.writer, threading.Event()
    holder = threading.Thread(target=lambda: writer.call(go.wait))
    holder.start()
    answers = [
        writer.submit(InsertRequest(state, "_default", ROWS, None, key_of("a"))) for _ in range(3)
    ]
    other = writer.submit(InsertRequest(state, "_default", ROWS[:1], None, key_of("a")))
    go.set()
    holder.join()
    ids = [answer.result().tolist() for answer in answers]
    assert ids[0] == ids[1] == ids[2] and db.count("auto") == 3
    with pytest.raises(IllegalArgument):
        other.result()


@pytest.mark.parametrize("flushed", [False, True])
def test_a_key_outlives_a_crash(tmp_path: Path, flushed: bool) -> None:
    """Copied as it lies while open, which is what a kill leaves; with a flush, the log no longer
    has the record.
    """
    with made(tmp_path / "db") as db:
        first = db.insert("auto", ROWS, None, key="a")
        db.insert("given", ROWS, GIVEN, key="a")
        if flushed:
            db.flush()
        shutil.copytree(tmp_path / "db", tmp_path / "copy", ignore=shutil.ignore_patterns("LOCK"))
    for _ in range(2):  # the second time after a clean stop
        with Database.open(tmp_path / "copy", QUIET) as db:
            assert db.insert("auto", ROWS, None, key="a").tolist() == first.tolist()
            db.insert("given", ROWS, GIVEN, key="a")
            assert (db.count("auto"), db.count("given")) == (3, 3)


def test_a_dropped_collection_takes_its_keys_along(db: Database, tmp_path: Path) -> None:
    db.insert("auto", ROWS, None, key="a")
    db.flush()
    db.drop_collection("auto")
    db.create_collection("auto", 4, 1, MetricType.L2)
    db.insert("auto", ROWS[:1], None, key="a")
    assert db.count("auto") == 1


def key(number: int) -> InsertKey:
    return InsertKey(number.to_bytes(16, "little"), number, number, 1, True)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "INSERT_KEYS_MAX", 5)
    recent = RecentInserts([key(number) for number in range(1, 9)])
    recent.add(9, InsertRecord(1, 1, GIVEN, ROWS.view(np.uint8), False, (9).to_bytes(16, "little")))
    assert [each.lsn for each in recent.since(0, 99)] == [5, 6, 7, 8, 9]
    assert [each.lsn for each in recent.since(6, 8)] == [7, 8]
    assert recent.find(key(4).key) is None and recent.find(b"") is None


def test_the_catalog_keeps_as_many_as_are_remembered(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    Catalog(path).close()
    engine = engine_of(path, read_only=False)
    with engine.begin() as connection:
        number = 0
        for size in (3000, 1, 4000, 6000, 500):
            store_keys(connection, 1, [key(number := number + 1) for _ in range(size)])
        store_keys(connection, 2, [key(1)])
        kept = stored_keys(connection)
        assert INSERT_KEYS_MAX <= len(kept[1]) < INSERT_KEYS_MAX + 4000 and kept[1][-1] == key(
            number
        )
        drop_keys(connection, 1)
        assert stored_keys(connection) == {2: (key(1),)}
    engine.dispose()


STEPS = st.lists(
    st.tuples(st.sampled_from(["insert", "insert", "insert", "flush", "reopen"]), st.integers(0, 5))
)


@settings(max_examples=15, deadline=None)
@given(STEPS)
def test_however_often_an_insert_is_sent(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    """Inserts of six keys in any order, with flushes and restarts between: each is stored once,
    under the same ids.
    """
    folder = tmp_path_factory.mktemp("keys")
    db, told = made(folder), {}
    for step, number in steps:
        if step == "flush":
            db.flush()
        elif step == "reopen":
            db.close()
            db = Database.open(folder, QUIET)
        else:
            rows = np.full((number + 1, 4), number, np.float32)
            ids = db.insert("auto", rows, None, key=f"key {number}").tolist()
            assert told.setdefault(number, ids) == ids
    assert db.count("auto") == sum(number + 1 for number in told)
    db.close()
