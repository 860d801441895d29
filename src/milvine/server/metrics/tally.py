"""The listener: counts and times what the engine and the doors tell of.

Searches and answers come by the thousand: they are put in a queue, and counted many at a time and
before anything is told, so a search pays for an entry in the queue. `docs/operations/monitoring.md`
has the figures. What waits holds numbers and names, no segment. What storing does is counted in
`storage.py`; everything that can be read when somebody asks is left to the collectors.
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
from milvine.server.metrics.instruments import Instruments
from milvine.server.metrics.storage import StorageTally
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

_SCANS_WAITING_MAX = 128  # of one search; more are counted at once
_SIZES_MAX = 10_000

SizeOf = Callable[[str, Scanned], int]
"""(collection, scan) -> bytes of the files that were searched."""


class Tally:
    """`listen` is the listener, `collect` gives the families to a registry.

    `size_of` is asked when a scan is told of that is like none before, while its files are there.
    Fewer than `waiting_max` searches and answers wait to be counted.
    """

    def __init__(self, size_of: SizeOf, waiting_max: int = 256) -> None:
        self._size_of, self._waiting_max = size_of, waiting_max
        self._lock = threading.Lock()
        # Each with the time at which it was told.
        self._waiting: deque[tuple[float, events.Searched | Answered]] = deque()
        self._sizes: dict[Scanned, int] = {}
        self._made = made = Instruments()
        self._inserting(made)
        self._searching(made)
        self._storage = StorageTally(made)
        self._answering(made)
        self._takers: dict[type[Event], Callable[[Any], None]] = {
            events.Inserted: self._inserted,
            events.InsertFailed: self._insert_failed,
            events.GroupCommitted: self._group_committed,
            RequestFailed: lambda _: self.unforeseen.add(),
            AccessRefused: lambda event: self.strangers.add(1 + event.left_out),
            **self._storage.takers,
        }

    def listen(self, event: Event) -> None:
        if isinstance(event, (events.Searched, Answered)):
            self._waiting.append((time.monotonic(), event))
            if len(self._waiting) >= self._waiting_max or (
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
            return self._made.families()

    def _derive(self) -> None:
        """What follows from other numbers is not kept up with every search."""
        nq, micros = self.last_search
        self.query_speed.set(nq / micros)
        self.search_speed.set(bool(nq) / micros)
        for labels, sizes in self.scan_sizes.items():
            self.scan_bytes.set(sizes.sum(), labels)

    # what there is to count

    def _inserting(self, made: Instruments) -> None:
        self.vectors = made.counter(
            "add_vectors_request_total", "Vectors inserted", ("outcome",), _OUTCOMES
        )
        self.batch = made.gauge(
            "add_vectors", "Vectors of the last insert", ("outcome",), _OUTCOMES
        )
        bounds = (0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.08, 0.1, 0.5, 1)
        self.vector_time = made.histogram(
            "add_vector_duration_microseconds",
            "Mean time per vector of an insert, counted once per vector",
            bounds,
        )
        self.insert_speed = made.gauge(
            "add_vectors_throughput_per_microsecond", "MiB of vectors per microsecond, last insert"
        )
        self.group_requests = made.histogram(
            "milvine_group_commit_requests",
            "Inserts and deletes that shared one sync of the log",
            _GROUP_REQUESTS,
        )
        self.group_bytes = made.histogram(
            "milvine_group_commit_bytes",
            "Bytes of vectors and ids that shared one sync of the log",
            _GROUP_BYTES,
        )
        self.append_time = made.histogram(
            "milvine_log_append_seconds",
            "Writing a group to the log, without its sync",
            _SYNC_SECONDS,
        )
        self.sync_time = made.histogram(
            "milvine_log_sync_seconds", "Syncing the log after a group", _SYNC_SECONDS
        )

    def _searching(self, made: Instruments) -> None:
        kinds = (_RAW, _INDEX)
        self.searches = made.summary(
            "query_response_summary", "Microseconds per search, counted once per query"
        )
        self.per_query = made.summary(
            "query_vector_response_summary", "Microseconds per query of a search"
        )
        self.query_speed = made.gauge(
            "query_vector_response_per_microsecond", "Queries per microsecond, last search"
        )
        self.search_speed = made.gauge(
            "query_response_per_microsecond", "Searches per microsecond, last search"
        )
        self.scan_time = made.histogram(
            "search_data_duration_microseconds",
            "Searching one segment, or a run of small ones",
            (1e5, 2e5, 4e5, 6e5, 8e5),
            ("type",),
            kinds,
        )
        sizes = (1e9, 2e9, 4e9, 6e9, 8e9, 1e10)
        self.scan_sizes = {
            labels: made.histogram(
                f"search_{labels[0]}_files_bytes", f"Bytes of each {labels[0]} file", sizes
            )
            for labels in kinds
        }
        self.scan_bytes = made.counter(
            "search_file_size_total", "Bytes of files searched", ("type",), kinds
        )
        self.last_scan = made.gauge(
            "search_file_size_gauge", "Bytes of the last file searched", ("type",), kinds
        )
        self.scanned_rows = made.counter(
            "milvine_scanned_rows_total",
            "Rows in scope of scans: tail, exact, or by index type",
            ("kind",),
        )
        self.steps = made.counter(
            "milvine_search_step_seconds_total", "Where searches spend their time", ("step",)
        )
        self.last_search = 0, 1.0  # queries, microseconds

    def _answering(self, made: Instruments) -> None:
        self.answers = made.histogram(
            "milvine_request_seconds", "Answering, by operation", SECONDS, ("rpc",)
        )
        self.request_bytes = made.counter(
            "milvine_request_bytes_total", "Bytes of requests", ("rpc",)
        )
        self.errors = made.counter(
            "milvine_request_errors_total", "Requests refused or failed", ("rpc", "code")
        )
        self.refused = made.counter(
            "milvine_requests_refused_total",
            "Requests that did not fit beside those in flight, or in memory",
        )
        self.unforeseen = made.counter(
            "milvine_unforeseen_errors_total", "Requests that met an unforeseen error"
        )
        self.strangers = made.counter(
            "milvine_access_refused_total", "Requests without a right to what they asked"
        )
        self.search_calls = made.counter(
            "search_request_total", "Searches asked for", ("outcome",), _OUTCOMES
        )
        self.search_time = made.histogram(
            "search_request_duration_microsecond", "Answering a search", (0.1, 1, 10)
        )
        self.group_calls = {
            rpc: made.counter(f"{name}_request_total", f"{rpc} calls", ("outcome",), _OUTCOMES)
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
            self._storage.builds_time.observe_all([each * 1e6 for each in seconds])

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
