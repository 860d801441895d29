"""A database opened read-only beside the one that writes: it follows what is flushed."""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.errors import (
    CollectionNotFound,
    CorruptFile,
    ReadOnly,
    StorageFailed,
    UnsupportedFormat,
)
from milvine.maintenance.reclaim import reclaim
from milvine.server.app import Server
from milvine.types import IndexSetting, MetricType
from milvus import Milvus

QUIET = Settings(background=False, file_cleanup_timeout=0)
ROWS = np.eye(8, dtype=np.float32)


def test_a_reader_sees_what_was_flushed(tmp_path: Path) -> None:
    with (
        Database.open(tmp_path, QUIET) as writer,
        Database.open(tmp_path, QUIET, read_only=True) as reader,
    ):
        writer.refresh()
        for name in ("a", "b"):
            writer.create_collection(name, 8, 1024, MetricType.L2)
            writer.collection(name).insert(ROWS, np.arange(8))
        with pytest.raises(CollectionNotFound):
            reader.collection("a").count()
        reader.refresh()
        assert reader.collection("a").count() == 0
        writer.flush()
        reader.refresh()
        assert (reader.collection("a").count(), reader.collection("b").count()) == (8, 8)
        kept = reader.stores.names["b"]
        writer.collection("a").delete(np.arange(4))
        writer.collection("a").create_partition("p")
        writer.flush()
        reader.refresh()
        assert (reader.collection("a").count(), reader.collection("a").partitions()) == (
            4,
            ["_default", "p"],
        )
        assert reader.collection("a").search(ROWS[:1], 1).ids[0][0] in range(4, 8)
        assert reader.stores.names["b"] is kept
        writer.collection("a").drop()
        reader.refresh()
        assert reader.collections() == ["b"]
        with pytest.raises(ReadOnly, match=r"read-only$"):
            reader.collection("b").insert(ROWS, np.arange(8))
    with Database.open(tmp_path, QUIET, read_only=True) as reader:
        assert reader.collection("b").count() == 8


def test_a_server_of_role_ro_follows_by_itself(tmp_path: Path) -> None:
    role = {"cluster_enable": True, "cluster_role": "ro", "port": 0, "http_enable": False}
    with Database.open(tmp_path, QUIET) as writer:
        writer.create_collection("a", 8, 1024, MetricType.L2)
        server = Server.start(tmp_path, Settings(**role))
        try:
            writer.collection("a").insert(ROWS, np.arange(8))
            writer.flush()
            client = Milvus(*server.address.rsplit(":", 1))
            deadline = time.monotonic() + 60
            while client.count_entities("a")[1] != 8:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert client.flush(["a"]).message.endswith("(cluster.role is ro)")
            client.close()
        finally:
            server.stop(0)


def follow(writer: Database, root: Path, **settings: Any) -> Database:
    writer.create_collection("a", 8, 1024, MetricType.L2)
    writer.collection("a").insert(ROWS, np.arange(8))
    writer.flush()
    return Database.open(root, replace(QUIET, **settings), read_only=True)


def merged(writer: Database) -> None:
    """Another segment, put together with those before; the files of those are removed."""
    writer.collection("a").insert(ROWS, np.arange(8))
    writer.collection("a").delete(np.arange(4))
    writer.flush()
    writer.collection("a").create_index(IndexSetting())
    writer.collection("a").compact()
    reclaim(writer.stores, 0)


def files(reader: Database) -> set[str]:
    return {name for state in reader.stores.states.values() for name in state.files()}


def test_files_that_no_version_names_are_let_go(tmp_path: Path) -> None:
    with (
        Database.open(tmp_path, QUIET) as writer,
        follow(writer, tmp_path, cache_size=4096) as reader,
    ):
        for _ in range(10):
            reader.refresh()
            reader.collection("a").preload()  # the files of before have left their room
            assert len(reader.collection("a").search(ROWS[:1], 1).ids) == 1
            assert set(reader.stores.files.opened()) <= files(reader)
            merged(writer)
        reader.refresh()
        assert set(reader.stores.files.opened()) <= files(reader)
        if sys.platform == "linux":
            mapped = Path("/proc/self/maps").read_text().splitlines()
            removed = [line for line in mapped if str(tmp_path) in line and "(deleted)" in line]
            assert not [line for line in removed if "/segments/" in line]


