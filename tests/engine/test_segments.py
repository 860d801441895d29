"""Segments by name: their ids through flushes, deletes, merges and reopening."""

import sys
from pathlib import Path

import numpy as np
import pytest

from milvine.engine.database import Database
from milvine.errors import CollectionNotFound, CorruptFile, PartitionNotFound, SegmentNotFound
from milvine.limits import FILLER_DISTANCE
from milvine.maintenance.merge import merge
from milvine.types import IndexSetting, IndexType, MetricType, Query
from tests.engine.conftest import QUIET


@pytest.fixture(autouse=True)
def collection(database):
    database.create_collection("c", 8, 1024, MetricType.L2)


def fill(database, vectors, ids):
    database.collection("c").insert(vectors[ids], np.array(ids))
    database.flush()


def names(database, name="c"):
    return [
        segment.name
        for part in database.collection(name).stats().partitions
        for segment in part.segments
    ]


def test_ids_come_in_insertion_order_even_after_merges_that_skip(database, vectors, tmp_path):
    for ids in ([5, 3], [2, 9], [7, 1, 8]):
        fill(database, vectors, ids)
    first, second, third = names(database)
    assert database.collection("c").segment_ids(second).tolist() == [2, 9]
    stores, state = database.stores, database.collection("c").state
    assert merge(stores, state, [int(first), int(third)], lambda: False)
    with pytest.raises(SegmentNotFound, match="Segment does not exist"):
        database.collection("c").segment_ids(first)
    database.collection("c").delete(np.array([1]))
    assert merge(stores, state, [int(name) for name in names(database)], lambda: False)
    (name,) = names(database)
    assert database.collection("c").segment_ids(name).tolist() == [5, 3, 2, 9, 7, 8]
    database.close()
    with Database.open(tmp_path / "db", QUIET) as again:
        assert again.collection("c").segment_ids(name).tolist() == [5, 3, 2, 9, 7, 8]


def test_segments_of_others_are_told_from_unknown_ones(database, vectors):
    fill(database, vectors, [1])
    database.create_collection("d", 8, 1024, MetricType.L2)
    (name,) = names(database)
    with pytest.raises(SegmentNotFound, match="Segment does not belong to this collection"):
        database.collection("d").segment_ids(name)
    with pytest.raises(CollectionNotFound):
        database.collection("e").segment_ids(name)


@pytest.mark.parametrize("flushed", [False, True])
def test_searching_by_id_equals_searching_with_the_stored_vectors(database, vectors, flushed):
    database.collection("c").insert(vectors, np.arange(60))
    if flushed:
        database.flush()
    by_id = database.collection("c").search_by_id(np.array([7, 99, 3]), 5, {})
    with_vectors = database.collection("c").search(vectors[[7, 3]], 5)
    assert np.array_equal(by_id.ids[[0, 2]], with_vectors.ids)
    assert np.array_equal(by_id.distances[[0, 2]], with_vectors.distances)
    assert (by_id.ids[1] == -1).all()
    assert (by_id.distances[1] == np.float32(FILLER_DISTANCE)).all()


def test_a_search_in_all_segments_is_a_search_of_what_is_flushed(database, vectors):
    database.collection("c").create_partition("t")
    for number in range(6):
        database.collection("c").insert(
            vectors[10 * number :][:10],
            np.arange(10 * number, 10 * number + 10),
            "t" * (number % 2),
        )
        database.flush()
    query = Query(vectors, 7)
    every = frozenset(int(name) for name in names(database))
    everywhere = database.collection("c").search(*query)
    assert np.array_equal(
        database.collection("c").search(*query, segments=every).ids, everywhere.ids
    )
    database.collection("c").insert(vectors, np.arange(100, 160))
    assert np.array_equal(
        database.collection("c").search(*query, segments=every).ids, everywhere.ids
    )
    one = database.collection("c").search(*query, segments=frozenset([int(names(database)[0]), 7]))
    assert set(one.ids.ravel().tolist()) <= set(range(10))
    with pytest.raises(SegmentNotFound, match="Invalid file id"):
        database.collection("c").search(*query, segments=frozenset([7]))
    listed = [
        segment.name
        for part in database.collection("c").stats().partitions
        for segment in part.segments
    ]
    for number, name in enumerate(listed, 1):
        by_number, by_name = (
            database.collection("c").search(*query, segments=frozenset([each]))
            for each in (number, int(name))
        )
        assert np.array_equal(by_number.ids, by_name.ids)


