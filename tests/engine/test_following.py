"""A database opened read-only beside the one that writes: it follows what is flushed."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.errors import CollectionNotFound, ReadOnly
from milvine.server.app import Server
from milvine.types import MetricType, Query

QUIET = Settings(background=False, file_cleanup_timeout=0)
ROWS = np.eye(8, dtype=np.float32)


def test_a_reader_sees_what_was_flushed(tmp_path: Path) -> None:
    with Database.open(tmp_path, QUIET) as writer, Database.open(tmp_path, QUIET, read_only=True) as reader:
        writer.refresh()
        for name in ("a", "b"):
            writer.create_collection(name, 8, 1024, MetricType.L2)
            writer.insert(name, ROWS, np.arange(8))
        with pytest.raises(CollectionNotFound):
            reader.count("a")
        reader.refresh()
        assert reader.count("a") == 0
        writer.flush()
        reader.refresh()
        assert (reader.count("a"), reader.count("b")) == (8, 8)
        kept = reader._stores.names["b"]
        writer.delete("a", np.arange(4))
        writer.create_partition("a", "p")
        writer.flush()
        reader.refresh()
        assert (reader.count("a"), reader.partitions("a")) == (4, ["_default", "p"])
        assert reader.search("a", Query(ROWS[:1], 1)).ids[0][0] in range(4, 8)
        assert reader._stores.names["b"] is kept
        writer.drop_collection("a")
        reader.refresh()
        assert reader.collections() == ["b"]
        with pytest.raises(ReadOnly):
            reader.insert("b", ROWS, np.arange(8))
    with Database.open(tmp_path, QUIET, read_only=True) as reader:
        assert reader.count("b") == 8


def test_a_server_of_role_ro_follows_by_itself(tmp_path: Path) -> None:
    role = {"cluster_enable": True, "cluster_role": "ro", "port": 0, "http_enable": False}
    with Database.open(tmp_path, QUIET) as writer:
        writer.create_collection("a", 8, 1024, MetricType.L2)
        server = Server.start(tmp_path, Settings(**role))
        try:
            writer.insert("a", ROWS, np.arange(8))
            writer.flush()
            deadline = time.monotonic() + 60
            while server._database.count("a") != 8:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        finally:
            server.stop(0)
