"""What Milvine makes on the disk is for its user alone."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from milvine.config import Configuration, Settings, resolve
from milvine.config.sources import FILE, Given, Origin
from milvine.engine.database import Database
from milvine.offline.backup import backup
from milvine.offline.restore import restore
from milvine.server.configuration.running import RunningConfiguration

SETTINGS = Settings(background=False, search_threads=1)


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.skipif(os.name == "nt", reason="Windows has other rights")
def test_folders_that_are_made_are_private(tmp_path: Path) -> None:
    data, log, copies, again = (
        tmp_path / "deep" / name for name in ("data", "log", "copies", "again")
    )
    with Database.open(data, Settings(background=False, search_threads=1, wal_path=str(log))):
        assert (mode(data), mode(log), mode(data.parent)) == (0o700, 0o700, 0o755)
    backup(data, copies)
    assert mode(copies) == 0o700
    restore(copies, again)
    assert mode(again) == 0o700


@pytest.mark.skipif(os.name == "nt", reason="Windows has other rights")
def test_a_folder_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(0o750)
    with Database.open(data, SETTINGS):
        assert (mode(data), mode(data / "segments")) == (0o750, 0o755)


def test_a_secret_of_a_file_of_1x_is_not_told(tmp_path: Path) -> None:
    given = {"storage.s3_secret_key": Given("hidden", Origin(FILE, "f:1"))}
    configuration: Configuration = resolve([given])
    with Database.open(tmp_path / "data", SETTINGS) as database:
        running = RunningConfiguration(database, configuration)
        assert running.get("storage.s3_secret_key") == "***" and "hidden" not in str(running.tree())
        assert RunningConfiguration(database, resolve([])).get("storage.s3_secret_key") == ""
