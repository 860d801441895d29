"""cache.cache_size and cache.preload_collection: what they bound, and what keeps a server from starting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.errors import CacheFull, ErrorCode
from milvine.server.app import Server
from milvine.server.preloading import PreloadFailed
from milvine.types import MetricType, Query

ROWS = np.random.default_rng(1).random((1000, 64), dtype=np.float32)  # 256,000 bytes
QUIET = {"background": False, "port": 0, "http_enable": False, "wal_enable": False}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Database.open(tmp_path / "data", Settings(background=False)) as database:
        for name in ("a", "b", "c"):
            database.create_collection(name, 64, 1024, MetricType.L2)
            database.insert(name, ROWS, np.arange(1000))
    return tmp_path / "data"


def test_loading_stays_within_the_cache(folder: Path) -> None:
    with Database.open(folder, Settings(background=False, cache_size=600_000)) as database:
        for name in ("a", "b", "a"):
            database.preload(name)
        with pytest.raises(CacheFull, match=r"cache is full: \d+ bytes are loaded, and \d+ more") as error:
            database.preload("c")
        assert error.value.code is ErrorCode.CACHE_FAILED
        database.release("a")
        database.preload("c")
        database.configure("cache.cache_size", "1MB")
        database.preload("a")
        database.configure("cache.cache_size", "1KB")
        assert database.search("b", Query(ROWS[:1], 1, {})).ids.tolist() == [[0]]  # searches go on


def test_files_that_are_not_mapped_stay_within_the_cache(folder: Path) -> None:
    settings = Settings(background=False, cache_size=600_000, mmap=False)
    with Database.open(folder, settings) as database:
        files = database._stores.files
        for name in ("a", "b", "c", "a"):
            assert database.search(name, Query(ROWS[:1], 1, {})).ids.tolist() == [[0]]
            assert sum(files.get(each).bytes for each in files.opened()) <= 600_000
        assert len(files.opened()) == 2


def test_collections_are_loaded_before_the_door_opens(folder: Path) -> None:
    server = Server.start(folder, Settings(**QUIET, preload_collection=("*",)))
    try:
        assert len(server._database._stores.files.opened()) == 3
    finally:
        server.stop(0)


@pytest.mark.parametrize(
    ("given", "reason"),
    [({"preload_collection": ("a", "none")}, r"Cannot load collection none .*: Collection none does not exist"),
     ({"preload_collection": ("*",), "cache_size": 300_000}, r"Cannot load collection b .*: cache is full")],
)  # fmt: skip
def test_a_server_that_cannot_load_does_not_start(folder: Path, given: dict[str, object], reason: str) -> None:
    for _ in range(2):  # and leaves the folder free
        with pytest.raises(PreloadFailed, match=reason):
            Server.start(folder, Settings(**{**QUIET, **given}))
