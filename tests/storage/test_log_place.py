"""A log that lies elsewhere: no way to set `wal.path` loses an acknowledged row without a word."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.errors import StorageFailed
from milvine.events import Events, NetworkFolder
from milvine.storage.log_place import find_log
from milvine.types import MetricType

ROWS = np.eye(4, dtype=np.float32)


def settings(folder: Path | str) -> Settings:
    return Settings(background=False, wal_path=str(folder))


def crashed(root: Path, log: Path | str, into: Path) -> Path:
    """A database whose four rows are in its log only, as a crash leaves it, copied to `into`."""
    with Database.open(root, settings(log)) as database:
        database.create_collection("c", 4, 1024, MetricType.L2)
        database.collection("c").insert(ROWS, np.arange(4))
        shutil.copytree(root, into)
        if log:
            for name in Path(log).iterdir():
                shutil.copy(name, into.with_name("log") / name.name)
    return into


def count(root: Path, log: Path | str) -> int:
    with Database.open(root, settings(log)) as database:
        return database.collection("c").count()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return crashed(tmp_path / "first", "", tmp_path / "data")


def test_a_log_elsewhere_is_written_and_read_there(tmp_path: Path) -> None:
    log = tmp_path / "elsewhere" / "log"
    with Database.open(tmp_path / "data", settings(log)) as database:
        database.create_collection("c", 4, 1024, MetricType.L2)
        database.collection("c").insert(ROWS, np.arange(4))
        assert list(log.glob("*.wal")) and not (tmp_path / "data" / "wal").exists()
    assert count(tmp_path / "data", log) == 4
    assert count(tmp_path / "data", log / ".." / "log") == 4


def test_a_log_elsewhere_that_is_asked_for_at_home(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Database.open(tmp_path / "data", settings(log)) as database:
        database.create_collection("c", 4, 1024, MetricType.L2)
    with pytest.raises(StorageFailed, match=f"in {log}, and wal.path is not set, which means"):
        count(tmp_path / "data", "")


def test_a_log_is_not_left_behind(home: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(
        StorageFailed, match=r"move .*/data/wal/\*.wal to .*/log; or set wal.path to"
    ):
        count(home, log)
    log.mkdir()
    for each in (home / "wal").iterdir():
        each.rename(log / each.name)
    with pytest.raises(StorageFailed, match=r"another database"):
        count(tmp_path / "other", home / "wal")
    assert count(home, log) == 4
    with pytest.raises(StorageFailed, match=r"move .*/log/\*.wal to .*/data/wal"):
        count(home, "")
    for each in log.glob("*.wal"):
        each.rename(home / "wal" / each.name)
    assert count(home, "") == 4
    assert not (home / "LOG_FOLDER").exists()


def test_two_logs_are_not_put_into_one_folder(home: Path, tmp_path: Path) -> None:
    """As after a restore, where `wal.path` still has the log of the database before."""
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "0000000000000007.wal").touch()
    with pytest.raises(
        StorageFailed, match=r"clear .*/log, which holds files of another log, and "
    ):
        count(home, tmp_path / "log")


def test_a_log_that_is_not_mounted_is_missed(home: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.mkdir()
    for each in (home / "wal").iterdir():
        each.rename(log / each.name)
    assert count(home, log) == 4
    log.rename(tmp_path / "away")
    with pytest.raises(StorageFailed, match=r"Is it mounted\?"):
        count(home, log)
    log.mkdir()
    with pytest.raises(StorageFailed, match=r"Is it mounted\?"):
        count(home, log)
    for elsewhere in ("", tmp_path / "third"):
        with pytest.raises(StorageFailed, match=r"Is it mounted\?"):
            count(home, elsewhere)
    log.rmdir()
    # The whole folder was moved, and is known by its owner.
    assert count(home, tmp_path / "away") == 4


def test_a_log_belongs_to_one_database(tmp_path: Path) -> None:
    log = tmp_path / "log"
    Database.open(tmp_path / "one", settings(log)).close()
    with pytest.raises(StorageFailed, match=r"holds the log of another database"):
        Database.open(tmp_path / "two", settings(log))
    with pytest.raises(StorageFailed, match=r"holds the log of another database"):
        Database.open(tmp_path / "two", settings(tmp_path / "one" / "wal"))


def test_a_copy_of_the_data_folder_leaves_the_log_of_its_original_alone(tmp_path: Path) -> None:
    log = tmp_path / "log"
    Database.open(tmp_path / "one", settings(log)).close()
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    with pytest.raises(StorageFailed, match=r"holds the log of another database"):
        Database.open(tmp_path / "two", settings(log))
    shutil.rmtree(tmp_path / "one")
    Database.open(tmp_path / "two", settings(log)).close()  # not copied then, but moved


def test_an_empty_log_folder_of_a_used_database_is_missed(home: Path, tmp_path: Path) -> None:
    shutil.rmtree(home / "wal")
    (home / "wal").mkdir()
    with pytest.raises(StorageFailed, match=r"Records that were acknowledged may be in it"):
        count(home, tmp_path / "log")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed, match=r"Cannot (use|read) .*Not a directory"):
        Database.open(tmp_path / "data", settings(tmp_path / "file" / "log"))
    (tmp_path / "data" / "LOG_FOLDER").write_text("{")
    with pytest.raises(StorageFailed, match=r"LOG_FOLDER is damaged"):
        Database.open(tmp_path / "data", settings(""))


@pytest.mark.parametrize("name", ["segments", "segments/log", "definitions", "set-aside"])
def test_a_log_is_not_put_where_others_clear_up(tmp_path: Path, name: str) -> None:
    with pytest.raises(StorageFailed, match=r"where the database keeps other files"):
        Database.open(tmp_path / "data", settings(tmp_path / "data" / name))
    assert count_new(tmp_path / "data", "") == 4


def count_new(root: Path, log: Path | str) -> int:
    with Database.open(root, settings(log)) as database:
        database.create_collection("c", 4, 1024, MetricType.L2)
        database.collection("c").insert(ROWS, np.arange(4))
    return count(root, log)


def test_a_data_folder_has_several_names(tmp_path: Path) -> None:
    log = tmp_path / "log"
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert count_new(tmp_path / "link" / "data", log) == 4
    assert count(tmp_path / "real" / "data", log) == 4
    assert count(tmp_path / "link" / "data", log) == 4
    for name in ("real", "link"):
        assert find_log(tmp_path / name / "data") == log


def test_a_copy_of_both_folders_is_a_database_of_its_own(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Database.open(tmp_path / "data", settings(log)) as database:
        database.create_collection("c", 4, 1024, MetricType.L2)
        database.collection("c").insert(ROWS, np.arange(4))
        shutil.copytree(tmp_path / "data", tmp_path / "copy")
        shutil.copytree(log, tmp_path / "copied")
        with pytest.raises(StorageFailed, match=r"it is that of .*data"):
            find_log(tmp_path / "copy")
        assert find_log(tmp_path / "copy", tmp_path / "copied") == tmp_path / "copied"
        assert count(tmp_path / "copy", tmp_path / "copied") == 4
    assert count(tmp_path / "data", log) == 4


def test_a_note_that_was_removed_is_made_anew_from_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert count_new(tmp_path / "data", log) == 4
    note = tmp_path / "data" / "LOG_FOLDER"
    before = note.read_bytes()
    for damaged in ("{", "{}", "[]", '{"database": 1, "folder": 2}'):
        note.write_text(damaged)
        with pytest.raises(StorageFailed, match=r"LOG_FOLDER is damaged"):
            count(tmp_path / "data", log)
        with pytest.raises(StorageFailed, match=r"LOG_FOLDER is damaged"):
            find_log(tmp_path / "data")
    note.unlink()
    assert count(tmp_path / "data", log) == 4 and note.read_bytes() == before


def test_a_network_file_system_under_the_log_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    seen: list[object] = []
    told = Events(seen.append)
    monkeypatch.setattr(
        "milvine.engine.opening.network_kind", lambda folder: "nfs4" if folder == log else ""
    )
    Database.open(tmp_path / "data", settings(log), told).close()
    assert NetworkFolder(str(log), "nfs4") in seen
