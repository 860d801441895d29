"""A state machine that does to a database and to the model what hypothesis thinks of, and compares
all they answer.

    TestDatabase = DatabaseMachine.TestCase

Collections come in several dimensions, float and binary, and callers may think of another one than
there is. Vectors have small whole numbers as elements: distances are exact and ties common; some
are copies of one, zeros, or nothing that a search could find. Background work is off, so a crash
can be a copy of the open folder; flushes, merges and builds happen where a rule asks for them.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from milvine.config import Settings
from milvine.errors import MilvineError
from milvine.limits import DEFAULT_TAG, FILLER_ID
from milvine.testing.by_name import DatabaseByName
from milvine.testing.interrupts import interrupted
from milvine.testing.model import ModelDatabase, Store, lookup
from milvine.testing.nearest_hits import check_hits
from milvine.testing.strategies import (
    SHAPES,
    Shape,
    contents,
    id_lists,
    indexes,
    names,
    patterns,
    seeds,
    shapes,
    some_vectors,
    tags,
    thoughts,
)
from milvine.types import Hits, IdMode, IndexSetting, Query

NOBODY = -(10**6)  # an id that no row has
MANY = 4200  # more than an index needs before it is built


def outcome(call: Callable[[], object]) -> type[MilvineError] | None:
    """The class of the error a call ends in."""
    try:
        call()
    except MilvineError as error:
        return type(error)
    return None


class DatabaseMachine(RuleBasedStateMachine):
    """Subclass with other `settings` to run the same rules under them."""

    settings: ClassVar[Settings] = Settings(
        background=False, search_threads=2, build_in_subprocess=False
    )
    log_elsewhere: ClassVar[bool] = False
    """Whether the log lies beside the data folder, not in it."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(prefix="milvine-stateful-"))
        self.model = ModelDatabase()
        self.lives = 0
        self.db = self.opened()

    def opened(self) -> DatabaseByName:
        """The database as this life finds it, under the settings of now."""
        folder, log = self.folders(self.lives)
        settings = (
            replace(self.settings, wal_path=str(log)) if self.log_elsewhere else self.settings
        )
        return DatabaseByName.open(folder, settings)

    def folders(self, life: int) -> tuple[Path, Path]:
        """Those of the data and of a log that lies elsewhere."""
        return self.home / str(life), self.home / f"log{life}"

    def teardown(self) -> None:
        self.db.close()
        shutil.rmtree(self.home)

    def both(self, call: Callable[[Store], object]) -> None:
        """Makes one call on both; they must succeed or fail alike."""
        expected, real = outcome(lambda: call(self.model)), outcome(lambda: call(self.db))
        assert real is expected, f"{real} instead of {expected}"

    def shape(self, name: str, thought: Shape | None = None) -> Shape:
        """That of the collection, or what a caller takes for it."""
        if thought is not None or not self.model.has_collection(name):
            return thought or SHAPES[0]
        collection = self.model.definition(name)
        return Shape(collection.dimension, collection.metric)

    @initialize(shape=shapes, seed=seeds)
    def begin(self, shape: Shape, seed: int) -> None:
        """Some rows to work on from the start: rules that happen to make them first are rare."""
        self.create_collection("books", shape)
        self.create_partition("books", "old")
        self.insert("books", list(range(10)), "", seed, "plain", None)
        self.insert("books", list(range(8, 16)), "old", seed, "plain", None)

    # collections, partitions, indexes

    @rule(name=names, shape=shapes)
    def create_collection(self, name: str, shape: Shape) -> None:
        self.both(lambda db: db.create_collection(name, shape.dimension, 1, shape.metric))

    @rule(name=names)
    def drop_collection(self, name: str) -> None:
        self.both(lambda db: db.drop_collection(name))

    @rule(name=names, shape=shapes, ids=id_lists, seed=seeds)
    def make_anew(self, name: str, shape: Shape, ids: list[int], seed: int) -> None:
        """The same name, and from now on other rows under it."""
        self.drop_collection(name)
        self.create_collection(name, shape)
        self.insert(name, ids, "", seed, "plain", None)

    @rule(name=names, tag=st.sampled_from(["old", "new"]))
    def create_partition(self, name: str, tag: str) -> None:
        self.both(lambda db: db.create_partition(name, tag))

    @rule(name=names, tag=st.sampled_from(["old", "new", DEFAULT_TAG]))
    def drop_partition(self, name: str, tag: str) -> None:
        self.both(lambda db: db.drop_partition(name, tag))

    @rule(name=names, index=indexes)
    def create_index(self, name: str, index: IndexSetting) -> None:
        self.both(lambda db: db.create_index(name, index))

    @rule(name=names)
    def drop_index(self, name: str) -> None:
        self.both(lambda db: db.drop_index(name))

    # rows

    @rule(name=names, ids=id_lists, tag=tags, seed=seeds, content=contents, thought=thoughts)
    def insert(
        self, name: str, ids: list[int], tag: str, seed: int, content: str, thought: Shape | None
    ) -> None:
        given = np.array(ids, np.int64)
        vectors = some_vectors(seed, len(ids), self.shape(name, thought), content)
        self.both(lambda db: db.insert(name, vectors, given, tag))

    @rule(name=names, tag=tags, seed=seeds, content=contents)
    def insert_many(self, name: str, tag: str, seed: int, content: str) -> None:
        given, vectors = (
            np.arange(100, 100 + MANY),
            some_vectors(seed, MANY, self.shape(name), content),
        )
        self.both(lambda db: db.insert(name, vectors, given, tag))

    @rule(name=names, rows=st.integers(1, 12), tag=tags, seed=seeds, thought=thoughts)
    def insert_generated(
        self, name: str, rows: int, tag: str, seed: int, thought: Shape | None
    ) -> None:
        vectors, made = some_vectors(seed, rows, self.shape(name, thought)), [np.arange(rows)]
        real = outcome(lambda: made.append(self.db.insert(name, vectors, None, tag)))
        assert real is outcome(
            lambda: self.model.insert(name, vectors, None, tag, generated=made[-1])
        )

    @rule(name=names, ids=id_lists, seed=seeds, more=st.sampled_from([-1, 1]))
    def insert_too_few_ids(self, name: str, ids: list[int], seed: int, more: int) -> None:
        """Not one id for each row."""
        given = np.array(ids, np.int64)
        vectors = some_vectors(seed, len(ids) + more, self.shape(name))
        refused = outcome(lambda: self.db.insert(name, vectors, given))
        assert refused is not None or not self.model.has_collection(name)

    @rule(name=names, ids=id_lists, seed=seeds, after=st.floats(0, 0.0015))
    def interrupted_insert(self, name: str, ids: list[int], seed: int, after: float) -> None:
        """Stored or not, never half; and whatever comes next works."""
        if (
            not self.model.has_collection(name)
            or self.model.definition(name).id_mode is IdMode.GENERATED
        ):
            return
        given, vectors = np.array(ids, np.int64), some_vectors(seed, len(ids), self.shape(name))
        ended = interrupted(lambda: self.db.insert(name, vectors, given), after)
        self.db.delete(name, np.array([NOBODY]))  # answered after whatever is under way
        stored = self.db.count(name) - self.model.count(name)
        assert stored == len(ids) or (ended and not stored)
        if stored:
            self.model.insert(name, vectors, given)

    @rule(name=names, ids=id_lists, tag=tags)
    def delete(self, name: str, ids: list[int], tag: str) -> None:
        self.both(lambda db: db.delete(name, np.array(ids, np.int64), tag))

    @rule(name=names, part=st.floats(0, 1), seed=seeds)
    def delete_part(self, name: str, part: float, seed: int) -> None:
        if self.model.has_collection(name):
            everything = np.concatenate(
                [rows.ids for rows in self.model.table(name).partitions.values()]
            )
            chosen = everything[np.random.default_rng(seed).random(len(everything)) < part]
            self.both(lambda db: db.delete(name, chosen))

    # what changes no answer

    @rule(name=names)
    def flush(self, name: str) -> None:
        self.both(lambda db: db.flush([name]))

    @rule(name=names)
    def compact(self, name: str) -> None:
        self.both(lambda db: db.compact(name))

    @rule(name=names, scope=patterns)
    def preload(self, name: str, scope: list[str]) -> None:
        if self.model.has_collection(name) and self._matches(name, scope):
            self.db.collection(name).preload(scope)

    @rule(name=names, scope=patterns)
    def release(self, name: str, scope: list[str]) -> None:
        if self.model.has_collection(name) and self._matches(name, scope):
            self.db.collection(name).release(scope)

    @rule()
    def reopen(self) -> None:
        self.db.close()
        self.db = self.opened()

    @rule()
    def crash(self) -> None:
        """Goes on with a copy of the open folder, as it would be found after kill -9."""
        old, new = self.folders(self.lives), self.folders(self.lives + 1)
        there = [each for each in zip(old, new, strict=True) if each[0].exists()]
        for source, target in there:
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("*-shm"))
        self.lose_catalog()
        self.db.close()
        for source, _ in there:
            shutil.rmtree(source)
        self.lives += 1
        self.db = self.opened()

    def lose_catalog(self) -> None:
        """For a catalog that is not in the folder: what is closed must not write to it any more."""

    # answers

    @rule(name=names, ids=id_lists, scope=patterns)
    def get(self, name: str, ids: list[int], scope: list[str]) -> None:
        if not self.model.has_collection(name):
            return
        wanted = np.array(ids, np.int64)
        self.both(lambda db: lookup(db, name, wanted, scope))
        if self._matches(name, scope):
            expected, _ = self.model.get(name, wanted, scope)
            found, vectors = lookup(self.db, name, wanted, scope)
            assert found.tolist() == expected.tolist()
            for row_id, vector in zip(wanted[found], vectors[found], strict=True):
                copies = self.model.copies(name, row_id, scope)
                assert (copies.view(np.uint8) == vector.view(np.uint8)).all(axis=1).any()  # NaN too
            assert not vectors[~found].any()

    @rule(
        name=names, k=st.sampled_from([1, 3, 10, 100]), nq=st.sampled_from([1, 3]), scope=patterns,
        seed=seeds,
        thought=thoughts,
    )  # fmt: skip
    def search(
        self, name: str, k: int, nq: int, scope: list[str], seed: int, thought: Shape | None
    ) -> None:
        query = Query(
            some_vectors(seed, nq, self.shape(name, thought)), k, {"nprobe": 8}, tuple(scope)
        )
        expected = outcome(lambda: self.model.search(name, query))
        self.both(lambda db: db.search(name, query))
        if expected is None:
            check_hits(self.model, name, query, self.db.search(name, query))

    @rule(name=names, ids=id_lists, k=st.sampled_from([1, 3, 10]), scope=patterns)
    def search_by_id(self, name: str, ids: list[int], k: int, scope: list[str]) -> None:
        """As a search with the vectors that the ids stand for."""
        wanted, params = np.array(ids, np.int64), {"nprobe": 8}
        stored = (
            self.model.has_collection(name) and outcome(lambda: self.db.get(name, wanted)) is None
        )
        if not stored or not self._matches(name, scope):
            return
        found, vectors = self.db.get(name, wanted)
        hits = self.db.search_by_id(name, wanted, k, params, scope)
        if hits.nq:
            assert (hits.ids[~found] == FILLER_ID).all()
            hits = Hits(hits.ids[found], hits.distances[found])
        if found.any():
            check_hits(self.model, name, Query(vectors[found], k, params, tuple(scope)), hits)

    @rule(name=names, k=st.sampled_from([1, 10, 100]), part=st.sampled_from([0, 0.3]), seed=seeds)
    def segments(self, name: str, k: int, part: float, seed: int) -> None:
        """When all is flushed the segments hold every row, and a search in all of them is a search
        of everything.
        """
        if not self.model.has_collection(name):
            return
        self.db.flush([name])
        self.delete_part(name, part, seed)
        named = [
            segment.name for part in self.db.stats(name).partitions for segment in part.segments
        ]
        listed = Counter(
            row_id for segment in named for row_id in self.db.segment_ids(name, segment).tolist()
        )
        rows = self.model.table(name).partitions.values()
        assert listed == Counter(row_id for part in rows for row_id in part.ids.tolist())
        if named:
            query = Query(some_vectors(seed, 2, self.shape(name)), k, {"nprobe": 8})
            everything, in_segments = (
                self.db.search(name, query),
                self.db.search(name, query, {int(s) for s in named}),
            )
            assert np.array_equal(everything.ids, in_segments.ids)
            assert np.array_equal(everything.distances, in_segments.distances)

    def _matches(self, name: str, scope: list[str]) -> bool:
        return outcome(lambda: self.model.table(name).matching(scope)) is None

    @invariant()
    def same_catalog(self) -> None:
        assert self.db.collections() == self.model.collections()
        for name in self.model.collections():
            assert self.db.partitions(name) == self.model.partitions(name)
            assert self.db.count(name) == self.model.count(name)
            assert self.db.definition(name).index == self.model.definition(name).index
            assert self.db.definition(name).id_mode == self.model.definition(name).id_mode