def resident(folder):
    """Bytes of the mapped files under `folder` that this process has in memory, by name; from the
    kernel's books.
    """
    found, name = {}, None
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ", 1)[0]:
            name = line.rpartition("/")[2] if str(folder) in line else None
        elif name and line.startswith("Rss:"):
            found[name] = found.get(name, 0) + int(line.split()[1]) * 1024
    return found


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_preloading_brings_files_into_memory_and_releasing_lets_go(database, tmp_path):
    rows = np.random.default_rng(1).random((5000, 64), dtype=np.float32)
    database.create_collection("big", 64, 1024, MetricType.L2)
    database.collection("big").create_partition("t")
    for tag in ("", "t"):
        database.collection("big").insert(rows, np.arange(5000), tag)
        database.flush()
    database.collection("big").create_index(IndexSetting.of(IndexType.IVF_SQ8, {"nlist": 16}))
    database.collection("big").release()
    assert resident(tmp_path / "db" / "segments") == {}
    database.collection("big").preload(["t"])
    loaded = resident(tmp_path / "db" / "segments")
    assert sorted(name.partition("-")[0] for name in loaded) == ["index", "rows"]
    assert sum(loaded.values()) >= rows.nbytes * 5 // 4
    database.collection("big").preload()
    assert len(resident(tmp_path / "db" / "segments")) == 4
    pinned = database.collection("big").state.version.segments[0].segment.vectors()
    database.collection("big").release()
    assert len(resident(tmp_path / "db" / "segments")) == 1  # somebody still reads it
    assert np.array_equal(pinned, rows)
    del pinned
    assert resident(tmp_path / "db" / "segments") == {}
    assert database.collection("big").search(rows[7:8], 1, {"nprobe": 16}).ids[0, 0] == 7
    with pytest.raises(PartitionNotFound):
        database.collection("big").preload(["nope"])


def test_preloading_names_what_is_damaged(database, vectors, tmp_path):
    fill(database, vectors, list(range(60)))
    database.collection("c").release()
    (path,) = (tmp_path / "db" / "segments").glob("rows-*")
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptFile, match=f"{path.name} is damaged at byte 0"):
        database.collection("c").preload()


def test_indexed_segments_are_searched_one_by_one_too(database):
    rows = np.random.default_rng(2).random((10_000, 64), dtype=np.float32)
    database.create_collection("big", 64, 1, MetricType.L2)  # segments over 1 MB are not merged
    for start in (0, 5000):
        database.collection("big").insert(
            rows[start : start + 5000].copy(), np.arange(start, start + 5000)
        )
        database.flush()
    database.collection("big").create_index(IndexSetting.of(IndexType.IVF_FLAT, {"nlist": 16}))
    indexed = database.collection("big").stats().partitions[0].segments
    query = Query(rows[4990:5010], 3, {"nprobe": 16})
    everywhere = database.collection("big").search(*query)
    apart = [
        database.collection("big").search(*query, segments=frozenset([int(segment.name)]))
        for segment in indexed
    ]
    together = np.concatenate([hits.distances for hits in apart], axis=1)
    assert [segment.index_name for segment in indexed] == ["IVFFLAT", "IVFFLAT"]
    assert np.array_equal(np.sort(together, axis=1)[:, :3], everywhere.distances)
    by_id = database.collection("big").search_by_id(np.arange(4990, 5010), 3, {"nprobe": 16})
    assert np.array_equal(by_id.ids, everywhere.ids)
    assert np.array_equal(by_id.ids[:, 0], np.arange(4990, 5010))
