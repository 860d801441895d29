"""A database whose searches run somewhere else: tasks are pickled, opened over the same files by
somebody who has nothing else, and scanned there.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.collection import OpenCollection
from milvine.engine.database import Database
from milvine.errors import DatabaseClosed, StorageFailed
from milvine.search.executor import Executor
from milvine.search.plan import ClosedTask, Task
from milvine.search.portions import Reserve
from milvine.search.scan import scan
from milvine.segment.cache import FileCache
from milvine.storage.local import LocalStorage
from milvine.types import Hits, IndexSetting, IndexType, MetricType, Query

ROWS = np.random.default_rng(5).random((6000, 8), dtype=np.float32)
QUIET = Settings(background=False, build_in_subprocess=False)
INDEXES = {
    "FLAT": (IndexSetting(), {}),
    "IVF_FLAT": (IndexSetting.of(IndexType.IVF_FLAT, {"nlist": 16}), {"nprobe": 5}),
    "HNSW": (IndexSetting.of(IndexType.HNSW, {"M": 8, "efConstruction": 60}), {"ef": 40}),
}


class Elsewhere:
    """An executor that knows a folder, and what arrives in bytes."""

    def __init__(self, folder: Path, reserve: Reserve, portion_bytes: int) -> None:
        self.reserve, self.portion_bytes = reserve, portion_bytes
        self.files: FileCache | None = FileCache(LocalStorage(folder), 8)
        self.tasks = 0

    def run(
        self, tasks: Sequence[Task], query: Query, metric: MetricType, scan: object = None
    ) -> list[Hits]:
        sent = [pickle.dumps((task, query, metric)) for task in tasks]
        self.tasks += len(sent)
        return [self._scanned(each) for each in sent]

    def _scanned(self, sent: bytes) -> Hits:
        if self.files is None:
            raise DatabaseClosed
        task, query, metric = pickle.loads(sent)
        opened = task.open(self.files) if isinstance(task, ClosedTask) else task
        return scan(opened, query, metric, 1)

    def close(self) -> None:
        self.files = None


@pytest.fixture(params=INDEXES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def database(tmp_path: Path, kind: str) -> Iterator[Database]:
    """A large segment, two small neighbours and a tail, each with deleted rows."""

    def elsewhere(threads: int, reserve: Reserve, portion_bytes: int) -> Executor:
        return Elsewhere(tmp_path / "data" / "segments", reserve, portion_bytes)

    with Database.open(tmp_path / "data", QUIET, open_executor=elsewhere) as opened:
        opened.create_collection("c", 8, 1024, MetricType.L2)
        collection = opened.collection("c")
        for tag in ("a", "b"):
            collection.create_partition(tag)
        fill(opened, collection, kind)
        yield opened


def fill(database: Database, collection: OpenCollection, kind: str) -> None:
    collection.insert(ROWS[:5000], np.arange(5000))
    database.flush()
    collection.create_index(INDEXES[kind][0])
    for start, tag in ((5000, "a"), (5300, "b")):
        collection.insert(ROWS[start : start + 300], np.arange(start, start + 300), tag)
    database.flush()
    collection.insert(ROWS[5600:], np.arange(5600, 6000))
    collection.delete(np.arange(0, 6000, 7))


def test_answers_are_those_of_this_process(database: Database, tmp_path: Path, kind: str) -> None:
    collection, params = database.collection("c"), INDEXES[kind][1]
    executor = database.executor
    assert isinstance(executor, Elsewhere)
    with Database.open(tmp_path / "other", QUIET) as other:
        other.create_collection("c", 8, 1024, MetricType.L2)
        for tag in ("a", "b"):
            other.collection("c").create_partition(tag)
        fill(other, other.collection("c"), kind)
        for nq, tags in ((1, ()), (1, ("a", "b")), (40, ()), (3, ("b",))):
            here = other.collection("c").search(ROWS[100 : 100 + nq], 10, params, tags)
            there = collection.search(ROWS[100 : 100 + nq], 10, params, tags)
            assert np.array_equal(here.ids, there.ids)
            assert np.array_equal(here.distances, there.distances)
    assert executor.tasks >= 8


def test_what_is_changed_is_seen_at_once(database: Database, kind: str) -> None:
    collection, params = database.collection("c"), INDEXES[kind][1]
    assert collection.search(ROWS[5001:5002], 1, params).ids[0, 0] == 5001
    collection.delete(np.array([5001]))
    assert collection.search(ROWS[5001:5002], 1, params).ids[0, 0] != 5001
    collection.insert(ROWS[5001:5002], np.array([9000]), "a")
    assert collection.search(ROWS[5001:5002], 1, params).ids[0, 0] == 9000


def test_a_file_that_is_missing_there_is_named(database: Database, tmp_path: Path) -> None:
    name = database.collection("c").pin().segments[0].segment.record.rows_file
    (tmp_path / "data" / "segments" / name).rename(tmp_path / name)
    with pytest.raises(StorageFailed, match=name):
        database.collection("c").search(ROWS[:1], 3, {"nprobe": 5, "ef": 40})
    (tmp_path / name).rename(tmp_path / "data" / "segments" / name)


def test_a_closed_database_closes_its_executor(database: Database) -> None:
    executor = database.executor
    assert isinstance(executor, Elsewhere) and executor.files is not None
    database.close()
    assert executor.files is None
