"""Whether a database says that it is ready, and why not."""

from __future__ import annotations

import errno

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.errors import DatabaseClosed, StorageFailed
from milvine.ingest import writer
from milvine.storage import durable
from milvine.types import MetricType
from milvine.wal import log

ROW = np.zeros((1, 4), np.float32)


def test_open_is_ready_and_closed_is_not(database):
    database.check_ready()
    database.close()
    with pytest.raises(DatabaseClosed):
        database.check_ready()


def test_after_a_failed_sync_the_log_is_tried_again(database, monkeypatch):
    database.create_collection("c", 4, 1024, MetricType.L2)

    def refuse(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(log, "sync_fd", refuse)
    with pytest.raises(StorageFailed):
        database.collection("c").insert(ROW, None)
    with pytest.raises(StorageFailed, match=r"Cannot repair the log in .*: Input/output error"):
        database.check_ready()
    monkeypatch.setattr(log, "sync_fd", durable.sync_fd)
    database.check_ready()
    assert len(database.collection("c").insert(ROW, None)) == 1


def test_a_full_disk_is_told_before_a_write_fails(database, monkeypatch):
    monkeypatch.setattr(durable, "free_and_total", lambda folder: (3 << 20, 1 << 30))
    with pytest.raises(
        StorageFailed, match=r"The disk of the log folder .* is full: 3 MB are free"
    ):
        database.check_ready()


def test_a_log_folder_that_is_gone(database, monkeypatch):
    monkeypatch.setattr(log.os, "access", lambda path, mode: False)
    with pytest.raises(StorageFailed, match="cannot be written to"):
        database.check_ready()


def test_a_writer_that_died_is_told(database, monkeypatch):
    database.create_collection("c", 4, 1024, MetricType.L2)

    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(writer, "apply", fail)
    with pytest.raises(StorageFailed, match="not known whether this was stored"):
        database.collection("c").insert(ROW, None)
    with pytest.raises(
        StorageFailed, match="Nothing can be stored until the database is opened anew"
    ):
        database.collection("c").insert(ROW, None)
    assert database.collection("c").count() == 0
    with pytest.raises(
        StorageFailed, match="Nothing can be stored until the database is opened anew"
    ):
        database.check_ready()


def test_read_only_and_unlogged_are_ready(tmp_path):
    with Database.open(tmp_path / "db", Settings(background=False, wal_enable=False)) as database:
        database.check_ready()
    with Database.open(tmp_path / "db", Settings(background=False), read_only=True) as database:
        database.check_ready()
