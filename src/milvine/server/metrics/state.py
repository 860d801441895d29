"""What a scrape reads from the database: rows, segments, builds, queue, files, memory by kind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from milvine.engine.database import Database
from milvine.engine.inspection import CollectionFacts, Inspection
from milvine.errors import DatabaseClosed
from milvine.server.metrics.residency import memory_by_kind

COLLECTIONS_MAX = 20
"""So many of the largest collections have labels of their own; all the others together are OTHERS.
"""
OTHERS = "(other)"
"""No collection can have this name."""

Value = Callable[[CollectionFacts], float]
_PER_COLLECTION: tuple[tuple[str, str, Value], ...] = (
    ("milvine_collection_rows", "Live rows", lambda c: c.rows),
    (
        "milvine_collection_nonfinite_rows",
        "Live rows with NaN, infinity or an overflowing length, which no search finds",
        lambda c: c.nonfinite_rows,
    ),
    (
        "milvine_collection_tail_rows",
        "Rows that are in the log and in memory only",
        lambda c: c.tail_rows,
    ),
    ("milvine_collection_tail_bytes", "Bytes of those in memory", lambda c: c.tail_bytes),
    ("milvine_collection_tombstones", "Deleted rows that still take space", lambda c: c.tombstones),
    ("milvine_collection_segments", "Segments", lambda c: c.segments),
    (
        "milvine_collection_indexed_segments",
        "Segments with a built index",
        lambda c: c.indexed_segments,
    ),
    ("milvine_index_rows_built", "Rows in segments with a built index", lambda c: c.built_rows),
    (
        "milvine_index_rows_pending",
        "Rows in segments whose index is still to be built",
        lambda c: c.pending_rows,
    ),
    ("milvine_index_builds_running", "Index builds that run now", lambda c: len(c.building)),
    (
        "milvine_index_rows_building",
        "Rows of the segments that are being built",
        lambda c: sum(b.rows for b in c.building),
    ),
    (
        "milvine_index_rows_building_done",
        "Of those, through the present stage",
        lambda c: sum(b.done for b in c.building),
    ),
)


class DatabaseCollector:
    """Families from one look at the database. After its close there are none."""

    def __init__(self, database: Database, in_flight: Callable[[], tuple[int, int]]) -> None:
        self._database, self._in_flight = database, in_flight
        self._began = time.monotonic()
        self._accesses = 0

    def collect(self) -> Iterable[Metric]:
        try:
            seen = self._database.inspect()
        except DatabaseClosed:
            return
        yield counter(
            "keeping_alive_seconds", "Seconds since the start", time.monotonic() - self._began
        )
        yield gauge("milvine_collections", "Collections", len(seen.collections))
        yield from _by_collection(seen.collections)
        yield from self._traffic(seen)
        yield from self._space(seen)

    def _traffic(self, seen: Inspection) -> Iterator[Metric]:
        requests, size = self._in_flight()
        yield gauge("milvine_requests_in_flight", "Requests being answered", requests)
        yield gauge("milvine_request_bytes_in_flight", "Bytes of requests being answered", size)
        yield gauge("milvine_write_queue_requests", "Writes waiting for the log", seen.waiting)
        yield gauge(
            "milvine_unflushed_seconds",
            "Age of the oldest row that is in no segment",
            seen.unflushed_seconds,
        )
        # Told without a lock, and a counter never falls.
        self._accesses = max(self._accesses, seen.file_accesses)
        yield counter("cache_access", "Look-ups of open data files", self._accesses)

    def _space(self, seen: Inspection) -> Iterator[Metric]:
        total = sum(c.row_bytes + c.index_bytes for c in seen.collections)
        yield gauge("data_file_size_bytes", "Bytes of data files by the catalog", total)
        yield gauge("milvine_open_data_files", "Data files that are mapped", len(seen.open_files))
        yield by_kind("milvine_disk_bytes", "Bytes in the data folder", seen.disk_bytes)
        memory = memory_by_kind(seen.mapped_folder)
        yield by_kind(
            "milvine_memory_bytes",
            "Resident memory",
            {"tail": sum(c.tail_bytes for c in seen.collections)} | memory,
        )
        cache = self._database.settings.cache_size
        filled = memory["files"] / cache * 100 if cache else 0.0
        yield gauge(
            "cache_usage_bytes", "Data files in memory, in PERCENT of cache.cache_size", filled
        )


def gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def counter(name: str, text: str, value: float) -> Metric:
    """A counter that is exported as `name` with `_total` after it."""
    return CounterMetricFamily(name, text, value=value)


def by_kind(name: str, text: str, values: dict[str, float] | dict[str, int]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=("kind",))
    for kind, value in values.items():
        family.add_metric((kind,), value)
    return family


def largest(
    collections: Sequence[CollectionFacts],
) -> tuple[list[CollectionFacts], list[CollectionFacts]]:
    """Those that are told by name, and the rest."""
    ordered = sorted(collections, key=lambda c: (-c.rows, c.name))
    return ordered[:COLLECTIONS_MAX], ordered[COLLECTIONS_MAX:]


def _by_collection(collections: Sequence[CollectionFacts]) -> Iterator[Metric]:
    named, others = largest(collections)
    for name, text, value in _PER_COLLECTION:
        family = GaugeMetricFamily(name, text, labels=("collection",))
        for each in named:
            family.add_metric((each.name,), value(each))
        if others:
            family.add_metric((OTHERS,), sum(value(each) for each in others))
        yield family
