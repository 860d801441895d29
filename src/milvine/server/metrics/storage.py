"""What is counted of storing: the catalog, flushes, merges, builds, preloads, and what of it went
wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from milvine import events
from milvine.events import Event
from milvine.server.metrics.instruments import Instruments

_JOB_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)


class StorageTally:
    """Its instruments are made among those of the whole tally.

    Attributes:
        takers: what counts an event of each kind. Whoever calls one guards the instruments.
        builds_time: of `create_index`; no event of the engine tells of it, an answered call does.
    """

    def __init__(self, made: Instruments) -> None:
        self._by_names_of_1_x(made)
        self._by_our_names(made)
        self.takers: dict[type[Event], Callable[[Any], None]] = {
            events.CatalogCommitted: self._catalog_committed,
            events.Flushed: self._flushed,
            events.Merged: self._merged,
            events.IndexBuilt: self._index_built,
            events.Loaded: self._loaded,
            events.LogFailed: lambda _: self._log_failures.add(),
            events.JobFailed: lambda _: self._job_failures.add(),
            events.IndexSetAside: lambda _: self._indexes_set_aside.add(),
            events.BuildGivenUp: lambda _: self._builds_given_up.add(),
            events.FilesRemoved: lambda event: self._files_removed.add(len(event.names)),
        }

    def _by_names_of_1_x(self, made: Instruments) -> None:
        merge_bounds = (5e4, 1e5, 2e5, 4e5, 6e5, 8e5, 1e6)
        self._merge_time = made.histogram(
            "mem_table_merge_duration_microseconds", "Merging segments", merge_bounds
        )
        self._store_speed = made.gauge(
            "disk_store_IO_speed_bytes_per_microseconds", "Writing, last flush"
        )
        self._meta_calls = made.counter("meta_access_total", "Transactions of the catalog")
        meta_bounds = (100, 300, 500, 700, 900, 2000, 4000, 6000, 8000, 20000)
        self._meta_time = made.histogram(
            "meta_access_duration_microseconds", "One of them, with its sync", meta_bounds
        )
        build_bounds = (5e5, 2e6, 4e6, 6e6, 8e6, 1e7)
        self._build_time = made.histogram(
            "build_index_duration_microseconds", "Building the index of one segment", build_bounds
        )
        self.builds_time = made.histogram(
            "all_build_index_duration_microseconds", "create_index calls", (2e6, 4e6, 6e6, 8e6, 1e7)
        )
        disk, start = ("DB",), (("Faiss",),)
        self._load_time = made.histogram(
            "disk_load_duration_microseconds",
            "Preloading one segment",
            (2e5, 4e5, 6e5, 8e5),
            disk,
            start,
        )
        self._load_size = made.histogram(
            "disk_load_size_bytes",
            "Bytes of segments preloaded",
            (1e9, 2e9, 4e9, 6e9, 8e9),
            disk,
            start,
        )
        self._load_speed = made.gauge(
            "disk_load_IO_speed_byte_per_microsec", "Reading, last preload", disk, start
        )

    def _by_our_names(self, made: Instruments) -> None:
        self._flush_time = made.histogram(
            "milvine_flush_seconds", "Writing the segments of a flush", _JOB_SECONDS
        )
        self._flushed_rows = made.counter(
            "milvine_flushed_rows_total", "Rows written to segments by flushes"
        )
        self._flushed_bytes = made.counter(
            "milvine_flushed_bytes_total", "Bytes written to segments by flushes"
        )
        self._merge_seconds = made.histogram(
            "milvine_merge_seconds", "Merging or compacting segments", _JOB_SECONDS
        )
        self._merged_rows = made.counter(
            "milvine_merged_rows_total", "Rows written by merges and compactions"
        )
        self._build_seconds = made.histogram(
            "milvine_index_build_seconds",
            "Building the index of one segment",
            _JOB_SECONDS,
            ("index_type",),
        )
        self._built_rows = made.counter(
            "milvine_index_built_rows_total", "Rows that got an index", ("index_type",)
        )
        self._log_failures = made.counter(
            "milvine_log_failures_total", "Groups that the log could not take"
        )
        self._job_failures = made.counter(
            "milvine_job_failures_total", "Background jobs that failed"
        )
        self._indexes_set_aside = made.counter(
            "milvine_indexes_set_aside_total", "Damaged index files, built anew"
        )
        self._builds_given_up = made.counter(
            "milvine_builds_given_up_total", "Indexes that failed time and again"
        )
        self._files_removed = made.counter(
            "milvine_files_removed_total", "Files that no version needed any more"
        )

    def _catalog_committed(self, event: events.CatalogCommitted) -> None:
        self._meta_calls.add()
        self._meta_time.observe(event.seconds * 1e6)

    def _flushed(self, event: events.Flushed) -> None:
        self._flush_time.observe(event.seconds)
        self._flushed_rows.add(event.rows)
        self._flushed_bytes.add(event.size)
        self._store_speed.set(event.size / max(event.seconds * 1e6, 1.0))

    def _merged(self, event: events.Merged) -> None:
        self._merge_time.observe(event.seconds * 1e6)
        self._merge_seconds.observe(event.seconds)
        self._merged_rows.add(event.rows)

    def _index_built(self, event: events.IndexBuilt) -> None:
        self._build_time.observe(event.seconds * 1e6)
        self._build_seconds.observe(event.seconds, 1, (event.index_type,))
        self._built_rows.add(event.rows, (event.index_type,))

    def _loaded(self, event: events.Loaded) -> None:
        micros, labels = event.seconds * 1e6, ("Faiss",)
        self._load_time.observe(micros, 1, labels)
        self._load_size.observe(event.size, 1, labels)
        self._load_speed.set(event.size / max(micros, 1.0), labels)
