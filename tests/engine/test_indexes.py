"""Indexes in the database: built, used, dropped, rebuilt, merged, interrupted, damaged."""

import shutil
import time
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.errors import BuildFailed
from milvine.events import Events, IndexBuilt, IndexSetAside, JobFailed
from milvine.types import IndexSetting, IndexType, MetricType
from tests.builders import start_builders

SETTINGS = Settings(background=False, build_threads=1)
INDEXES = {
    IndexType.IVF_FLAT: ({"nlist": 64}, {"nprobe": 64}),
    IndexType.IVF_SQ8: ({"nlist": 64}, {"nprobe": 64}),
    IndexType.IVF_SQ8H: ({"nlist": 64}, {"nprobe": 64}),
    IndexType.IVF_PQ: ({"nlist": 16, "m": 8}, {"nprobe": 16}),
    IndexType.HNSW: ({"M": 16, "efConstruction": 100}, {"ef": 128}),
    IndexType.RNSG: (
        {"search_length": 50, "out_degree": 24, "candidate_pool_size": 100, "knng": 40},
        {"search_length": 100},
    ),
    IndexType.IVF_PQFS: ({"nlist": 64}, {"nprobe": 64}),
    IndexType.IVF_RABITQ: ({"nlist": 64}, {"nprobe": 64, "refine": 16}),
    IndexType.HNSW_SQ8: ({"M": 16, "efConstruction": 100}, {"ef": 128}),
    **({IndexType.ANNOY: ({"n_trees": 8}, {"search_k": 1000})} if find_spec("annoy") else {}),
}
NAMES = {
    IndexType.IVF_FLAT: "IVFFLAT",
    IndexType.IVF_SQ8: "IVFSQ8",
    IndexType.IVF_SQ8H: "IVFSQ8H",
    IndexType.IVF_PQ: "PQ",
    IndexType.HNSW: "HNSW",
    IndexType.ANNOY: "ANNOY",
    IndexType.RNSG: "NSG",
    IndexType.IVF_PQFS: "IVFPQFS",
    IndexType.IVF_RABITQ: "IVFRABITQ",
    IndexType.HNSW_SQ8: "HNSWSQ8",
}
ROWS = 6000


@pytest.fixture(scope="module")
def rows():
    centres = np.random.default_rng(1).normal(size=(60, 16))
    spread = np.random.default_rng(2).normal(scale=0.3, size=(ROWS, 16))
    return (centres[np.arange(ROWS) % 60] + spread).astype(np.float32)


def fill(database, rows):
    database.create_collection("c", 16, 1024, MetricType.L2)
    database.collection("c").insert(rows, np.arange(len(rows)))


def setting(index_type):
    return IndexSetting.of(index_type, INDEXES[index_type][0])


def recall(database, rows, index_type, dead=0):
    queries = rows[500:600] + np.float32(0.01)
    found = database.collection("c").search(queries, 10, INDEXES[index_type][1]).ids
    distances = ((queries[:, None] - rows[None, dead:]) ** 2).sum(2)
    truth = np.argsort(distances, 1)[:, :10] + dead
    assert (found >= dead).all()
    return np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, truth, strict=True)])


def names(database):
    return [
        segment.index_name for segment in database.collection("c").stats().partitions[0].segments
    ]


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.02)


@pytest.mark.parametrize("index_type", INDEXES)
def test_built_searched_with_deletes_reopened_and_dropped(tmp_path, rows, index_type):
    floor = 0.5 if index_type is IndexType.IVF_PQ else 0.95
    with Database.open(tmp_path, SETTINGS) as database:
        fill(database, rows)
        database.collection("c").create_index(setting(index_type))
        assert names(database) == [NAMES[index_type]]
        assert recall(database, rows, index_type) >= floor
        database.collection("c").delete(np.arange(400))
        assert recall(database, rows, index_type, dead=400) >= floor
        hit = database.collection("c").search(rows[700:701], 1, INDEXES[index_type][1])
        if index_type in (IndexType.IVF_FLAT, IndexType.HNSW) or index_type.is_addition:
            assert (hit.ids[0, 0], hit.distances[0, 0]) == (700, 0.0)
    with Database.open(tmp_path, SETTINGS) as database:
        assert recall(database, rows, index_type, dead=400) >= floor
        database.collection("c").drop_index()
        assert (
            names(database) == ["IDMAP"]
            and database.collection("c").definition.index == IndexSetting()
        )
        assert recall(database, rows, index_type, dead=400) == 1.0


