"""Codes of segments without an index: made, used, left out, set aside, made again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.events import Events, IndexSetAside
from milvine.types import Floats, IndexSetting, IndexType, MetricType

SETTINGS = Settings(background=False, build_threads=1, build_in_subprocess=False)
OFF = replace(SETTINGS, index_codes="off")
ROWS, WIDTH = 20_000, 64
FLAT = IndexSetting.of(IndexType.FLAT, {})


@pytest.fixture(scope="module")
def rows() -> Floats:
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(80, WIDTH))
    return (centres[np.arange(ROWS) % 80] + rng.normal(scale=0.4, size=(ROWS, WIDTH))).astype("f4")


def filled(path: Path, rows: Floats, settings: Settings = SETTINGS) -> Database:
    database = Database.open(path, settings)
    database.create_collection("c", WIDTH, 1024, MetricType.L2)
    database.collection("c").insert(rows, np.arange(len(rows)))
    database.flush()
    return database


def kinds(database: Database) -> list[str]:
    """What a search goes over."""
    prepared = database.collection("c").prepare(5, {"nprobe": 8})
    return [task.scanned().kind for task in prepared.plan.tasks]


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.02)


def test_answers_are_those_of_the_rows(tmp_path: Path, rows: Floats) -> None:
    """After deletes, in a tail, under another metric, after reopening."""
    with filled(tmp_path / "a", rows) as coded, filled(tmp_path / "b", rows, OFF) as plain:
        for each in (coded, plain):
            each.collection("c").create_index(FLAT)
        assert kinds(coded) == ["codes"] and kinds(plain) == ["exact"]
        for step in ("whole", "deletes", "tail"):
            for each in (coded, plain):
                if step == "deletes":
                    each.collection("c").delete(np.arange(0, ROWS, 7))
                if step == "tail":
                    each.collection("c").insert(rows[:300] + 1, np.arange(ROWS, ROWS + 300))
            for nq, k in ((1, 1), (1, 10), (30, 100), (2, 3000)):
                queries = rows[50 : 50 + nq] + np.float32(0.05)
                for params in ({}, {"metric_type": int(MetricType.IP)}):
                    found = [
                        each.collection("c").search(queries, k, params) for each in (coded, plain)
                    ]
                    assert np.array_equal(found[0].ids, found[1].ids)
                    assert np.array_equal(found[0].distances, found[1].distances)
    with Database.open(tmp_path / "a", SETTINGS) as coded:
        assert kinds(coded)[0] == "codes"
        hit = coded.collection("c").search(rows[701:702], 1)
        assert (hit.ids[0, 0], hit.distances[0, 0]) == (701, 0.0)


def test_statistics_are_those_of_a_collection_without_an_index(
    tmp_path: Path, rows: Floats
) -> None:
    with filled(tmp_path, rows) as database:
        before = database.collection("c").stats()
        database.collection("c").create_index(FLAT)
        assert kinds(database) == ["codes"]
        assert database.collection("c").stats() == before
        assert before.partitions[0].segments[0].index_name == "IDMAP"


def test_the_background_makes_them(tmp_path: Path, rows: Floats) -> None:
    with filled(tmp_path, rows, replace(SETTINGS, background=True)) as database:
        wait_for(lambda: kinds(database) == ["codes"])
        database.collection("c").create_index(IndexSetting.of(IndexType.IVF_FLAT, {"nlist": 16}))
        assert kinds(database) == ["IVF_FLAT"]
        database.collection("c").drop_index()
        wait_for(lambda: kinds(database) == ["codes"])


def test_small_segments_have_none(tmp_path: Path, rows: Floats) -> None:
    with filled(tmp_path, rows[:8000]) as database:
        database.collection("c").create_index(FLAT)
        assert kinds(database) == ["exact"]


def test_what_codes_cannot_help_is_asked_once(tmp_path: Path) -> None:
    """Copies of four rows: the file says that codes do not pay, so that nobody tries again."""
    rows = np.repeat(np.eye(4, WIDTH, dtype=np.float32), ROWS // 4, axis=0)
    with filled(tmp_path, rows) as database:
        database.collection("c").create_index(FLAT)
        files = sorted(tmp_path.rglob("index-*"))
        assert len(files) == 1 and files[0].stat().st_size < 2000
        database.collection("c").create_index(FLAT)
        assert sorted(tmp_path.rglob("index-*")) == files
        found = database.collection("c").search(rows[:1], 3)
        assert found.ids.tolist() == [[0, 1, 2]]


def test_damaged_ones_are_set_aside_and_made_again(tmp_path: Path, rows: Floats) -> None:
    with filled(tmp_path, rows) as database:
        database.collection("c").create_index(FLAT)
    (file,) = tmp_path.rglob("index-*")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)
    seen: list[object] = []
    with Database.open(tmp_path, replace(SETTINGS, background=True), Events(seen.append)) as again:
        hit = again.collection("c").search(rows[701:702], 1)
        assert (hit.ids[0, 0], hit.distances[0, 0]) == (701, 0.0)
        wait_for(lambda: any(isinstance(each, IndexSetAside) for each in seen))
        wait_for(lambda: kinds(again) == ["codes"])
        assert again.collection("c").search(rows[701:702], 1).ids[0, 0] == 701
