"""Many collections are flushed together: one commit and one sync of names; what one meets holds
back no other.
"""

from __future__ import annotations

import errno
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.errors import CatalogFull, CorruptFile, DiskFull, MilvineError, StorageFailed
from milvine.events import Event, Events, JobFailed, Opened
from milvine.maintenance import flush_steps as steps
from milvine.maintenance.flush import flush_each
from milvine.maintenance.worker import due_flushes
from milvine.offline.verify import verify
from milvine.storage import failpoints
from milvine.testing.faults.script import leftovers
from milvine.types import MetricType

QUIET = Settings(background=False, file_cleanup_timeout=0, search_threads=1)
ROWS = np.eye(8, dtype=np.float32)


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    failpoints.armed.clear()


def names(count: int) -> list[str]:
    return [f"c{number}" for number in range(count)]


def filled(db: Database, count: int) -> list[str]:
    for name in names(count):
        if not db.has_collection(name):
            db.create_collection(name, 8, 1024, MetricType.L2)
        db.collection(name).insert(ROWS, np.arange(8))
    return names(count)


def reopened(folder: Path, replayed: int) -> Database:
    told: list[Event] = []
    db = Database.open(folder, QUIET, Events(told.append))
    assert [event.replayed_records for event in told if isinstance(event, Opened)] == [replayed]
    return db


def unflushed(db: Database) -> set[str]:
    return {name for name, state in db.stores.names.items() if state.pending_lsn is not None}


def counted(*places: str) -> Counter[str]:
    seen: Counter[str] = Counter()
    for place in places:
        failpoints.armed[place] = partial(seen.update, [place])
    return seen


def refuse(number: int) -> None:
    raise OSError(number, "refused")


def test_many_collections_are_one_commit(tmp_path: Path) -> None:
    count = 2 * 128 + 5  # 128 to a commit
    with Database.open(tmp_path, QUIET) as db:
        filled(db, count)
        commits, seen = db.stores.catalog.commits, counted("file.renamed", "file.sync", "log.trim")
        db.flush()
        assert db.stores.catalog.commits - commits == seen["file.renamed"] == 3
        assert seen["file.sync"] == count and not unflushed(db)
        db.flush()
        assert db.stores.catalog.commits - commits == 3
        filled(db, count)
        assert len(due_flushes(db.stores)) == 0
        commits = db.stores.catalog.commits
    with reopened(tmp_path, 0) as db:
        assert [db.collection(name).count() for name in names(count)] == [16] * count
        assert not leftovers(db)
    assert not verify(tmp_path).findings


def test_a_large_tail_is_a_commit_of_its_own(tmp_path: Path) -> None:
    with Database.open(tmp_path, QUIET) as db:
        filled(db, 4)
        commits = db.stores.catalog.commits
        assert not flush_each(db.stores, db.stores.states.values(), commit_bytes=600)
        assert db.stores.catalog.commits - commits == 2 and not unflushed(db)


def test_what_one_collection_meets_holds_back_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = steps.write_rows

    def refused(storage: Any, name: str, collection: Any, *rest: Any) -> None:
        if collection.name in ("c1", "c3"):
            raise DiskFull(f"no room for {collection.name}")
        write(storage, name, collection, *rest)

    with Database.open(tmp_path, QUIET) as db:
        filled(db, 6)
        with monkeypatch.context() as patch:
            patch.setattr(steps, "write_rows", refused)
            with pytest.raises(DiskFull, match="no room for c1"):
                db.flush()
        assert unflushed(db) == {"c1", "c3"}
        db.flush()
        assert not unflushed(db) and not leftovers(db)
        assert [db.collection(name).count() for name in names(6)] == [8] * 6


def test_a_collection_dropped_meanwhile_holds_back_no_other(tmp_path: Path) -> None:
    with Database.open(tmp_path, QUIET) as db:
        filled(db, 4)
        failpoints.armed["flush.written"] = db.collection("c2").drop
        db.flush()
        failpoints.armed.clear()
        assert not unflushed(db) and db.collections() == ["c0", "c1", "c3"] and not leftovers(db)


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("file.renamed", StorageFailed),
        ("catalog.begin", CatalogFull),
        ("catalog.commit", CatalogFull),
    ],
)
def test_a_refusal_to_all_leaves_the_rows_in_the_log(
    tmp_path: Path, place: str, error: type[Exception]
) -> None:
    with Database.open(tmp_path, QUIET) as db:
        filled(db, 5)
        failpoints.armed[place] = partial(refuse, errno.ENOSPC)
        with pytest.raises(error):
            db.flush()
        failpoints.armed.clear()
        assert unflushed(db) == set(names(5))
        assert [db.collection(name).count() for name in names(5)] == [8] * 5
        db.flush()
        assert not unflushed(db) and not leftovers(db)
    assert not verify(tmp_path).findings


