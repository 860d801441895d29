"""One collection of an open database: its rows, partitions and index. Every check on what it is
given stands here or below, whoever calls.
"""

from __future__ import annotations

import time
from collections.abc import Sequence, Set

import numpy as np
from numpy.typing import NDArray

from milvine.engine import ddl, indexing
from milvine.engine.lifecycle import Lifecycle
from milvine.engine.recall import (
    HITS_ASKED,
    RECALL_ASKED,
    CollectionRecall,
    collection_recall,
)
from milvine.engine.segments import preload, release, segment_ids
from milvine.engine.sharing import Found
from milvine.engine.stats import CollectionStats, collection_stats
from milvine.errors import (
    CollectionNotFound,
    DatabaseClosed,
    IllegalPartition,
    MilvineError,
    PartitionNotFound,
)
from milvine.events import Inserted, InsertFailed, Searched
from milvine.ingest.requests import delete_request, insert_request
from milvine.memory_plan import MemoryPlan
from milvine.search.check import check_params, check_topk, whole_topk
from milvine.search.fetch import fetch
from milvine.search.prepared import PreparedSearch, check_vectors, prepare
from milvine.search.reduce import fillers
from milvine.search.stopwatch import Stopwatch
from milvine.segment.version import Version
from milvine.state.collection import CollectionState
from milvine.types import Collection, Hits, Ids, IndexSetting, Query, SearchSteps, Vectors

EVERYWHERE: frozenset[int] = frozenset()
"""No segments in particular."""


