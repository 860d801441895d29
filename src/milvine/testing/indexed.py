"""A state machine for one index type: a database whose small segments are really indexed, against
exact search.

    class Hnsw(IndexMachine):
        case = IndexCase(IndexType.HNSW, ({"M": 8, "efConstruction": 64},), {"ef": 64}, floor=0.95)

    TestHnsw = Hnsw.TestCase

Rows come and go, segments are flushed, merged, compacted, indexed, left without their index, closed
and crashed. After all of it an answer holds live rows only, each once, nearest first, with the
distances that the type promises; over a run as many of the nearest rows as the type should find.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from milvine.config import Settings
from milvine.limits import FILLER_ID
from milvine.maintenance.worker import maintain
from milvine.testing.by_name import DatabaseByName
from milvine.testing.model import ModelDatabase, distances
from milvine.types import Floats, Hits, Ids, IndexSetting, IndexType, MetricType, Query, Vectors

NAME = "c"
DIMENSION = 32
INDEX_ROWS_MIN = 64
RECALL_JUDGED_FROM = 200
"""Wanted hits of a run, fewer say nothing about recall."""
INFINITE = 64.0
"""Stands for the distance by TANIMOTO of rows that share nothing; others are below 10."""

seeds = st.integers(0, 2**32 - 1)
SETTINGS = Settings(
    background=False,
    search_threads=2,
    build_threads=1,
    build_in_subprocess=False,
    index_rows_min=INDEX_ROWS_MIN,
)


@dataclass(frozen=True)
class IndexCase:
    """One type: the build parameters it is built with in turn, how it is searched, and what it
    promises.

    Attributes:
        exact: an answer is the nearest rows, no less.
        exact_distances: those that are reported are the true ones.
        floor: recall over a whole run.
    """

    type: IndexType
    builds: tuple[Mapping[str, int], ...]
    search: Mapping[str, int]
    metric: MetricType = MetricType.L2
    exact: bool = False
    exact_distances: bool = True
    floor: float = 0.9


def some_rows(seed: int, count: int, metric: MetricType) -> Vectors:
    """Rows around 12 centres, or bit patterns each of which differs from one of 12 in some
    places.
    """
    rng = np.random.default_rng(seed)
    near = rng.integers(0, 12, count)
    centres = np.random.default_rng(0).standard_normal((12, DIMENSION))
    if metric.is_binary:
        flipped = rng.random((count, DIMENSION)) < 0.15
        return np.packbits((centres[near] > 0) ^ flipped, axis=1)
    return np.asarray(centres[near] + 0.6 * rng.standard_normal((count, DIMENSION)), np.float32)


class IndexMachine(RuleBasedStateMachine):
    """Subclass with another `case`, and other `settings` to run the same rules under them."""

    case: ClassVar[IndexCase] = IndexCase(IndexType.FLAT, ({},), {}, exact=True)
    settings: ClassVar[Settings] = SETTINGS

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(prefix="milvine-indexed-"))
        self.lives, self.next_id = 0, 0
        self.wanted = self.found = 0
        self.model = ModelDatabase()
        self.db = DatabaseByName.open(self.home / "0", self.settings)

    def teardown(self) -> None:
        self.db.close()
        shutil.rmtree(self.home)
        if self.wanted >= RECALL_JUDGED_FROM:
            assert self.found >= self.case.floor * self.wanted, (
                f"recall {self.found / self.wanted:.3f}"
            )

    @initialize(size=st.sampled_from([0, 1]), seed=seeds)
    def begin(self, size: int, seed: int) -> None:
        """`size` MiB of a segment are enough; at 0 segments are never merged, so that there are
        many.
        """
        for db in (self.model, self.db):
            db.create_collection(NAME, DIMENSION, size, self.case.metric)
            db.create_partition(NAME, "part")
        self.insert(600, seed, "")
        self.flush()
        self.create_index(0)

    # rows

    @rule(count=st.sampled_from([1, 40, 150, 400]), seed=seeds, tag=st.sampled_from(["", "part"]))
    def insert(self, count: int, seed: int, tag: str) -> None:
        self._insert(some_rows(seed, count, self.case.metric), tag)

    @rule(count=st.sampled_from([1, 80]), seed=seeds)
    def insert_twins(self, count: int, seed: int) -> None:
        self._insert(np.repeat(some_rows(seed, 1, self.case.metric), count, axis=0), "")

    @rule(count=st.sampled_from([1, 70]), value=st.sampled_from([np.nan, np.inf, -np.inf]))
    def insert_no_numbers(self, count: int, value: float) -> None:
        if not self.case.metric.is_binary:
            rows = some_rows(count, count, self.case.metric)
            rows[:, count % DIMENSION] = value
            self._insert(rows, "")

    def _insert(self, rows: Vectors, tag: str) -> None:
        ids = np.arange(self.next_id, self.next_id + len(rows))
        self.next_id += len(rows)
        for db in (self.model, self.db):
            db.insert(NAME, rows, ids, tag)

    @rule(share=st.sampled_from([0.05, 0.5, 0.95, 1.0]), seed=seeds)
    def delete(self, share: float, seed: int) -> None:
        ids, _ = self._rows()
        gone = ids[np.random.default_rng(seed).random(len(ids)) < share]
        if len(gone):
            for db in (self.model, self.db):
                db.delete(NAME, gone)

    @rule(seed=seeds)
    def delete_the_answers(self, seed: int) -> None:
        query = Query(some_rows(seed, 1, self.case.metric), 20, self._params(20))
        hits = self.db.search(NAME, query).ids
        gone = np.unique(hits[hits != FILLER_ID])
        if len(gone):
            for db in (self.model, self.db):
                db.delete(NAME, gone)

    # what changes how rows lie, and never which there are

    @rule()
    def flush(self) -> None:
        self.db.flush([NAME])

    @rule()
    def compact(self) -> None:
        self.db.compact(NAME)

    @rule()
    def maintain(self) -> None:
        """What the background would do: merges, and builds of what is large enough."""
        state = self.db.collection(NAME).state
        while maintain(self.db.stores, state, resuming=True):
            pass

    @rule(which=st.integers(0, 7))
    def create_index(self, which: int) -> None:
        builds = self.case.builds
        self.db.create_index(
            NAME, IndexSetting.of(self.case.type, dict(builds[which % len(builds)]))
        )

    @rule()
    def drop_index(self) -> None:
        self.db.drop_index(NAME)

    @rule()
    def reopen(self) -> None:
        self.db.close()
        self.db = DatabaseByName.open(self.home / str(self.lives), self.settings)

    @rule()
    def crash(self) -> None:
        """Goes on with a copy of the open folder; where background threads write, it could not be
        copied as a whole.
        """
        if self.settings.background:
            return
        old, new = self.home / str(self.lives), self.home / str(self.lives + 1)
        shutil.copytree(old, new, ignore=shutil.ignore_patterns("*-shm"))
        self.db.close()
        shutil.rmtree(old)
        self.lives += 1
        self.db = DatabaseByName.open(new, self.settings)

    # answers

    @rule(k=st.sampled_from([1, 10, 50]), nq=st.sampled_from([1, 8]), seed=seeds)
    def search(self, k: int, nq: int, seed: int) -> None:
        query = Query(some_rows(seed, nq, self.case.metric), k, self._params(k))
        self._judge(query, self.db.search(NAME, query))

    def _params(self, k: int) -> dict[str, Any]:
        """Those of the case. A graph is asked for no more hits than it keeps candidates."""
        return {
            key: max(value, k) if key == "ef" else value for key, value in self.case.search.items()
        }

    @invariant()
    def same_rows(self) -> None:
        if self.model.has_collection(NAME):
            assert self.db.count(NAME) == self.model.count(NAME)

    def _rows(self) -> tuple[Ids, Vectors]:
        """By rising id."""
        parts = self.model.table(NAME).partitions.values()
        ids, vectors = (
            np.concatenate([rows.ids for rows in parts]),
            np.concatenate([rows.vectors for rows in parts]),
        )
        order = np.argsort(ids)
        return ids[order], vectors[order]

    def _judge(self, query: Query, hits: Hits) -> None:
        """Every hit against exact distances; how many of the nearest there are is added up."""
        ids, vectors = self._rows()
        sound = np.isfinite(vectors).all(axis=1)
        ids, vectors = ids[sound], vectors[sound]
        if not hits.nq:
            assert not self.model.count(NAME)
            return
        smaller = -1.0 if self.case.metric.larger_is_closer else 1.0
        for query_row, found, reported in zip(query.vectors, hits.ids, hits.distances, strict=True):
            real = found[found != FILLER_ID]
            assert (found[len(real) :] == FILLER_ID).all(), "fillers come last"
            assert len(np.unique(real)) == len(real), "a row was found twice"
            assert np.isin(real, ids).all(), f"found though not there: {np.setdiff1d(real, ids)}"
            true = smaller * distances(query_row[None], vectors, self.case.metric)[0]
            self._judge_one(
                query.k, true, true[np.searchsorted(ids, real)], smaller * reported[: len(real)]
            )

    def _judge_one(self, k: int, true: Floats, found: Floats, reported: Floats) -> None:
        """`true` distances of all rows, and of the found ones what is true and what was told;
        smaller is nearer.
        """
        true, found, reported = (
            np.where(np.isinf(each), INFINITE, each) for each in (true, found, reported)
        )
        true = true[~np.isnan(true)]
        assert (np.diff(reported) >= 0).all(), "not nearest first"
        slack = 1e-4 * (1.0 + np.abs(true).max(initial=0.0))
        nearest = np.sort(true)[:k]
        if self.case.exact_distances:
            assert np.allclose(reported, found, rtol=0, atol=slack)
        near = int(np.count_nonzero(found <= nearest[-1] + slack)) if len(nearest) else 0
        if self.case.exact:
            assert len(found) == near == len(nearest)
            assert np.allclose(np.sort(found), nearest, rtol=0, atol=slack)
        self.wanted += len(nearest)
        self.found += near
