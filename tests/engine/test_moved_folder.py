"""The folder is moved, removed or replaced while the database is open: nothing is acknowledged that
is lost, and no other folder is touched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.errors import DataFolderLocked, FolderGone, MilvineError
from milvine.maintenance.build import build_segment
from milvine.types import IndexSetting, IndexType, MetricType

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows lets nobody move a folder with open files"
)
ROWS = np.random.default_rng(0).random((5000, 4), dtype=np.float32)
LISTS = IndexSetting(IndexType.IVF_FLAT, '{"nlist": 4}')
WRITES: dict[str, Callable[[Database], object]] = {
    "insert": lambda database: database.collection("a").insert(ROWS[:3], np.arange(3)),
    "delete": lambda database: database.collection("a").delete(np.arange(3)),
    "create a collection": lambda database: database.create_collection("b", 4, 64, MetricType.L2),
    "drop a collection": lambda database: database.collection("a").drop(),
    "create a partition": lambda database: database.collection("a").create_partition("p"),
    "drop a partition": lambda database: database.collection("a").drop_partition("q"),
    "set an index": lambda database: database.collection("a").create_index(LISTS),
    "drop an index": lambda database: database.collection("a").drop_index(),
    "compact": lambda database: database.collection("a").compact(),
    "flush": lambda database: database.flush(),
    "ready": lambda database: database.check_ready(),
}


def filled(folder: Path, **more: object) -> Database:
    database = Database.open(folder, Settings(background=False, **more))
    database.create_collection("a", 4, 64, MetricType.L2)
    database.collection("a").create_partition("q")
    database.collection("a").insert(ROWS[:4500], np.arange(4500))
    database.flush()
    database.collection("a").delete(np.arange(3000))
    database.collection("a").insert(ROWS[4500:], np.arange(4500, 5000))
    return database


def removed(folder: Path) -> None:
    shutil.rmtree(folder)


def renamed(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


def replaced(folder: Path) -> None:
    """By a copy of itself, as a restored backup is: the same names throughout."""
    shutil.copytree(folder, folder.with_name("copy"))
    renamed(folder)
    folder.with_name("copy").rename(folder)


def unlocked(folder: Path) -> None:
    (folder / "LOCK").unlink()


def content(folder: Path) -> dict[str, bytes]:
    files = [
        path for path in folder.rglob("*") if path.is_file() and not path.name.endswith("-shm")
    ]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def numbers(database: Database) -> set[int]:
    found, _ = database.collection("a").get(np.arange(6000))
    return set(np.flatnonzero(found).tolist())


@pytest.mark.parametrize("move", [removed, renamed, replaced, unlocked])
@pytest.mark.parametrize("write", WRITES)
def test_every_write_is_refused_and_touches_nothing(
    tmp_path: Path, move: Callable[..., None], write: str
) -> None:
    database = filled(tmp_path / "data")
    move(tmp_path / "data")
    there = content(tmp_path / "data")
    with pytest.raises(
        FolderGone, match="was moved, removed or replaced while the database was open"
    ):
        WRITES[write](database)
    assert content(tmp_path / "data") == there
    assert database.collection("a").search(ROWS[4999:], 1, {}).ids[0, 0] == 4999
    assert database.collection("a").search(ROWS[4000:4001], 1, {}).ids[0, 0] == 4000
    database.close()
    if move is not unlocked:  # that is its own, where the catalog is put in order
        assert content(tmp_path / "data") == there
    assert (tmp_path / "data").exists() == bool(there)


@pytest.mark.parametrize("move", [renamed, replaced, unlocked])
def test_what_was_stored_before_is_where_the_folder_went(
    tmp_path: Path, move: Callable[..., None]
) -> None:
    database = filled(tmp_path / "data")
    move(tmp_path / "data")
    with pytest.raises(FolderGone):
        database.collection("a").insert(ROWS[:1], np.array([5999]))
    database.close()
    with Database.open(tmp_path / ("data" if move is unlocked else "elsewhere")) as again:
        assert numbers(again) == set(range(3000, 5000))


def test_a_new_database_at_the_old_path_is_left_alone_by_the_old_one(tmp_path: Path) -> None:
    old = filled(tmp_path / "data")
    removed(tmp_path / "data")
    with filled(tmp_path / "data") as new:
        new.flush()
        old.close()
        assert numbers(new) == set(range(3000, 5000))
    with Database.open(tmp_path / "data") as again:
        assert numbers(again) == set(range(3000, 5000))


def test_files_that_are_no_longer_needed_are_removed_from_its_own_folder_alone(
    tmp_path: Path,
) -> None:
    database = filled(tmp_path / "data")
    database.flush()
    database.stores.obsolete = dict.fromkeys(database.stores.storage.names(), 0.0)
    replaced(tmp_path / "data")
    there = content(tmp_path / "data")
    for name in list(database.stores.obsolete):
        assert database.stores.storage.remove(name)
    database.stores.log.trim(1 << 40)
    assert content(tmp_path / "data") == there
    database.close()


@pytest.mark.parametrize(
    "which", ["folder removed", "folder renamed", "folder replaced", "file removed"]
)
def test_a_log_elsewhere_that_is_gone(tmp_path: Path, which: str) -> None:
    log = tmp_path / "log"
    database = filled(tmp_path / "data", wal_path=str(log))
    if which == "file removed":
        for file in log.glob("*.wal"):
            file.unlink()
    else:
        {"folder removed": removed, "folder renamed": renamed, "folder replaced": replaced}[which](
            log
        )
    there = content(log)
    for write in ("insert", "delete", "ready"):
        with pytest.raises(FolderGone, match="The log file"):
            WRITES[write](database)
    assert content(log) == there
    database.flush()  # the rows in memory are saved
    assert database.collection("a").count() == 2000
    database.stores.log.trim(1 << 40)
    database.close()
    assert content(log) == there


@pytest.mark.parametrize("file", ["catalog.sqlite", "catalog.sqlite-wal"])
@pytest.mark.parametrize("again", [False, True])
def test_a_catalog_that_is_gone_takes_no_commits(tmp_path: Path, file: str, again: bool) -> None:
    database = filled(tmp_path / "data")
    path = tmp_path / "data" / file
    content = path.read_bytes()
    path.unlink()
    if again:
        path.write_bytes(content)
    for write in (
        "create a collection",
        "drop a collection",
        "create a partition",
        "flush",
        "set an index",
    ):
        with pytest.raises(FolderGone, match="The catalog"):
            WRITES[write](database)
    assert database.collections() == ["a"]
    database.close()


def test_a_folder_that_is_gone_is_not_backed_up(tmp_path: Path) -> None:
    database = filled(tmp_path / "data")
    replaced(tmp_path / "data")
    with pytest.raises(FolderGone):
        database.backup(tmp_path / "backups")
    assert not (tmp_path / "backups").exists()
    database.close()


def test_a_builder_does_not_work_in_another_folder(tmp_path: Path) -> None:
    database = filled(tmp_path / "data")
    (segment,) = database.stores.names["a"].version.segments
    state = database.stores.names["a"]
    state.collection = replace(state.collection, index=LISTS)
    replaced(tmp_path / "data")
    there = content(tmp_path / "data")
    with pytest.raises(MilvineError, match="was moved, removed or replaced"):
        build_segment(database.stores, state, segment.segment.record.id, lambda: False)
    assert content(tmp_path / "data") == there
    database.close()


def test_a_renamed_folder_is_not_opened_twice_by_one_process(tmp_path: Path) -> None:
    database = filled(tmp_path / "data")
    renamed(tmp_path / "data")
    with pytest.raises(DataFolderLocked, match="is open in this process already"):
        Database.open(tmp_path / "elsewhere")
    database.close()
    with Database.open(tmp_path / "elsewhere") as again:
        assert again.collection("a").count() == 2000


WRITER = """
import sys
import numpy as np
from milvine.engine.database import Database
from milvine.errors import FolderGone

database = Database.open(sys.argv[1])
row = np.zeros((1, 4), np.float32)
for number in range(5000, 1_000_000):
    try:
        database.collection("a").insert(row, np.array([number]))
    except FolderGone as error:
        print("refused", flush=True)
        break
    print(number, flush=True)
database.close()
"""


def test_another_process_renames_it_in_the_middle_of_inserts(tmp_path: Path) -> None:
    filled(tmp_path / "data").close()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", WRITER, str(tmp_path / "data")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as writer:
        assert writer.stdout is not None
        told = [writer.stdout.readline() for _ in range(20)]
        renamed(tmp_path / "data")
        told += writer.stdout.read().splitlines(keepends=True)
    assert told.pop() == "refused\n" and writer.returncode == 0
    assert not (tmp_path / "data").exists()
    with Database.open(tmp_path / "elsewhere") as again:
        found, _ = again.collection("a").get(np.array([int(number) for number in told]))
        assert found.all()
