"""Damage that nobody has met yet is found, named, and never answered with."""

from __future__ import annotations

import os
from io import FileIO
from pathlib import Path

import numpy as np
import pytest

from milvine.errors import CorruptFile, OperatorError
from milvine.events import DamageFound, Scrubbed
from milvine.maintenance.flush import flush
from milvine.maintenance.scrub import scrub
from milvine.maintenance.worker import heal
from milvine.storage.local import LocalStorage
from milvine.types import IndexSetting, IndexType
from tests.faults.conftest import fill, flip

BLOCK = 1 << 20


def pass_over(database) -> None:
    scrub(database.stores, lambda seconds: False)


def file_of(database, name: str, kind: str = "rows_file") -> Path:
    (segment,) = database.stores.names[name].version.segments
    return database.stores.storage.folder / getattr(segment.segment.record, kind)


def search(database, name: str, vectors: np.ndarray, **params: int):
    return database.collection(name).search(vectors[:3], 2, params)


def test_nothing_is_found_where_nothing_is_wrong(open_database, told):
    database = open_database()
    fill(database, "sound", 500)
    pass_over(database)
    (done,) = [event for event in told if isinstance(event, Scrubbed)]
    assert (done.files, done.damaged) == (1, 0)
    assert done.size == file_of(database, "sound").stat().st_size


@pytest.mark.parametrize("mmap", [True, False])
def test_damaged_vectors_are_refused_and_the_rest_goes_on(open_database, told, mmap):
    database = open_database(mmap=mmap)
    vectors, other = fill(database, "bad", 500), fill(database, "good", 400)
    assert search(database, "bad", vectors).ids[0, 0] == 0
    path = file_of(database, "bad")
    flip(path, 200)
    pass_over(database)
    assert DamageFound(path.name, 0, "a block's checksum is wrong") in told
    for read in (
        lambda: search(database, "bad", vectors),
        lambda: database.collection("bad").get(np.arange(3)),
        lambda: database.collection("bad").compact() or search(database, "bad", vectors),
    ):
        with pytest.raises(
            CorruptFile, match=rf"{path.name} is damaged at byte 0: .* see `milvine repair`"
        ):
            read()
    assert search(database, "good", other).ids[0, 0] == 0
    assert database.collection("bad").count() == 500
    database.collection("good").insert(other[:1], np.array([999]))
    database.flush()


@pytest.mark.parametrize("back", [10, 60, 200])
def test_a_damaged_footer_is_found(open_database, told, back):
    database = open_database()
    vectors = fill(database, "c", 100)
    path = file_of(database, "c")
    flip(path, path.stat().st_size - back)
    pass_over(database)
    (found,) = [event for event in told if isinstance(event, DamageFound)]
    assert found.file == path.name and found.reason == "the footer is damaged or cut off"
    with pytest.raises(OperatorError, match=path.name):
        search(database, "c", vectors)


def test_each_damaged_block_is_named(open_database, told):
    database = open_database()
    fill(database, "large", 12_000, 64)
    path = file_of(database, "large")
    for at in (5, BLOCK + 9, 2 * BLOCK + 77):
        flip(path, at)
    pass_over(database)
    assert [event.offset for event in told if isinstance(event, DamageFound)] == [
        0,
        BLOCK,
        2 * BLOCK,
    ]


def test_a_graph_that_shares_damaged_rows_is_not_asked(open_database):
    database = open_database()
    vectors = fill(database, "graph", 200)
    database.collection("graph").create_index(
        IndexSetting.of(IndexType.HNSW, {"M": 8, "efConstruction": 20})
    )
    assert search(database, "graph", vectors, ef=20).ids[0, 0] == 0
    flip(file_of(database, "graph"), 300)
    pass_over(database)
    with pytest.raises(CorruptFile, match="see `milvine repair`"):
        search(database, "graph", vectors, ef=20)


IVF = IndexSetting.of(IndexType.IVF_FLAT, {"nlist": 4})


def indexed(database):
    """The vectors of a collection with an index, and the file of that."""
    vectors = fill(database, "c", 200)
    database.collection("c").create_index(IVF)
    return vectors, file_of(database, "c", "index_file")


def test_a_damaged_index_is_built_anew(open_database, told):
    database = open_database()
    vectors, path = indexed(database)
    flip(path, 500)
    pass_over(database)
    assert [event.file for event in told if isinstance(event, DamageFound)] == [path.name]
    assert search(database, "c", vectors, nprobe=4).ids[0, 0] == 0
    assert heal(database.stores, database.stores.names["c"])
    database.collection("c").create_index(IVF)
    assert file_of(database, "c", "index_file") != path
    pass_over(database)
    assert len([event for event in told if isinstance(event, DamageFound)]) == 1


@pytest.mark.parametrize("how", ("flipped", "cut", "missing"))
def test_create_index_builds_a_damaged_index_anew(open_database, how):
    database = open_database()
    vectors, path = indexed(database)
    database.close()
    if how == "missing":
        path.unlink()
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:100])
    else:
        flip(path, 500)
    database = open_database()
    if how == "flipped":  # what is wrong inside is found when it is read
        assert search(database, "c", vectors, nprobe=4).ids[0, 0] == 0
    database.collection("c").create_index(IVF)
    assert file_of(database, "c", "index_file") != path
    (segment,) = database.stores.names["c"].version.segments
    assert segment.segment.index(None) is not None


def test_a_damaged_tombstone_file_is_written_anew(open_database):
    database = open_database()
    fill(database, "c", 200)
    database.collection("c").delete(np.arange(50))
    database.flush()
    path = file_of(database, "c", "tombstone_file")
    flip(path, 70)
    pass_over(database)
    flush(database.stores, database.stores.names["c"])
    assert file_of(database, "c", "tombstone_file") != path
    database.close()
    again = open_database()
    assert again.collection("c").count() == 150
    assert not again.collection("c").get(np.arange(50))[0].any()


class BadSector(FileIO):
    """A file whose beginning cannot be read."""

    def read(self, size=-1):
        if self.tell() == 0:
            raise OSError(5, "Input/output error")
        return super().read(size)


def test_a_file_that_cannot_be_read_is_a_finding(open_database, told, monkeypatch):
    database = open_database(mmap=False)
    vectors, other = fill(database, "bad", 100), fill(database, "good", 100)
    bad = file_of(database, "bad")
    opened = LocalStorage.open

    def on_a_bad_disk(storage, name):
        with opened(storage, name) as file:
            return (BadSector if name == bad.name else FileIO)(os.dup(file.fileno()))

    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "open", on_a_bad_disk)
        pass_over(database)
    assert [(e.file, e.offset) for e in told if isinstance(e, DamageFound)] == [(bad.name, 0)]
    with pytest.raises(CorruptFile, match="cannot be read: Input/output error"):
        search(database, "bad", vectors)
    assert search(database, "good", other).ids[0, 0] == 0


def test_it_can_be_turned_off_and_stopped(open_database, told):
    database = open_database(background=True, scrub_interval=0)
    database.configure("storage.scrub_interval", "3600")
    fill(database, "c", 5000, 256)
    assert database.settings.scrub_interval == 3600
    stores = database.stores
    stores.closing.set()
    scrub(stores, lambda seconds: True)
    assert not [event for event in told if isinstance(event, Scrubbed)]