def test_a_search_keeps_its_files_and_the_next_look_lets_them_go(tmp_path: Path) -> None:
    with Database.open(tmp_path, QUIET) as writer, follow(writer, tmp_path) as reader:
        reader.refresh()
        pinned = reader.stores.names["a"].version
        rows = pinned.segments[0].segment
        assert len(rows.ids()) == 8
        (name,) = reader.stores.files.opened()
        merged(writer)
        reader.refresh()
        assert name in reader.stores.files.opened() and len(rows.vectors()) == 8
        del pinned, rows
        reader.refresh()
        assert name not in reader.stores.files.opened()


def test_a_folder_that_is_renamed_is_told_and_followed_again_when_it_is_back(
    tmp_path: Path,
) -> None:
    root, away = tmp_path / "data", tmp_path / "away"
    with Database.open(root, QUIET) as writer, follow(writer, root) as reader:
        reader.refresh()
        assert reader.collection("a").search(ROWS[:1], 1).ids[0][0] == 0
        reader.check_ready()
        root.rename(away)
        for _ in range(2):
            with pytest.raises(StorageFailed, match="is gone"):
                reader.refresh()
        with pytest.raises(StorageFailed, match="What is read is of before"):
            reader.check_ready()
        assert reader.collection("a").search(ROWS[:1], 1).ids[0][0] == 0
        away.rename(root)
        reader.refresh()
        reader.check_ready()
        merged(writer)
        reader.refresh()
        assert reader.collection("a").count() == writer.collection("a").count()


def test_a_folder_that_was_restored_in_the_place_of_another_is_followed(tmp_path: Path) -> None:
    root = tmp_path / "data"
    with Database.open(root, QUIET) as writer:
        reader = follow(writer, root)
    shutil.copytree(root, tmp_path / "copy")
    with reader:
        with Database.open(root, QUIET) as writer:
            writer.collection("a").insert(ROWS, np.arange(8))
            writer.create_collection("b", 8, 1024, MetricType.L2)
        reader.refresh()
        assert (reader.collection("a").count(), reader.collections()) == (16, ["a", "b"])
        reader.collection("a").preload()
        shutil.rmtree(root)
        (tmp_path / "copy").rename(root)
        reader.refresh()
        assert (reader.collection("a").count(), reader.collections()) == (8, ["a"])
        with Database.open(root, QUIET) as writer:
            writer.collection("a").delete(np.arange(3))
        reader.refresh()
        found = reader.collection("a").search(ROWS[:1], 8).ids[0]
        assert sorted(found[found >= 0]) == [3, 4, 5, 6, 7]


def test_a_folder_that_a_newer_version_writes_is_followed_no_further(tmp_path: Path) -> None:
    with Database.open(tmp_path, QUIET) as writer, follow(writer, tmp_path) as reader:
        reader.refresh()
        known = (tmp_path / "FORMAT").read_bytes()
        (tmp_path / "FORMAT").write_text('{"milvine_format": 99}')
        writer.create_collection("b", 8, 1024, MetricType.L2)
        for _ in range(2):
            with pytest.raises(UnsupportedFormat, match="has format 99"):
                reader.refresh()
        assert reader.collections() == ["a"]
        (tmp_path / "FORMAT").write_bytes(known)
        reader.refresh()
        assert reader.collections() == ["a", "b"]


def test_a_segment_whose_deletes_could_not_be_read_comes_back_with_those_that_took_their_place(
    tmp_path: Path,
) -> None:
    with Database.open(tmp_path, QUIET) as writer, follow(writer, tmp_path) as reader:
        reader.refresh()
        writer.collection("a").delete(np.arange(2))
        writer.flush()
        (dead,) = (tmp_path / "segments").glob("dead-*")
        # As the writer removes it behind a slow reader.
        away = dead.rename(tmp_path / "segments" / "away")
        reader.refresh()
        with pytest.raises(CorruptFile):
            reader.collection("a").search(ROWS[:1], 1)
        away.rename(dead)
        writer.collection("a").delete(np.arange(3))
        writer.flush()
        reader.refresh()
        found = reader.collection("a").search(ROWS[:1], 8).ids[0]
        assert sorted(found[found >= 0]) == [3, 4, 5, 6, 7]


def test_the_writer_may_have_its_log_elsewhere_and_come_and_go(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "data", replace(QUIET, wal_path=str(tmp_path / "log"))
    with Database.open(root, elsewhere) as writer:
        reader = follow(writer, root)
    with reader:
        for count in range(2, 5):
            with Database.open(root, elsewhere) as writer:
                reader.refresh()
                writer.collection("a").insert(ROWS, np.arange(8))
                writer.flush()
                reader.refresh()
                assert reader.collection("a").count() == 8 * count