def test_small_segments_stay_raw_and_exact(tmp_path, rows):
    with Database.open(tmp_path, SETTINGS) as database:
        fill(database, rows[:4095])
        database.collection("c").create_index(setting(IndexType.HNSW))
        assert names(database) == ["IDMAP"]
        assert recall(database, rows[:4095], IndexType.HNSW) == 1.0


def test_create_index_merges_small_segments_first(tmp_path, rows):
    with Database.open(tmp_path, SETTINGS) as database:
        fill(database, rows[:2000])
        for start in (2000, 4000):
            database.flush()
            database.collection("c").insert(
                rows[start : start + 2000], np.arange(start, start + 2000)
            )
        database.collection("c").create_index(setting(IndexType.IVF_FLAT))
        assert names(database) == ["IVFFLAT"]
        database.collection("c").create_index(setting(IndexType.HNSW))
        assert names(database) == ["HNSW"]
        database.collection("c").create_index(IndexSetting())
        assert names(database) == ["IDMAP"]


def test_compacting_an_indexed_segment_keeps_it_indexed(tmp_path, rows):
    with Database.open(tmp_path, SETTINGS) as database:
        fill(database, rows)
        database.collection("c").create_index(setting(IndexType.IVF_FLAT))
        database.collection("c").delete(np.arange(1000))
        database.collection("c").compact()
        assert names(database) == ["IVFFLAT"]
        assert recall(database, rows, IndexType.IVF_FLAT, dead=1000) >= 0.95


def test_a_merge_whose_build_is_stopped_changes_nothing(tmp_path, rows):
    from milvine.maintenance.merge import merge

    with Database.open(tmp_path, SETTINGS) as database:
        fill(database, rows)
        database.collection("c").create_index(setting(IndexType.HNSW))
        database.collection("c").delete(np.arange(1000))
        state = database.collection("c").state
        assert not merge(database.stores, state, tuple(state.segments), lambda: True)
        assert names(database) == ["HNSW"] and database.collection("c").count() == ROWS - 1000
        assert recall(database, rows, IndexType.HNSW, dead=1000) >= 0.95
    with Database.open(tmp_path, SETTINGS) as database:
        assert database.collection("c").count() == ROWS - 1000


def test_closing_during_a_merge_of_indexed_segments_loses_nothing(tmp_path, rows):
    settings = replace(SETTINGS, background=True, unindexed_rows_max=0)
    with Database.open(tmp_path, settings) as database:
        database.create_collection("c", 16, 1, MetricType.L2)
        database.collection("c").create_index(setting(IndexType.IVF_FLAT))
        for start in range(0, 4 * ROWS, ROWS):
            database.collection("c").insert(rows, np.arange(start, start + ROWS))
            database.flush()
            wait_for(lambda: "IDMAP" not in names(database))
        time.sleep(0.15)  # the fourth indexed segment makes a merge due
    with Database.open(tmp_path, SETTINGS) as database:
        assert database.collection("c").count() == 4 * ROWS


def test_later_rows_are_indexed_in_the_background(tmp_path, rows):
    settings = replace(SETTINGS, background=True, unindexed_rows_max=4500, auto_flush_tail_age=0.1)
    seen = []
    with Database.open(tmp_path, settings, Events(seen.append)) as database:
        database.create_collection("c", 16, 1024, MetricType.L2)
        database.collection("c").create_index(setting(IndexType.IVF_FLAT))
        database.collection("c").insert(rows, np.arange(ROWS))
        wait_for(lambda: names(database) == ["IVFFLAT"])
        assert recall(database, rows, IndexType.IVF_FLAT) >= 0.95
    assert any(isinstance(event, IndexBuilt) for event in seen)


