"""A disk that is really full: a small file system in memory, where this user may mount one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from milvine.engine.database import Database
from milvine.errors import DiskFull, OperatorError
from milvine.events import DiskFilled, DiskFreed, Events
from milvine.maintenance.reclaim import reclaim
from milvine.server.health import Health
from milvine.types import IndexSetting, IndexType, MetricType
from tests.faults.conftest import QUIET, fill

ROWS, DIMENSION = 1000, 128


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "milvine-test", str(mounted)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount here")
    if done.returncode:
        pytest.skip(f"no right to mount: {done.stderr}")
    yield mounted
    subprocess.run(["umount", str(mounted)], check=True)


def batch(number: int) -> np.ndarray:
    return np.random.default_rng(number).random((ROWS, DIMENSION), dtype=np.float32)


def insert_until_full(database: Database) -> int:
    """Batches that were acknowledged before the disk was full."""
    for number in range(100):
        try:
            database.collection("c").insert(
                batch(number), np.arange(number * ROWS, (number + 1) * ROWS)
            )
        except DiskFull as error:
            assert "Nothing is inserted until there is room; searches and deletes go on" in str(
                error
            )
            return number
    raise AssertionError("the disk was never full")


def all_there(database: Database, batches: int, deleted: int = 0) -> None:
    assert database.collection("c").count() == batches * ROWS - deleted
    for number in range(batches):
        ids = np.arange(number * ROWS + (deleted if number == 0 else 0), (number + 1) * ROWS)
        found, vectors = database.collection("c").get(ids)
        assert found.all() and (vectors == batch(number)[-len(ids) :]).all()


def test_a_full_disk_is_read_only_until_there_is_room(small_disk: Path) -> None:
    told: list[object] = []
    with Database.open(small_disk / "db", QUIET, Events(told.append)) as database:
        health = Health(database.check_ready)
        database.create_collection("c", DIMENSION, 1024, MetricType.L2)
        fill(database, "other", 4000, DIMENSION)
        database.check_ready()
        batches = insert_until_full(database)
        assert batches > 10
        with pytest.raises(DiskFull):
            database.collection("c").insert(batch(0), np.arange(ROWS))
        assert len([event for event in told if isinstance(event, DiskFilled)]) == 1
        assert "is full" in health.trouble()
        assert database.collection("c").search(batch(0)[:2], 1, {}).ids.ravel().tolist() == [0, 1]
        with pytest.raises(DiskFull):  # as much room as the rows take is not there
            database.flush(["c"])
        database.collection("c").delete(np.arange(5))
        all_there(database, batches, deleted=5)

        database.collection("other").drop()
        reclaim(database.stores, 0)
        database.collection("c").insert(
            batch(batches), np.arange(batches * ROWS, (batches + 1) * ROWS)
        )
        assert [event for event in told if isinstance(event, DiskFreed)]
        assert not health.trouble()
        all_there(database, batches + 1, deleted=5)


def test_not_a_byte_is_left(small_disk: Path) -> None:
    """Somebody else filled the disk: nothing works that writes, and everything does when he is
    gone.
    """
    with Database.open(small_disk / "db", QUIET) as database:
        database.create_collection("c", DIMENSION, 1024, MetricType.L2)
        database.collection("c").insert(batch(0), np.arange(ROWS))
        filler = small_disk / "filler"
        with open(filler, "wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
            while True:
                file.write(bytes(4096))
        index = IndexSetting.of(IndexType.IVF_FLAT, {"nlist": 4})
        calls = {
            "insert": lambda: database.collection("c").insert(batch(1), np.arange(ROWS, 2 * ROWS)),
            "flush": lambda: database.flush(["c"]),
            "create_index": lambda: database.collection("c").create_index(index),
        }
        for call in calls.values():
            with pytest.raises(DiskFull):
                call()
        with pytest.raises(OperatorError, match="full|No space left"):
            for number in range(2000):  # what SQLite and the log had set aside lasts for some
                database.create_collection(f"more{number}", 8, 1, MetricType.L2)
        all_there(database, 1)
        filler.unlink()
        for call in calls.values():
            call()
        database.create_collection("again", 8, 1, MetricType.L2)
        all_there(database, 2)
    with Database.open(small_disk / "db", QUIET) as database:
        all_there(database, 2)
        assert not list((small_disk / "db" / "segments").glob("*.tmp"))