def test_damaged_entries_of_one_collection_hold_back_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Database.open(tmp_path, QUIET) as db:
        filled(db, 5)
        catalog, damaged = db.stores.catalog, db.stores.names["c2"].id
        apply = catalog.apply

        def damaged_page(*edits: Any) -> None:
            if any(edit.collection_id == damaged for edit in edits):
                raise CorruptFile("database disk image is malformed")
            apply(*edits)

        monkeypatch.setattr(catalog, "apply", damaged_page)
        with pytest.raises(CorruptFile, match="malformed"):
            db.flush()
        assert unflushed(db) == {"c2"}
        monkeypatch.undo()
        db.flush()
        assert not unflushed(db) and not leftovers(db)


def test_one_that_somebody_else_flushes_is_waited_for_when_the_others_are_done(
    tmp_path: Path,
) -> None:
    with Database.open(tmp_path, QUIET) as db:
        filled(db, 4)
        busy = db.stores.names["c1"]
        others = threading.Event()
        failpoints.armed["flush.published"] = others.set
        busy.flushing.acquire()
        thread = threading.Thread(target=db.flush)
        thread.start()
        assert others.wait(60)
        assert unflushed(db) == {"c1"}
        busy.flushing.release()
        thread.join(60)
        assert not unflushed(db)


def test_deletes_while_many_are_flushed_stay(tmp_path: Path) -> None:
    with Database.open(tmp_path, QUIET) as db:
        filled(db, 3)
        failpoints.armed["flush.written"] = lambda: db.collection("c1").delete(np.arange(3))
        db.flush()
        failpoints.armed.clear()
        assert [db.collection(name).count() for name in names(3)] == [8, 5, 8] and unflushed(
            db
        ) == {"c1"}
    with Database.open(tmp_path, QUIET) as db:
        assert [db.collection(name).count() for name in names(3)] == [8, 5, 8]


def test_closing_flushes_all_that_can_be_and_tells_of_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, told = steps.write_rows, []

    def refused(storage: Any, name: str, collection: Any, *rest: Any) -> None:
        if collection.name == "c1":
            raise StorageFailed("a bad block")
        write(storage, name, collection, *rest)

    events = Events()
    events.subscribe(lambda event: told.append(event), JobFailed)
    db = Database.open(tmp_path, QUIET, events)
    filled(db, 4)
    monkeypatch.setattr(steps, "write_rows", refused)
    db.close()
    monkeypatch.undo()
    assert [(event.job, event.reason) for event in told] == [
        ("flush of collection c1", "a bad block")
    ]
    with reopened(tmp_path, 1) as db:
        assert [db.collection(name).count() for name in names(4)] == [8] * 4


def test_the_bytes_of_all_tails_are_known_without_looking_at_each(tmp_path: Path) -> None:
    def check() -> None:
        states = db.stores.states.values()
        assert db.stores.tail_bytes() == sum(state.memtable.bytes for state in states)

    with Database.open(tmp_path / "data", QUIET) as db:
        filled(db, 4)
        check()
        assert db.stores.tail_bytes() > 0
        db.collection("c0").drop()
        check()
        db.flush(["c1"])
        check()
        failpoints.armed["flush.written"] = lambda: db.collection("c2").insert(ROWS, np.arange(8))
        db.flush(["c2"])
        failpoints.armed.clear()
        check()
        kept = db.stores.tail_bytes()
        shutil.copytree(tmp_path / "data", tmp_path / "as a crash leaves it")
    with Database.open(tmp_path / "as a crash leaves it", QUIET) as db:
        check()
        assert db.stores.tail_bytes() == kept
        db.flush()
        assert db.stores.tail_bytes() == 0


def test_rows_of_many_partitions_go_to_their_own_segments(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    with Database.open(tmp_path, QUIET) as db:
        db.create_collection("a", 8, 1024, MetricType.L2)
        tags = [f"p{number}" for number in range(20)]
        for tag in tags:
            db.collection("a").create_partition(tag)
        wanted: dict[str, list[int]] = {tag: [] for tag in tags}
        for batch in range(60):
            tag = tags[int(random.integers(0, 15))]
            ids = np.arange(batch * 10, batch * 10 + 10)
            db.collection("a").insert(random.random((10, 8), np.float32), ids, tag)
            wanted[tag] += ids.tolist()
        gone = np.arange(0, 600, 7)
        db.collection("a").delete(gone)
        db.flush()
        version = db.stores.names["a"].version
        of = {partition.id: partition.tag for partition in version.partitions}
        segments = [each.segment for each in version.segments]
        found = {of[each.record.partition_id]: each.ids().tolist() for each in segments}
        assert found == {
            tag: sorted(set(ids) - set(gone.tolist())) for tag, ids in wanted.items() if ids
        }


def test_a_flush_by_names_refuses_an_unknown_one_first(tmp_path: Path) -> None:
    with Database.open(tmp_path, QUIET) as db:
        filled(db, 2)
        with pytest.raises(MilvineError, match="nowhere"):
            db.flush(["c0", "nowhere"])
        assert unflushed(db) == {"c0", "c1"}
        db.flush(["c0", "c0"])
        assert unflushed(db) == {"c1"}
