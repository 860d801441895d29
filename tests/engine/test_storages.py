"""A whole database whose component files are somewhere else: the engine asks the storage that it
was given, and nobody but it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.engine.opening import OpenStorage
from milvine.errors import CorruptFile
from milvine.maintenance.reclaim import reclaim
from milvine.maintenance.scrub import scrub
from milvine.storage.base import Storage
from milvine.storage.folder import DataFolder
from milvine.storage.local import LocalStorage
from milvine.testing.object_storage import Bucket, ObjectStorage
from milvine.types import IndexSetting, IndexType, MetricType

ROWS = np.random.default_rng(5).random((6000, 8), dtype=np.float32)
LISTS = IndexSetting.of(IndexType.IVF_FLAT, {"nlist": 16})


def in_a_bucket(scratch: Path) -> OpenStorage:
    bucket = Bucket()

    def opened(folder: DataFolder, settings: Settings, read_only: bool) -> Storage:
        return ObjectStorage(bucket, scratch)

    return opened


def in_another_folder(scratch: Path) -> OpenStorage:
    def opened(folder: DataFolder, settings: Settings, read_only: bool) -> Storage:
        return LocalStorage.made(scratch / "elsewhere", settings.mmap)

    return opened


@pytest.fixture(params=[in_a_bucket, in_another_folder])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStorage:
    (tmp_path / "scratch").mkdir()
    choose: Callable[[Path], OpenStorage] = request.param
    return choose(tmp_path / "scratch")


def found(database: Database, row: int) -> list[int]:
    """The nearest id to a row, and how many are live."""
    hits = database.collection("c").search(ROWS[row : row + 1], 1, {"nprobe": 16})
    return [int(hits.ids[0, 0]), database.collection("c").count()]


@pytest.mark.parametrize("apart", [True, False])
def test_all_that_a_database_does(tmp_path: Path, place: OpenStorage, apart: bool) -> None:
    settings = Settings(background=False, build_threads=1, build_in_subprocess=apart)
    with Database.open(tmp_path / "db", settings, open_storage=place) as database:
        database.create_collection("c", 8, 1024, MetricType.L2)
        for start in range(0, 6000, 2000):
            database.collection("c").insert(
                ROWS[start : start + 2000], np.arange(start, start + 2000)
            )
            database.flush()
        database.collection("c").delete(np.arange(0, 6000, 5))
        database.flush()
        database.collection("c").create_index(LISTS)
        database.collection("c").compact()
        database.collection("c").insert(ROWS[:10] + 9, np.arange(9000, 9010))
        assert found(database, 7) == [7, 4810] and found(database, 5)[0] != 5
        reclaim(database.stores, 0)
        scrub(database.stores, lambda seconds: False)
        kinds = {name.partition("-")[0] for name in database.stores.storage.names()}
        assert kinds == {"rows", "index"}
        assert database.inspect().disk_bytes["rows"] > 0
        database.check_ready()
    with Database.open(tmp_path / "db", settings, open_storage=place) as database:
        (part,) = database.collection("c").stats().partitions
        indexed = [each.row_count for each in part.segments if each.index_name == "IVFFLAT"]
        assert indexed == [4800]
        assert found(database, 7) == [7, 4810]
        database.collection("c").drop()
        reclaim(database.stores, 0)
        assert database.stores.storage.names() == []
    assert not (tmp_path / "db" / "segments").exists()


def test_a_reader_beside_the_writer(tmp_path: Path, place: OpenStorage) -> None:
    settings = Settings(background=False)
    with Database.open(tmp_path / "db", settings, open_storage=place) as database:
        database.create_collection("c", 8, 1024, MetricType.L2)
        database.collection("c").insert(ROWS[:100], np.arange(100))
        database.flush()
        with Database.open(tmp_path / "db", settings, read_only=True, open_storage=place) as reader:
            reader.refresh()
            assert found(reader, 7) == [7, 100]
            database.collection("c").insert(ROWS[100:200], np.arange(100, 200))
            database.flush()
            reader.refresh()
            assert found(reader, 150) == [150, 200]


def test_a_lost_catalog_is_told_by_the_files_that_are_there(
    tmp_path: Path, place: OpenStorage
) -> None:
    settings = Settings(background=False)
    with Database.open(tmp_path / "db", settings, open_storage=place) as database:
        database.create_collection("c", 8, 1024, MetricType.L2)
        database.collection("c").insert(ROWS[:100], np.arange(100))
    (tmp_path / "db" / "catalog.sqlite").unlink()
    with pytest.raises(CorruptFile, match="there are 1 segment files"):
        Database.open(tmp_path / "db", settings, open_storage=place)
