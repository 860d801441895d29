"""cache.cache_size and cache.preload_collection: what they bound, and what keeps a server from
starting.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.errors import CacheFull, ErrorCode
from milvine.events import Event, Events, Loaded, LoadedInPart
from milvine.server import app
from milvine.server.app import Server
from milvine.server.preloading import PreloadFailed
from milvine.types import MetricType
from milvus import Milvus

ROWS = np.random.default_rng(1).random((1000, 64), dtype=np.float32)  # 256,000 bytes
QUIET = {"background": False, "port": 0, "http_enable": False, "wal_enable": False}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Database.open(tmp_path / "data", Settings(background=False)) as database:
        for name in ("a", "b", "c"):
            database.create_collection(name, 64, 1024, MetricType.L2)
            database.collection(name).insert(ROWS, np.arange(1000))
    return tmp_path / "data"


def test_loading_brings_in_what_fits_and_tells_what_does_not(folder: Path) -> None:
    told: list[Event] = []
    settings = Settings(background=False, cache_size=600_000)
    with Database.open(folder, settings, Events(told.append)) as database:
        for name in ("a", "b", "a"):
            database.collection(name).preload()
        assert not [event for event in told if isinstance(event, LoadedInPart)]
        loaded = len([event for event in told if isinstance(event, Loaded)])
        database.collection("c").preload()
        assert [event for event in told if isinstance(event, LoadedInPart)] == [
            LoadedInPart("c", 1, ANY)
        ]
        assert len([event for event in told if isinstance(event, Loaded)]) == loaded
        assert database.collection("c").search(ROWS[:1], 1, {}).ids.tolist() == [[0]]
        with pytest.raises(
            CacheFull, match=r"cache is full: \d+ bytes are loaded, and \d+ more"
        ) as error:
            database.collection("c").preload(whole=True)
        assert error.value.code is ErrorCode.CACHE_FAILED
        database.collection("a").release()
        database.collection("c").preload(whole=True)
        database.configure("cache.cache_size", "1KB")
        database.collection("a").preload()
        assert database.collection("b").search(ROWS[:1], 1, {}).ids.tolist() == [
            [0]
        ]  # searches go on


def test_of_many_segments_those_that_fit_are_loaded(tmp_path: Path) -> None:
    told: list[Event] = []
    with Database.open(
        tmp_path / "data", Settings(background=False, cache_size=600_000)
    ) as database:
        database.create_collection("a", 64, 1024, MetricType.L2)
        for tag in ("one", "two", "three"):
            database.collection("a").create_partition(tag)
            database.collection("a").insert(ROWS, np.arange(1000), tag)
            database.flush()
        database.stores.events.subscribe(told.append)
        database.collection("a").preload()
        database.collection("a").preload(["three"])
        assert [type(event) for event in told] == [Loaded, Loaded, LoadedInPart, LoadedInPart]


def test_every_door_says_ok_to_a_load_that_does_not_fit(folder: Path) -> None:
    server = Server.start(
        folder, Settings(**{**QUIET, "http_enable": True, "http_port": 0, "cache_size": 1_000})
    )
    try:
        with closing(Milvus(*server.address.split(":"))) as grpc:
            assert grpc.load_collection("a").OK() and grpc.load_collection("a", ["_default"]).OK()
        with closing(Milvus(*server.http_address.split(":"), handler="HTTP")) as http:
            assert http.load_collection("a").OK()
    finally:
        server.stop(0)


def test_files_that_are_not_mapped_stay_within_the_cache(folder: Path) -> None:
    settings = Settings(background=False, cache_size=600_000, mmap=False)
    with Database.open(folder, settings) as database:
        files = database.stores.files
        for name in ("a", "b", "c", "a"):
            assert database.collection(name).search(ROWS[:1], 1, {}).ids.tolist() == [[0]]
            assert sum(files.get(each).bytes for each in files.opened()) <= 600_000
        assert len(files.opened()) == 2


def test_collections_are_loaded_before_the_door_opens(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, real, doors = list[Database](), Database.open, app.open_door

    def open_database(*arguments: Any) -> Database:
        opened.append(real(*arguments))
        return opened[-1]

    def open_door(*arguments: Any) -> Any:
        assert len(opened[0].stores.files.opened()) == 3
        return doors(*arguments)

    monkeypatch.setattr(Database, "open", open_database)
    monkeypatch.setattr(app, "open_door", open_door)
    Server.start(folder, Settings(**QUIET, preload_collection=("*",))).stop(0)


@pytest.mark.parametrize(
    ("given", "reason"),
    [({"preload_collection": ("a", "none")},
      r"Cannot load collection none .*: Collection none does not exist"),
     ({"preload_collection": ("*",), "cache_size": 300_000},
      r"Cannot load collection b .*: cache is full")],
)  # fmt: skip
def test_a_server_that_cannot_load_does_not_start(
    folder: Path, given: dict[str, object], reason: str
) -> None:
    for _ in range(2):  # and leaves the folder free
        with pytest.raises(PreloadFailed, match=reason):
            Server.start(folder, Settings(**{**QUIET, **given}))
