"""Deleted rows leave an index: a build leaves them out, and what holds many of them is
built anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.maintenance.worker import facts, maintain
from milvine.segment.version import LiveSegment
from milvine.types import Floats, IndexSetting, IndexType, MetricType, RowMask

ROWS = 6000
HNSW = IndexSetting.of(IndexType.HNSW, {"M": 8, "efConstruction": 40})
SETTINGS = Settings(background=False, build_threads=1, build_in_subprocess=False)


@pytest.fixture
def rows() -> Floats:
    return np.random.default_rng(1).standard_normal((ROWS, 8)).astype(np.float32)


@pytest.fixture
def database(tmp_path: Path, rows: Floats, request: pytest.FixtureRequest) -> Iterator[Database]:
    settings = replace(SETTINGS, build_in_subprocess=getattr(request, "param", False))
    with Database.open(tmp_path, settings) as opened:
        opened.create_collection("c", 8, 1024, MetricType.L2)
        opened.collection("c").insert(rows, np.arange(ROWS))
        opened.flush()
        yield opened


def only(database: Database) -> LiveSegment:
    (segment,) = database.collection("c").state.segments.values()
    return segment


def delete(database: Database, share: float) -> None:
    database.collection("c").delete(np.arange(round(share * ROWS)))


def found(database: Database, rows: Floats) -> set[int]:
    return set(
        database.collection("c").search(rows[::50].copy(), 5, {"ef": 64}).ids.ravel().tolist()
    )


@pytest.mark.parametrize(
    "database", [False, True], indirect=True, ids=["in process", "in a process"]
)
def test_a_build_leaves_deleted_rows_out(database: Database, rows: Floats) -> None:
    delete(database, 0.3)
    database.collection("c").create_index(HNSW)
    assert only(database).segment.left_out() == 1800 == only(database).mask.dead
    assert facts(database.collection("c").state)[0].held_dead == 0
    assert min(found(database, rows)) >= 1800
    assert only(database).segment.indexed


@pytest.mark.parametrize("again", ["create_index", "drop_index", "compact", "background"])
@pytest.mark.parametrize(
    ("share", "by"), [(0.04, "drop_index"), (0.08, "all but background"), (0.3, "all")]
)
def test_what_builds_an_index_anew(
    database: Database, rows: Floats, again: str, share: float, by: str
) -> None:
    database.collection("c").create_index(HNSW)
    before = only(database).segment.record
    delete(database, share)
    if again == "create_index":
        database.collection("c").create_index(HNSW)
    elif again == "drop_index":
        database.collection("c").drop_index()
        database.collection("c").create_index(HNSW)
    elif again == "compact":
        database.collection("c").compact()
    else:
        database.flush()
        maintain(database.stores, database.collection("c").state)
    after = only(database).segment
    changed = by == "all" or by == again or (by == "all but background" and again != "background")
    assert (after.record.index_file != before.index_file) == changed
    if changed:
        assert after.record.dead == after.left_out() or after.rows < ROWS
        assert before.index_file in database.stores.obsolete
    assert facts(database.collection("c").state)[0].held_dead <= (
        0.2 if by == "all but background" else 0.05
    )
    assert min(found(database, rows)) >= share * ROWS and after.indexed
    assert not maintain(database.stores, database.collection("c").state), (
        "built anew once, not for ever"
    )


def test_rows_deleted_while_an_index_is_built_are_not_found(
    database: Database, rows: Floats
) -> None:
    delete(database, 0.1)
    database.collection("c").create_index(HNSW)
    database.collection("c").delete(np.arange(600, 700))
    assert min(found(database, rows)) >= 700 and only(database).segment.left_out() == 600


def test_it_is_as_before_after_the_next_start(tmp_path: Path, rows: Floats) -> None:
    with Database.open(tmp_path, SETTINGS) as database:
        database.create_collection("c", 8, 1024, MetricType.L2)
        database.collection("c").insert(rows, np.arange(ROWS))
        database.flush()
        delete(database, 0.1)
        database.collection("c").create_index(HNSW)
        database.collection("c").delete(np.array([650]))
    with Database.open(tmp_path, SETTINGS) as database:
        assert not found(database, rows) & {*range(600), 650}
        assert only(database).segment.indexed and only(database).segment.left_out() == 600
        database.collection("c").preload()
        assert only(database).segment.indexed


def test_an_index_that_leaves_out_live_rows_is_not_used(tmp_path: Path, rows: Floats) -> None:
    """As it would be with a tombstone file of another moment: the rows are compared, and the index
    is made anew.
    """
    with Database.open(tmp_path, SETTINGS) as database:
        database.create_collection("c", 8, 1024, MetricType.L2)
        database.collection("c").insert(rows, np.arange(ROWS))
        database.flush()
        delete(database, 0.1)
        database.collection("c").create_index(HNSW)
        segment = only(database).segment
        alive = RowMask.all_live(ROWS).without(np.arange(599))
        for mask in (None, alive):
            database.stores.files.damaged.clear()
            assert segment.index(only(database).mask) is not None
            assert segment.index(mask) is None and not segment.indexed
        assert "not deleted" in database.stores.files.damaged[segment.record.index_file]


def test_masks_cover_others() -> None:
    mask = RowMask.all_live(20).without(np.array([3, 9]))
    assert mask.covers(mask) and mask.covers(mask.without(np.array([4])))
    assert (
        not mask.covers(None)
        and not mask.covers(RowMask.all_live(20))
        and RowMask.all_live(20).covers(None)
    )
