"""The listener: counts and times what the engine and the doors tell of.

Searches and answers come by the thousand: they are put in a queue, and counted many at a time and
before anything is told, so a search pays for an entry in the queue. `docs/operations/monitoring.md`
has the figures. What waits holds numbers and names, no segment. Everything that can be read when
somebody asks is left to the collectors.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from prometheus_client.metrics_core import Metric

from milvine import events
from milvine.errors import ErrorCode
from milvine.events import Event
from milvine.events.server import AccessRefused, Answered, RequestFailed
from milvine.limits import MIB
from milvine.server.metrics.instruments import Counter, Gauge, Histogram, Instrument, Summary
from milvine.types import Scanned

SECONDS = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    120.0,
    600.0,
)
_SYNC_SECONDS = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    5.0,
)
_JOB_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
_GROUP_REQUESTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_GROUP_BYTES = (1 << 10, 1 << 14, 1 << 17, 1 << 20, 1 << 22, 1 << 24, 1 << 26, 1 << 28)
_OUTCOMES = (("success",), ("fail",))
_RAW, _INDEX = ("raw",), ("index",)
_GROUP_CALLS = {
    "CreateCollection": "add_group",
    "DescribeCollection": "get_group",
    "HasCollection": "has_group",
    "ShowCollectionInfo": "get_group_files",
}
_SEARCHES = frozenset(("Search", "SearchInFiles", "SearchByID"))

_WAITING_MAX = 256
_SCANS_WAITING_MAX = 128  # of one search; more are counted at once
_SIZES_MAX = 10_000

SizeOf = Callable[[str, Scanned], int]
"""(collection, scan) -> bytes of the files that were searched."""


class Tally:
    """`listen` is the listener, `collect` gives the families to a registry.

    `size_of` is asked when a scan is told of that is like none before, while its files are there.
    """

    def __init__(self, size_of: SizeOf) -> None:
        self._size_of = size_of
        self._lock = threading.Lock()
        # With when each was told.
        self._waiting: deque[tuple[float, events.Searched | Answered]] = deque()
        self._sizes: dict[Scanned, int] = {}
        self._all: list[Instrument] = []
        self._inserting()
        self._searching()
        self._storing()
        self._answering()
        self._takers: dict[type[Event], Callable[[Any], None]] = {
            events.Inserted: self._inserted,
            events.InsertFailed: self._insert_failed,
            events.GroupCommitted: self._group_committed,
            events.CatalogCommitted: self._catalog_committed,
            events.Flushed: self._flushed,
            events.Merged: self._merged,
            events.IndexBuilt: self._index_built,
            events.Loaded: self._loaded,
            events.LogFailed: lambda _: self.log_failures.add(),
            events.JobFailed: lambda _: self.job_failures.add(),
            events.IndexSetAside: lambda _: self.indexes_set_aside.add(),
            events.BuildGivenUp: lambda _: self.builds_given_up.add(),
            RequestFailed: lambda _: self.unforeseen.add(),
            AccessRefused: lambda event: self.strangers.add(1 + event.left_out),
            events.FilesRemoved: lambda event: self.files_removed.add(len(event.names)),
        }

    def listen(self, event: Event) -> None:
        if isinstance(event, (events.Searched, Answered)):
            self._waiting.append((time.monotonic(), event))
            if len(self._waiting) >= _WAITING_MAX or (
                isinstance(event, events.Searched) and self._is_news(event)
            ):
                with self._lock:
                    self._count_waiting()
        elif (take := self._takers.get(type(event))) is not None:
            with self._lock:
                take(event)

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            self._count_waiting()
            self._derive()
            return [instrument.family() for instrument in self._all]

    def _derive(self) -> None:
        """What follows from other numbers is not kept up with every search."""
        nq, micros = self.last_search
        self.query_speed.set(nq / micros)
        self.search_speed.set(bool(nq) / micros)
        for labels, sizes in self.scan_sizes.items():
            self.scan_bytes.set(sizes.sum(), labels)

    def _counter(self, *args: Any, **more: Any) -> Counter:
        made = Counter(*args, **more)
        self._all.append(made)
        return made

    def _gauge(self, *args: Any, **more: Any) -> Gauge:
        made = Gauge(*args, **more)
        self._all.append(made)
        return made

    def _histogram(
        self, name: str, text: str, bounds: Sequence[float], *args: Any, **more: Any
    ) -> Histogram:
        made = Histogram(name, text, bounds, *args, **more)
        self._all.append(made)
        return made

    def _summary(self, name: str, text: str) -> Summary:
        made = Summary(name, text)
        self._all.append(made)
        return made

    # what there is to count

    def _inserting(self) -> None:
        self.vectors = self._counter(
            "add_vectors_request_total", "Vectors inserted", ("outcome",), _OUTCOMES
        )
        self.batch = self._gauge(
            "add_vectors", "Vectors of the last insert", ("outcome",), _OUTCOMES
        )
        bounds = (0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.08, 0.1, 0.5, 1)
        self.vector_time = self._histogram(
            "add_vector_duration_microseconds",
            "Mean time per vector of an insert, counted once per vector",
            bounds,
        )
        self.insert_speed = self._gauge(
            "add_vectors_throughput_per_microsecond", "MiB of vectors per microsecond, last insert"
        )
        self.group_requests = self._histogram(
            "milvine_group_commit_requests",
            "Inserts and deletes that shared one sync of the log",
            _GROUP_REQUESTS,
        )
        self.group_bytes = self._histogram(
            "milvine_group_commit_bytes",
            "Bytes of vectors and ids that shared one sync of the log",
            _GROUP_BYTES,
        )
        self.append_time = self._histogram(
            "milvine_log_append_seconds",
            "Writing a group to the log, without its sync",
            _SYNC_SECONDS,
        )
        self.sync_time = self._histogram(
            "milvine_log_sync_seconds", "Syncing the log after a group", _SYNC_SECONDS
        )

    def _searching(self) -> None:
        kinds = (_RAW, _INDEX)
        self.searches = self._summary(
            "query_response_summary", "Microseconds per search, counted once per query"
        )
        self.per_query = self._summary(
            "query_vector_response_summary", "Microseconds per query of a search"
        )
        self.query_speed = self._gauge(
            "query_vector_response_per_microsecond", "Queries per microsecond, last search"
        )
        self.search_speed = self._gauge(
            "query_response_per_microsecond", "Searches per microsecond, last search"
        )
        self.scan_time = self._histogram(
            "search_data_duration_microseconds",
            "Searching one segment, or a run of small ones",
            (1e5, 2e5, 4e5, 6e5, 8e5),
            ("type",),
            kinds,
        )
        sizes = (1e9, 2e9, 4e9, 6e9, 8e9, 1e10)
        self.scan_sizes = {
            labels: self._histogram(
                f"search_{labels[0]}_files_bytes", f"Bytes of each {labels[0]} file", sizes
            )
            for labels in kinds
        }
        self.scan_bytes = self._counter(
            "search_file_size_total", "Bytes of files searched", ("type",), kinds
        )
        self.last_scan = self._gauge(
            "search_file_size_gauge", "Bytes of the last file searched", ("type",), kinds
        )
        self.scanned_rows = self._counter(
            "milvine_scanned_rows_total",
            "Rows in scope of scans: tail, exact, or by index type",
            ("kind",),
        )
        self.steps = self._counter(
            "milvine_search_step_seconds_total", "Where searches spend their time", ("step",)
        )
        self.last_search = 0, 1.0  # queries, microseconds

    def _storing(self) -> None:
        merge_bounds = (5e4, 1e5, 2e5, 4e5, 6e5, 8e5, 1e6)
        self.merge_time = self._histogram(
            "mem_table_merge_duration_microseconds", "Merging segments", merge_bounds
        )
        self.store_speed = self._gauge(
            "disk_store_IO_speed_bytes_per_microseconds", "Writing, last flush"
        )
        self.meta_calls = self._counter("meta_access_total", "Transactions of the catalog")
        meta_bounds = (100, 300, 500, 700, 900, 2000, 4000, 6000, 8000, 20000)
        self.meta_time = self._histogram(
            "meta_access_duration_microseconds", "One of them, with its sync", meta_bounds
        )
        build_bounds = (5e5, 2e6, 4e6, 6e6, 8e6, 1e7)
        self.build_time = self._histogram(
            "build_index_duration_microseconds", "Building the index of one segment", build_bounds
        )
        self.builds_time = self._histogram(
            "all_build_index_duration_microseconds", "create_index calls", (2e6, 4e6, 6e6, 8e6, 1e7)
        )
        disk, start = ("DB",), (("Faiss",),)
        self.load_time = self._histogram(
            "disk_load_duration_microseconds",
            "Preloading one segment",
            (2e5, 4e5, 6e5, 8e5),
            disk,
            start,
        )
        self.load_size = self._histogram(
            "disk_load_size_bytes",
            "Bytes of segments preloaded",
            (1e9, 2e9, 4e9, 6e9, 8e9),
            disk,
            start,
        )
        self.load_speed = self._gauge(
            "disk_load_IO_speed_byte_per_microsec", "Reading, last preload", disk, start
        )
        self.flush_time = self._histogram(
            "milvine_flush_seconds", "Writing the segments of a flush", _JOB_SECONDS
        )
        self.flushed_rows = self._counter(
            "milvine_flushed_rows_total", "Rows written to segments by flushes"
        )
        self.flushed_bytes = self._counter(
            "milvine_flushed_bytes_total", "Bytes written to segments by flushes"
        )
        self.merge_seconds = self._histogram(
            "milvine_merge_seconds", "Merging or compacting segments", _JOB_SECONDS
        )
        self.merged_rows = self._counter(
            "milvine_merged_rows_total", "Rows written by merges and compactions"
        )
        self.build_seconds = self._histogram(
            "milvine_index_build_seconds",
            "Building the index of one segment",
            _JOB_SECONDS,
            ("index_type",),
        )
        self.built_rows = self._counter(
            "milvine_index_built_rows_total", "Rows that got an index", ("index_type",)
        )
        self.log_failures = self._counter(
            "milvine_log_failures_total", "Groups that the log could not take"
        )
        self.job_failures = self._counter(
            "milvine_job_failures_total", "Background jobs that failed"
        )
        self.indexes_set_aside = self._counter(
            "milvine_indexes_set_aside_total", "Damaged index files, built anew"
        )
        self.builds_given_up = self._counter(
            "milvine_builds_given_up_total", "Indexes that failed time and again"
        )
        self.files_removed = self._counter(
            "milvine_files_removed_total", "Files that no version needed any more"
        )

    def _answering(self) -> None:
        self.answers = self._histogram(
            "milvine_request_seconds", "Answering, by operation", SECONDS, ("rpc",)
        )
        self.request_bytes = self._counter(
            "milvine_request_bytes_total", "Bytes of requests", ("rpc",)
        )
        self.errors = self._counter(
            "milvine_request_errors_total", "Requests refused or failed", ("rpc", "code")
        )
        self.refused = self._counter(
            "milvine_requests_refused_total",
            "Requests that did not fit beside those in flight, or in memory",
        )
        self.unforeseen = self._counter(
            "milvine_unforeseen_errors_total", "Requests that met an unforeseen error"
        )
        self.strangers = self._counter(
            "milvine_access_refused_total", "Requests without a right to what they asked"
        )
        self.search_calls = self._counter(
            "search_request_total", "Searches asked for", ("outcome",), _OUTCOMES
        )
        self.search_time = self._histogram(
            "search_request_duration_microsecond", "Answering a search", (0.1, 1, 10)
        )
        self.group_calls = {
            rpc: self._counter(f"{name}_request_total", f"{rpc} calls", ("outcome",), _OUTCOMES)
            for rpc, name in _GROUP_CALLS.items()
        }

    # events; the lock is held

    def _count_waiting(self) -> None:
        searched: list[tuple[float, events.Searched]] = []
        answered: dict[tuple[str, int], list[Answered]] = {}
        for _ in range(len(self._waiting)):  # those that come meanwhile wait
            when, event = self._waiting.popleft()
            if isinstance(event, events.Searched):
                searched.append((when, event))
            else:
                answered.setdefault((event.rpc, event.code), []).append(event)
        for (rpc, code), these in answered.items():
            self._answered(
                rpc, code, [event.seconds for event in these], sum(event.size for event in these)
            )
        if searched:
            self._searched(searched)

    def _is_news(self, event: events.Searched) -> bool:
        """Whether the files of a scan have to be looked at, or there is much to keep until it is
        counted.
        """
        scans = event.watched.scans
        if len(scans) > _SCANS_WAITING_MAX:
            return True
        return any(scanned.segments and scanned not in self._sizes for scanned, _, _ in scans)

    def _answered(self, rpc: str, code: int, seconds: Sequence[float], size: int) -> None:
        """Of as many calls as there are `seconds`, that all ended alike."""
        count, outcome = len(seconds), ("fail",) if code else ("success",)
        self.answers.observe_all(seconds, (rpc,))
        self.request_bytes.add(size, (rpc,))
        if code:
            self.errors.add(count, (rpc, ErrorCode(code).name))
            self.refused.add(count * (code == ErrorCode.OUT_OF_MEMORY))
        if rpc in _SEARCHES:
            self.search_calls.add(count, outcome)
            self.search_time.observe_all([each * 1e6 for each in seconds])
        elif rpc in self.group_calls:
            self.group_calls[rpc].add(count, outcome)
        elif rpc == "CreateIndex" and not code:
            self.builds_time.observe_all([each * 1e6 for each in seconds])

    def _inserted(self, event: events.Inserted) -> None:
        micros, rows = max(event.seconds * 1e6, 1e-3), event.rows
        self.vectors.add(rows, ("success",))
        self.batch.set(rows, ("success",))
        if rows:
            self.vector_time.observe(micros / rows, rows)
        self.insert_speed.set(event.size / MIB / micros)

    def _insert_failed(self, event: events.InsertFailed) -> None:
        self.vectors.add(event.rows, ("fail",))
        self.batch.set(event.rows, ("fail",))

    def _searched(self, searched: Sequence[tuple[float, events.Searched]]) -> None:
        scans: dict[tuple[str, Scanned], list[float]] = {}
        plan = scan = reduce = 0.0
        for when, event in searched:
            nq, watched = event.nq, event.watched
            if nq:
                micros = max(event.seconds * 1e6, 1e-3)
                self.searches.observe(micros, nq, when)
                self.per_query.observe(micros / nq, nq, when)
                self.last_search = nq, micros
            plan += watched.plan_seconds
            scan += watched.scan_seconds
            reduce += watched.reduce_seconds
            for scanned, began, ended in watched.scans:
                key = event.collection, scanned
                seconds = scans[key] = scans.pop(key, [])  # the last scanned comes last
                seconds.append(ended - began)
        for step, all_of_them in (("plan", plan), ("scan", scan), ("reduce", reduce)):
            self.steps.add(all_of_them, (step,))
        for (collection, scanned), each in scans.items():
            self._scanned(collection, scanned, each)

    def _scanned(self, collection: str, scanned: Scanned, seconds: Sequence[float]) -> None:
        """By as many scans as there are `seconds`."""
        count = len(seconds)
        self.scanned_rows.add(scanned.rows * count, (scanned.kind,))
        if scanned.kind == "tail":  # unflushed rows are in no file
            return
        labels = _RAW if scanned.kind == "exact" else _INDEX
        size = self._sizes.get(scanned)
        if size is None:
            if len(self._sizes) >= _SIZES_MAX:
                self._sizes.clear()
            size = self._sizes[scanned] = self._size_of(collection, scanned)
        self.scan_time.observe_all([each * 1e6 for each in seconds], labels)
        self.scan_sizes[labels].observe(size, count)
        self.last_scan.set(size, labels)

    def _group_committed(self, event: events.GroupCommitted) -> None:
        self.group_requests.observe(event.requests)
        self.group_bytes.observe(event.size)
        self.append_time.observe(event.seconds - event.sync_seconds)
        self.sync_time.observe(event.sync_seconds)

    def _catalog_committed(self, event: events.CatalogCommitted) -> None:
        self.meta_calls.add()
        self.meta_time.observe(event.seconds * 1e6)

    def _flushed(self, event: events.Flushed) -> None:
        self.flush_time.observe(event.seconds)
        self.flushed_rows.add(event.rows)
        self.flushed_bytes.add(event.size)
        self.store_speed.set(event.size / max(event.seconds * 1e6, 1.0))

    def _merged(self, event: events.Merged) -> None:
        self.merge_time.observe(event.seconds * 1e6)
        self.merge_seconds.observe(event.seconds)
        self.merged_rows.add(event.rows)

    def _index_built(self, event: events.IndexBuilt) -> None:
        self.build_time.observe(event.seconds * 1e6)
        self.build_seconds.observe(event.seconds, 1, (event.index_type,))
        self.built_rows.add(event.rows, (event.index_type,))

    def _loaded(self, event: events.Loaded) -> None:
        micros, labels = event.seconds * 1e6, ("Faiss",)
        self.load_time.observe(micros, 1, labels)
        self.load_size.observe(event.size, 1, labels)
        self.load_speed.set(event.size / max(micros, 1.0), labels)