def test_interrupted_builds_are_done_again_after_a_restart(tmp_path, rows):
    with Database.open(tmp_path / "a", SETTINGS) as database:
        fill(database, rows)
        database.collection("c").create_index(IndexSetting())
        from milvine.engine.indexing import store_setting

        store_setting(database.stores, database.collection("c").state, setting(IndexType.IVF_FLAT))
        # As a kill in the middle of the build leaves it.
        shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / "segments" / "index-1.mlv.tmp").write_bytes(b"half")
    with Database.open(tmp_path / "b", replace(SETTINGS, background=True)) as database:
        assert names(database) in (["IDMAP"], ["IVFFLAT"])
        wait_for(lambda: names(database) == ["IVFFLAT"])
    assert not list((tmp_path / "b" / "segments").glob("*.tmp"))


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing"])
def test_a_damaged_index_file_is_built_anew_and_answers_stay_right(tmp_path, rows, damage):
    with Database.open(tmp_path, SETTINGS) as database:
        fill(database, rows)
        database.collection("c").create_index(setting(IndexType.IVF_FLAT))
    (path,) = (tmp_path / "segments").glob("index-*.mlv")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(data if damage == "flipped" else data[: len(data) // 2])
    seen = []
    settings = replace(SETTINGS, background=True, file_cleanup_timeout=0)
    with Database.open(tmp_path, settings, Events(seen.append)) as database:
        (segment,) = database.collection("c").stats().partitions[0].segments
        assert recall(database, rows, IndexType.IVF_FLAT) >= 0.95
        database.flush()
        wait_for(lambda: any(isinstance(event, IndexSetAside) for event in seen))
        (event,) = (event for event in seen if isinstance(event, IndexSetAside))
        assert (event.segment_id, event.file) == (int(segment.name), path.name)
        assert ("Cannot read" if damage == "missing" else "is damaged at byte") in event.reason
        wait_for(lambda: path.name not in {p.name for p in (tmp_path / "segments").glob("index-*")})
        wait_for(lambda: names(database) == ["IVFFLAT"])
        assert recall(database, rows, IndexType.IVF_FLAT) >= 0.95


def test_a_failed_build_says_why_and_rows_stay_searchable(tmp_path, rows, monkeypatch):
    start_builders(monkeypatch, "raise SystemExit('no room for the codebook')")
    with Database.open(tmp_path, SETTINGS) as database:
        fill(database, rows)
        with pytest.raises(BuildFailed, match="no room for the codebook"):
            database.collection("c").create_index(setting(IndexType.IVF_FLAT))
        assert database.collection("c").definition.index.type is IndexType.IVF_FLAT
        assert recall(database, rows, IndexType.IVF_FLAT) == 1.0


def test_a_failing_background_build_is_reported_and_not_repeated_at_once(
    tmp_path, rows, monkeypatch
):
    start_builders(monkeypatch, "raise SystemExit('broken')")
    seen = []
    settings = replace(SETTINGS, background=True, unindexed_rows_max=0)
    with Database.open(tmp_path, settings, Events(seen.append)) as database:
        database.create_collection("c", 16, 1024, MetricType.L2)
        database.collection("c").create_index(setting(IndexType.IVF_FLAT))
        database.collection("c").insert(rows, np.arange(ROWS))
        database.flush()
        wait_for(lambda: any(isinstance(event, JobFailed) for event in seen))
        time.sleep(0.3)
        assert sum(isinstance(event, JobFailed) for event in seen) == 1


def test_files_that_no_version_holds_are_removed_but_pinned_ones_stay(tmp_path, rows):
    settings = replace(SETTINGS, background=True, auto_flush_interval=0.05, file_cleanup_timeout=0)
    with Database.open(tmp_path, settings) as database:
        fill(database, rows)
        database.collection("c").create_index(setting(IndexType.IVF_FLAT))
        pinned = database.collection("c").state.version
        database.collection("c").create_index(setting(IndexType.HNSW))
        folder = tmp_path / "segments"
        time.sleep(0.3)
        assert len(list(folder.glob("index-*"))) == 2
        assert pinned.segments[0].segment.index(None) is not None
        del pinned
        wait_for(lambda: len(list(folder.glob("index-*"))) == 1)
        database.collection("c").drop()
        wait_for(lambda: not list(folder.iterdir()))
