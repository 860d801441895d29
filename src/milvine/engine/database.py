"""The facade: open a folder, then one short method per operation. Thread-safe."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence, Set
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from milvine.config import Settings
from milvine.engine import ddl, indexing
from milvine.engine.back_pressure import InsertBackPressure
from milvine.engine.lifecycle import Lifecycle
from milvine.engine.opening import Opening, close_parts, open_parts
from milvine.engine.rows import delete, insert, insert_request
from milvine.engine.segments import preload, release, segment_ids
from milvine.engine.sharing import Found, SharedScans, pays
from milvine.engine.stats import CollectionStats, collection_stats
from milvine.errors import CollectionNotFound, DatabaseClosed
from milvine.events import Events, Searched
from milvine.ingest.state import CollectionState
from milvine.maintenance.flush import flush
from milvine.memory_plan import MemoryPlan
from milvine.search.fetch import fetch
from milvine.search.run import search, search_by_id
from milvine.search.stopwatch import Stopwatch
from milvine.segment.version import Version
from milvine.types import (
    Collection,
    Hits,
    Ids,
    IndexSetting,
    MetricType,
    Query,
    SearchSteps,
    Vectors,
)

if TYPE_CHECKING:
    from milvine.offline.manifest import Manifest

SearchSampler = Callable[[Version, Query, Hits], None]


class Database(Lifecycle):
    """One data folder. What would be logged or kept is checked here, whoever checked it before.

    Every method raises DatabaseClosed after `close`, and those that take a collection name
    CollectionNotFound. Those that change something raise ReadOnly when the folder was opened
    read-only, StorageFailed when the disk refuses.
    """

    def __init__(self, parts: Opening, settings: Settings) -> None:
        super().__init__(parts, settings)
        self._shared = SharedScans(self._find, settings.search_threads)
        self._sampler: SearchSampler | None = None
        self._back_pressure = InsertBackPressure(parts.stores)

    @classmethod
    def open(
        cls,
        folder: str | Path,
        settings: Settings | None = None,
        events: Events | None = None,
        read_only: bool = False,
        memory: MemoryPlan | None = None,
    ) -> Database:
        """Open the database in `folder`, creating it if need be, and recover what a crash left in
        the log.

        With `read_only` nothing is created or locked: what is flushed can be read while another
        process writes, and is followed every second. `memory` is a plan for `settings`; None: that
        of this process.

        Raises:
            DataFolderLocked: another process has it open.
            UnsupportedFormat: a newer Milvine wrote it.
            CorruptFile: an acknowledged record or a file is damaged; file and offset are named.
            StorageFailed: it cannot be created or read.
        """
        settings, events = settings or Settings(), Events() if events is None else events
        parts = open_parts(Path(folder).absolute(), settings, events, read_only, memory)
        try:
            return cls(parts, settings)
        except BaseException:
            close_parts(parts)
            raise

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # collections

    def create_collection(
        self, name: str, dimension: int, index_file_size_mb: int, metric: MetricType
    ) -> None:
        """Raises CollectionExists; IllegalCollectionName, IllegalDimension, IllegalArgument,
        IllegalMetricType: a value that no collection has. With `index_file_size_mb` 0 segments are
        never merged."""
        ddl.create_collection(self._writable(), name, dimension, index_file_size_mb, metric)

    def drop_collection(self, name: str) -> None:
        """Rows, partitions and indexes are gone at once; files follow after the grace period."""
        ddl.drop_collection(self._writable(), self._state(name))

    def has_collection(self, name: str) -> bool:
        self._check_open()
        return name in self.stores.names

    def collection(self, name: str) -> Collection:
        """What the catalog says of a collection; `.index` is its index setting."""
        return self._state(name).pin().collection

    def collections(self) -> list[str]:
        """All names, in creation order."""
        self._check_open()
        return list(self.stores.names)

    def pin(self, name: str) -> Version:
        """What a collection holds now: reads of it are about the same rows and the same
        definition.
        """
        return self._state(name).pin()

    def count(self, name: str) -> int:
        """Live rows, flushed or not."""
        return self._state(name).pin().live_rows()

    def stats(self, name: str) -> CollectionStats:
        return collection_stats(self.pin(name))

    # partitions

    def create_partition(self, name: str, tag: str) -> None:
        """Raises IllegalPartition: the tag exists, is none, or there are too many."""
        ddl.create_partition(self._writable(), self._state(name), tag)

    def drop_partition(self, name: str, tag: str) -> None:
        """Raises PartitionNotFound, DefaultPartitionDrop."""
        ddl.drop_partition(self._writable(), self._state(name), tag)

    def has_partition(self, name: str, tag: str) -> bool:
        return self.pin(name).partition(tag) is not None

    def partitions(self, name: str) -> list[str]:
        """All tags, `_default` first, then in creation order."""
        return [partition.tag for partition in self.pin(name).partitions]

    # indexes

    def create_index(self, name: str, index: IndexSetting) -> None:
        """Returns when every segment of 4096 rows or more is built.

        Raises:
            BuildFailed: rows of the failed segment are searched exactly.
        """
        indexing.create_index(self._writable(), self._state(name), index, self._parts.builders)

    def drop_index(self, name: str) -> None:
        """Back to FLAT."""
        indexing.store_setting(self._writable(), self._state(name), IndexSetting())
        self._wake()

    # rows

    def insert(
        self, name: str, vectors: Vectors, ids: Ids | None, tag: str = "", key: str = ""
    ) -> Ids:
        """Store rows; returns their ids, (n,) int64, once they are durable and visible.

        Args:
            vectors: (n, width), float32 or uint8 by metric, C-contiguous; must not be changed
                afterwards.
            ids: (n,) int64, or None to have them generated.
            key: an idempotency key, any text. Of the last 10,000 keyed inserts of the collection,
                one that comes
                again stores nothing and is answered as the first.

        Raises:
            IllegalVectorId: the collection's ids are given the other way, or these are not one for
                each row.
            IllegalDimension, IllegalRowRecord: the vectors are not of this collection, or there are
                none.
            PartitionNotFound: no such tag.
            IllegalArgument: the key is that of an insert with another number of rows or other ids.
        """
        began = time.perf_counter()
        stores, state = self._writable(), self._state(name)
        request = insert_request(stores, state, vectors, ids, tag, key)
        if self._back_pressure.relieve():
            self._wake()
        return insert(stores, request, began)

    def delete(self, name: str, ids: Ids, tag: str = "") -> None:
        """Delete every row with one of `ids` (n,) int64; unknown ones and an unknown tag are no
        error (3.11).

        Raises:
            IllegalVectorId: these are no ids.
        """
        delete(self._writable(), self._state(name), ids, tag)

    def get(
        self, name: str, ids: Ids, tags: Sequence[str] = ()
    ) -> tuple[NDArray[np.bool_], Vectors]:
        """Which ids are stored (n,), and their vectors (n, width), zeros where missing.

        Raises:
            PartitionNotFound, NothingStored.
        """
        return fetch(self.pin(name), ids, tags)

    def segment_ids(self, name: str, segment: str) -> Ids:
        """Ids of the live rows of a segment, named as the statistics name it, in insertion order,
        (rows,) int64.

        Raises:
            SegmentNotFound: no such segment, or one of another collection.
        """
        return segment_ids(self.stores, self._state(name), segment)

    def search(self, name: str, query: Query, segments: Set[int] = frozenset()) -> Hits:
        """The nearest rows, of some `segments` by id if any are given; see `milvine.search.run`.

        Raises:
            IllegalTopk, IllegalArgument, IllegalDimension: the query does not fit the collection.
            PartitionNotFound: no partition matches.
            SegmentNotFound: the collection has none of the segments.
        """
        state = self._state(name)
        shares = not segments and pays(state, query)
        found = self._shared.search(state, query) if shares else self._find(state, query, segments)
        if watch := found.watch:
            event = Searched(
                name, len(query.vectors), query.k, watch.seconds, watch.watched(query.params)
            )
            self.stores.events.emit(event)
        if self._sampler and not segments:
            self._sampler(found.version, query, found.hits)
        return found.hits

    def _find(
        self, state: CollectionState, query: Query, segments: Set[int] = frozenset()
    ) -> Found:
        self._check_open()
        version, watch = state.pin(), Stopwatch() if self.stores.events else None
        return Found(version, search(version, query, self._executor, segments, watch), watch)

    def watch_searches(self, sampler: SearchSampler) -> None:
        """`sampler` gets every search that ends well: the version it read, the query, the answer.

        It is called on the thread that searches and must neither raise nor wait; what it keeps
        stays in memory.
        """
        self._sampler = sampler

    def explain(self, name: str, query: Query, segments: Set[int] = frozenset()) -> SearchSteps:
        """Search, and tell what was done instead of what was found. Raises whatever `search`
        raises.
        """
        watch = Stopwatch()
        search(self.pin(name), query, self._executor, segments, watch)
        return watch.watched(query.params).steps()

    def search_by_id(
        self, name: str, ids: Ids, k: int, params: Mapping[str, Any], tags: Sequence[str] = ()
    ) -> Hits:
        """The rows nearest to the rows `ids` (n,); see `milvine.search.run`.

        Raises:
            NothingStored, and whatever `search` raises.
        """
        watch = Stopwatch() if self.stores.events else None
        hits = search_by_id(self.pin(name), ids, k, params, tags, self._executor, watch)
        if watch:
            self.stores.events.emit(
                Searched(name, len(ids), k, watch.seconds, watch.watched(params))
            )
        return hits

    def flush(self, names: Sequence[str] | None = None) -> None:
        """Write everything acknowledged before the call to segments; all collections when `names`
        is empty.

        Raises:
            StorageFailed, CorruptFile: one could not be flushed; the others are.
        """
        stores = self._writable()
        states = [self._state(name) for name in names or ()] or list(stores.states.values())
        flush(stores, *dict.fromkeys(states))
        self._wake()

    def preload(self, name: str, tags: Sequence[str] = (), whole: bool = False) -> None:
        """Read the segments of a collection, or of the partitions that `tags` match, into memory
        and check them.

        Raises:
            PartitionNotFound, CorruptFile: no partition matches; names file and offset.
            CacheFull: with `whole`; else what has no room in `cache.cache_size` is left out, which
                is told.
        """
        preload(self.stores, self.pin(name), tags, whole)

    def release(self, name: str, tags: Sequence[str] = ()) -> None:
        """Let go of the files and indexes in memory; searches open them again.

        Raises:
            PartitionNotFound: no partition matches.
        """
        release(self.stores, self.pin(name), tags)

    def backup(self, destination: str | Path, link: bool = False, indexes: bool = True) -> Manifest:
        """Make a backup as a new folder in `destination`, with all that was acknowledged before;
        others go on.

        See `milvine.offline.backup`.

        Raises:
            StorageFailed: the disk refuses; no backup remains. FolderGone: as `check_place`.
            CorruptFile: a file of the database is damaged; no backup remains.
        """
        self.check_place()
        folder, uri = self._parts.folder, self.stores.settings.meta_uri
        # Imported here: it is a part of the time that a program takes to open a database.
        backup: Callable[..., Manifest] = import_module("milvine.offline.backup").backup
        return backup(folder.root, Path(destination).absolute(), link, indexes, uri, folder.wal)

    def compact(self, name: str) -> None:
        """Rewrite segments of which a tenth or more is deleted."""
        indexing.compact(self._writable(), self._state(name))

    def _state(self, name: str) -> CollectionState:
        if self._closed:
            raise DatabaseClosed(self._closed)
        state = self.stores.names.get(name)
        if state is None:
            raise CollectionNotFound.named(name)
        return state
