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

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.errors import IllegalArgument, StorageFailed
from milvine.state.insert_keys import key_of
from milvine.state.requests import InsertRequest
from milvine.types import MetricType

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
    first = db.collection("auto").insert(ROWS, None, key="a")
    assert db.collection("auto").insert(ROWS, None, key="a").tolist() == first.tolist()
    assert db.collection("auto").insert(ROWS, None, key="b").tolist() != first.tolist()
    assert db.collection("given").insert(ROWS, GIVEN, key="a").tolist() == [5, 6, 7]
    assert db.collection("given").insert(ROWS, GIVEN, key="a").tolist() == [5, 6, 7]
    assert (db.collection("auto").count(), db.collection("given").count()) == (6, 3)


def test_without_a_key_rows_double(db: Database) -> None:
    db.collection("given").insert(ROWS, GIVEN)
    db.collection("given").insert(ROWS, GIVEN)
    assert db.collection("given").count() == 6


def test_one_key_is_for_one_insert(db: Database) -> None:
    db.collection("auto").insert(ROWS, None, key="a")
    db.collection("given").insert(ROWS, GIVEN, key="a")
    with pytest.raises(
        IllegalArgument, match="insert of 3 rows with generated ids; one key is for one insert"
    ):
        db.collection("auto").insert(ROWS[:2], None, key="a")
    with pytest.raises(IllegalArgument, match="insert of 3 rows with given ids"):
        db.collection("given").insert(ROWS, GIVEN + 1, key="a")
    assert (db.collection("auto").count(), db.collection("given").count()) == (3, 3)


def test_deleted_rows_do_not_come_back(db: Database) -> None:
    db.collection("given").insert(ROWS, GIVEN, key="a")
    db.collection("given").delete(GIVEN)
    db.collection("given").insert(ROWS, GIVEN, key="a")
    assert db.collection("given").count() == 0


def test_a_refused_insert_leaves_no_key(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    log = db.stores.log
    with monkeypatch.context() as patch:
        patch.setattr(log, "append", lambda records: (_ for _ in ()).throw(StorageFailed("full")))
        with pytest.raises(StorageFailed):
            db.collection("auto").insert(ROWS, None, key="a")
    db.collection("auto").insert(ROWS[:2], None, key="a")
    assert db.collection("auto").count() == 2


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
    assert ids[0] == ids[1] == ids[2] and db.collection("auto").count() == 3
    with pytest.raises(IllegalArgument):
        other.result()


@pytest.mark.parametrize("flushed", [False, True])
def test_a_key_outlives_a_crash(tmp_path: Path, flushed: bool) -> None:
    """Copied as it lies while open, which is what a kill leaves; with a flush, the log no longer
    has the record.
    """
    with made(tmp_path / "db") as db:
        first = db.collection("auto").insert(ROWS, None, key="a")
        db.collection("given").insert(ROWS, GIVEN, key="a")
        if flushed:
            db.flush()
        shutil.copytree(tmp_path / "db", tmp_path / "copy", ignore=shutil.ignore_patterns("LOCK"))
    for _ in range(2):  # the second time after a clean stop
        with Database.open(tmp_path / "copy", QUIET) as db:
            assert db.collection("auto").insert(ROWS, None, key="a").tolist() == first.tolist()
            db.collection("given").insert(ROWS, GIVEN, key="a")
            assert (db.collection("auto").count(), db.collection("given").count()) == (3, 3)


def test_a_dropped_collection_takes_its_keys_along(db: Database, tmp_path: Path) -> None:
    db.collection("auto").insert(ROWS, None, key="a")
    db.flush()
    db.collection("auto").drop()
    db.create_collection("auto", 4, 1, MetricType.L2)
    db.collection("auto").insert(ROWS[:1], None, key="a")
    assert db.collection("auto").count() == 1


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
            ids = db.collection("auto").insert(rows, None, key=f"key {number}").tolist()
            assert told.setdefault(number, ids) == ids
    assert db.collection("auto").count() == sum(number + 1 for number in told)
    db.close()