class OpenCollection:
    """A collection of a `Database`, which makes it. Thread-safe.

    It stays with the collection that had the name when it was asked for: what is made anew under
    the name later is another one.

    Every method raises DatabaseClosed after the database was closed, and CollectionNotFound after
    the collection was dropped. Those that change something raise ReadOnly when the folder was
    opened read-only, StorageFailed when the disk refuses.
    """

    __slots__ = ("_database", "_id", "_state")

    def __init__(self, database: Lifecycle, state: CollectionState) -> None:
        self._database, self._state, self._id = database, state, state.id

    @property
    def state(self) -> CollectionState:
        """The writer's picture of it, for jobs and tests."""
        database = self._database
        if database.closed:
            raise DatabaseClosed(database.closed)
        state = self._state
        if database.stores.states.get(self._id) is not state:
            self._state = state = self._now()
        return state

    def _now(self) -> CollectionState:
        """A database that follows another process makes it anew when it changes. In a folder that
        took the place of the one of before, another collection may have its number.
        """
        state, name = self._database.stores.states.get(self._id), self._state.collection.name
        if state is None or state.collection.name != name:
            raise CollectionNotFound.named(name)
        return state

    @property
    def definition(self) -> Collection:
        """What the catalog says of it now; `.index` is its index setting."""
        return self.pin().collection

    @property
    def memory(self) -> MemoryPlan:
        """What each part of its database may hold."""
        return self._database.memory

    def pin(self) -> Version:
        """The version that is current now, for a reader: everything it does then is about the same
        rows and the same definition.
        """
        state = self.state
        version = state.version
        if state.dropped:  # which is set before the empty version is published
            raise CollectionNotFound.named(version.collection.name)
        return version

    def count(self) -> int:
        """Live rows, flushed or not."""
        return self.pin().live_rows()

    def stats(self) -> CollectionStats:
        return collection_stats(self.pin())

    def drop(self) -> None:
        """Rows, partitions and indexes are gone at once; files follow after the grace period."""
        ddl.drop_collection(self._database.writable(), self.state)

    # partitions

    def create_partition(self, tag: str) -> None:
        """Raises IllegalPartition: the tag exists, is none, or there are too many."""
        ddl.create_partition(self._database.writable(), self.state, tag)

    def drop_partition(self, tag: str) -> None:
        """Raises PartitionNotFound, DefaultPartitionDrop."""
        ddl.drop_partition(self._database.writable(), self.state, tag)

    def has_partition(self, tag: str) -> bool:
        return self.pin().partition(tag) is not None

    def partitions(self) -> list[str]:
        """All tags, `_default` first, then in creation order."""
        return [partition.tag for partition in self.pin().partitions]

    # index

    def create_index(self, index: IndexSetting) -> None:
        """Returns when every segment of 4096 rows or more is built.

        Raises:
            IllegalIndexType, IllegalArgument, IllegalDimension: it does not fit the collection.
            BuildFailed: rows of the failed segment are searched exactly.
        """
        database = self._database
        indexing.create_index(database.writable(), self.state, index, database.parts.builders)

    def drop_index(self) -> None:
        """Back to FLAT."""
        indexing.store_setting(self._database.writable(), self.state, IndexSetting())
        self._database.wake()

    # rows

    def insert(self, vectors: Vectors, ids: Ids | None, tag: str = "", key: str = "") -> Ids:
        """Store rows; returns their ids, (n,) int64, once they are durable and visible.

        Args:
            vectors: (n, width), float32 or uint8 by metric, C-contiguous; must not be changed
                afterwards.
            ids: (n,) int64, or None to have them generated.
            tag: of the partition; empty for the default one.
            key: an idempotency key, any text. Of the last 10,000 keyed inserts of the collection,
                one that comes again stores nothing and is answered as the first.

        Raises:
            IllegalVectorId: the collection's ids are given the other way, or these are not one for
                each row.
            IllegalDimension, IllegalRowRecord: the vectors are not of this collection, or there are
                none.
            PartitionNotFound: no such tag.
            IllegalArgument: the key is that of an insert with another number of rows or other ids.
        """
        began = time.perf_counter()
        database = self._database
        stores = database.writable()
        refuse = stores.settings.refuse_nonfinite
        request = insert_request(self.state, vectors, ids, tag, key, refuse)
        if database.back_pressure.relieve():
            database.wake()
        name, events = request.state.collection.name, stores.events
        try:
            stored: Ids = stores.writer.submit(request).result()
        except MilvineError:
            events.emit(InsertFailed(name, len(vectors)))
            raise
        if events.busy:
            took = time.perf_counter() - began
            events.emit(Inserted(name, len(stored), request.bytes, took))
        return stored

    def delete(self, ids: Ids, tag: str = "") -> None:
        """Delete every row with one of `ids` (n,) int64; unknown ones and an unknown tag are no
        error (3.11).

        Raises:
            IllegalVectorId: these are no ids.
        """
        stores = self._database.writable()
        stores.writer.submit(delete_request(self.state, ids, tag)).result()

    def get(self, ids: Ids, tags: Sequence[str] = ()) -> tuple[NDArray[np.bool_], Vectors]:
        """Which ids are stored (n,), and their vectors (n, width), zeros where missing.

        Raises:
            PartitionNotFound, NothingStored.
        """
        return fetch(self.pin(), ids, tags)

    def segment_ids(self, segment: str) -> Ids:
        """Ids of the live rows of a segment, named as the statistics name it, in insertion order,
        (rows,) int64.

        Raises:
            SegmentNotFound: no such segment, or one of another collection.
        """
        return segment_ids(self._database.stores, self.pin(), segment)

    def recall(self, recall: float = RECALL_ASKED, topk: int = HITS_ASKED) -> CollectionRecall:
        """How much its indexes find, and what they take for a recall at topk; see
        `milvine.engine.recall.collection_recall`.
        """
        return collection_recall(self.pin(), recall, topk)

    # searches

    def prepare(
        self,
        k: int,
        params: object = None,
        tags: Sequence[str] = (),
        segments: Set[int] = EVERYWHERE,
    ) -> PreparedSearch:
        """A search of what the collection holds now, checked and planned, for `find`; see
        `milvine.search.prepared.prepare`.

        It is about the same rows and the same definition for as long as it is held, and keeps their
        files; but where it is `shared`, `find` of one query is of what the collection holds when
        the pass begins that it takes part in, which is this or newer. For the next search, ask for
        another: that of before is kept where nothing changed.
        """
        return prepare(self.pin(), k, params, tags, segments)

    def find(self, prepared: PreparedSearch, vectors: Vectors) -> Hits:
        """The rows nearest to each of the `vectors`, as `search`; `prepared` is by `prepare` of
        this collection.

        Raises:
            IllegalDimension: the vectors are not (nq, width) of the collection's dtype,
                C-contiguous.
            CorruptFile, StorageFailed: a segment cannot be read.
            Whatever `prepare` raises, where it is shared.
        """
        if self._database.closed:
            raise DatabaseClosed(self._database.closed)
        if prepared.shared and len(vectors) == 1:
            return self._found_shared(prepared, vectors)
        database = self._database
        watch = Stopwatch() if database.stores.events.busy else None
        hits = prepared.search(vectors, database.executor, watch)
        if watch is not None or database.sampler is not None:
            self._tell(Found(prepared, hits, watch), vectors)
        return hits

    def search(
        self,
        vectors: Vectors,
        k: int,
        params: object = None,
        tags: Sequence[str] = (),
        segments: Set[int] = EVERYWHERE,
    ) -> Hits:
        """The k nearest live rows of each query, of the whole collection or of the partitions that
        `tags` match, or of some `segments` by id if any are given.

        Args:
            vectors: (nq, width), float32 or uint8 by metric, C-contiguous. A query with NaN or
                infinity finds nothing.
            k: 1 to 16384.
            params: search parameters by name, or None.

        Returns:
            Hits min(k, live rows + 1) wide, nearest first, equal distances by id, fillers last;
            L2 distances are squared. No rows at all when nothing is stored in scope
            (specification 3.13).

        Raises:
            IllegalTopk, IllegalArgument, IllegalDimension: the search does not fit the collection.
            PartitionNotFound, IllegalPartition: no partition matches, or a tag is no pattern.
            SegmentNotFound: the collection has none of the segments.
            CorruptFile, StorageFailed: a segment cannot be read.
        """
        try:
            prepared = self.prepare(k, params, tags, segments)
        except (PartitionNotFound, IllegalPartition):  # 1.x looks at the vectors first
            check_vectors(vectors, self.definition)
            raise
        return self.find(prepared, vectors)

    def explain(self, prepared: PreparedSearch, vectors: Vectors) -> SearchSteps:
        """Search as `find` does, and tell what was done instead of what was found. Raises whatever
        `find` raises.
        """
        if self._database.closed:
            raise DatabaseClosed(self._database.closed)
        watch = Stopwatch()
        prepared.search(vectors, self._database.executor, watch)
        return watch.watched(prepared.params).steps()

    def search_by_id(
        self, ids: Ids, k: int, params: object = None, tags: Sequence[str] = ()
    ) -> Hits:
        """The k nearest live rows to each of the rows that `ids` (n,) name, which are looked up in
        the whole collection.

        Shaped as by `search`; the row of an id that is not stored is all fillers
        (specification 3.15).

        Raises:
            NothingStored: the collection is empty. And whatever `search` raises.
        """
        watch = Stopwatch() if self._database.stores.events.busy else None
        version = self.pin()
        check_topk(k if type(k) is int else whole_topk(k))
        check_params(params, k, version.collection)
        stored, vectors = fetch(version, ids, ())
        prepared = prepare(version, k, params, tags)
        hits = prepared.search(vectors[stored], self._database.executor, watch)
        width = hits.ids.shape[1]
        answer = fillers(len(ids) if width else 0, width)
        if width:
            answer.ids[stored], answer.distances[stored] = hits.ids, hits.distances
        if watch is not None:
            self._tell_watched(prepared, len(ids), watch)
        return answer

    def _found_shared(self, prepared: PreparedSearch, vectors: Vectors) -> Hits:
        """By a pass that this search may share with others."""
        check_vectors(vectors, prepared.collection)
        query = Query(vectors, prepared.k, prepared.params, prepared.tags)
        found = self._database.shared.search(self._state, query, self._find)
        self._tell(found, vectors)
        return found.hits

    def _find(self, query: Query) -> Found:
        """A search of the version that is current when it is called."""
        watch = Stopwatch() if self._database.stores.events.busy else None
        prepared = self.prepare(query.k, query.params, query.tags)
        hits = prepared.search(query.vectors, self._database.executor, watch)
        return Found(prepared, hits, watch)

    def _tell(self, found: Found, vectors: Vectors) -> None:
        """A search ended well."""
        if found.watch is not None:
            self._tell_watched(found.prepared, len(vectors), found.watch)
        sampler = self._database.sampler
        if sampler is not None and not found.prepared.by_segment:
            sampler(found.prepared, vectors, found.hits)

    def _tell_watched(self, prepared: PreparedSearch, nq: int, watch: Stopwatch) -> None:
        name, watched = prepared.collection.name, watch.watched(prepared.params)
        event = Searched(name, nq, prepared.k, watch.seconds, watched)
        self._database.stores.events.emit(event)

    # files

    def preload(self, tags: Sequence[str] = (), whole: bool = False) -> None:
        """Read its segments, or those of the partitions that `tags` match, into memory and check
        them.

        Raises:
            PartitionNotFound, CorruptFile: no partition matches; names file and offset.
            CacheFull: with `whole`; else what has no room in `cache.cache_size` is left out, which
                is told.
        """
        preload(self._database.stores, self.pin(), tags, whole)

    def release(self, tags: Sequence[str] = ()) -> None:
        """Let go of the files and indexes in memory; searches open them again.

        Raises:
            PartitionNotFound: no partition matches.
        """
        release(self._database.stores, self.pin(), tags)

    def compact(self) -> None:
        """Rewrite segments of which a tenth or more is deleted."""
        indexing.compact(self._database.writable(), self.state)
