"""Settings of one database or server: plain values, handed down through constructors. `keys.py` has
their ranges.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from milvine.config.keys import KEYS, NUMBERS
from milvine.limits import INDEX_ROWS_MIN, MIB, PARTITIONS_MAX


def _cores() -> int:
    return os.cpu_count() or 1


@dataclass(frozen=True)
class Settings:
    """Effective settings. Every field names its key; `from_sections` parses and checks."""

    # storage
    auto_flush_interval: float = 1.0  # storage.auto_flush_interval, seconds, 0 = off
    # Addition: storage.auto_flush_tail_bytes, a smaller tail may wait.
    auto_flush_tail_bytes: int = 128 * MIB
    # Addition: storage.auto_flush_tail_age, seconds a small tail may wait.
    auto_flush_tail_age: float = 60.0
    file_cleanup_timeout: float = 10.0  # storage.file_cleanup_timeout, seconds
    # Addition: storage.mmap, false reads files into memory instead of mapping them.
    mmap: bool = True
    open_files_max: int = 512  # addition: storage.open_files_max
    # Addition: storage.scrub_interval, seconds between checks of all files, 0 = off.
    scrub_interval: float = 86400.0
    # insert
    # Addition: insert.refuse_nonfinite, rows that no search would find.
    refuse_nonfinite: bool = False
    # wal
    wal_enable: bool = True  # wal.enable
    wal_path: str = ""  # wal.path, empty = folder `wal` of the data folder
    # wal.buffer_size, twice the bytes that one write to the log takes at most.
    wal_buffer_size: int = 256 * MIB
    wal_sync: bool = True  # addition: wal.sync, false acknowledges before the fsync
    wal_recovery_error_ignore: bool = False  # wal.recovery_error_ignore
    # Addition: wal.file_bytes, the log starts a new file at this size.
    wal_file_bytes: int = 256 * MIB
    # cache
    # cache.cache_size, bytes that preloaded or read (mmap false) files may hold.
    cache_size: int = 4 << 30
    # cache.insert_buffer_size, bytes of unflushed rows before writers wait.
    insert_buffer_size: int = 1 << 30
    # cache.cache_insert_data, files just written are brought into memory.
    cache_insert_data: bool = False
    # cache.preload_collection, loaded before the door opens; ("*",) = all.
    preload_collection: tuple[str, ...] = ()
    # engine
    max_partition_num: int = PARTITIONS_MAX  # engine_config.max_partition_num
    search_threads: int = field(default_factory=_cores)  # engine_config.omp_thread_num, 0 = cores
    search_combine_nq: int = 64  # engine_config.search_combine_nq
    use_blas_threshold: int = 1100  # engine_config.use_blas_threshold
    build_threads: int = field(default_factory=_cores)  # addition: engine_config.build_threads
    build_in_subprocess: bool = True  # addition: engine_config.build_in_subprocess
    unindexed_rows_max: int = 100_000  # addition: engine_config.unindexed_rows_max
    index_codes: str = "auto"  # addition: index.codes, auto or off
    # Addition, not a key of the file: no background thread when false (tests).
    background: bool = True
    # Addition, not a key: smaller segments get no index (fewer in tests).
    index_rows_min: int = INDEX_ROWS_MIN
    # cluster, general (server only, like all that follow)
    cluster_enable: bool = False  # cluster.enable
    cluster_role: str = "rw"  # cluster.role, rw or ro
    timezone: str = ""  # general.timezone, UTC+H:MM, empty = the system's
    # general.meta_uri, may hold a password.
    meta_uri: str = field(default="sqlite://:@:/", repr=False)
    # network
    address: str = "127.0.0.1"  # network.bind.address
    port: int = 19530  # network.bind.port
    http_enable: bool = True  # network.http.enable
    http_port: int = 19121  # network.http.port
    http_bind: str = ""  # addition: network.http.address, empty = as `address`; read `http_address`
    door: str = "auto"  # addition: network.door, which gRPC server: grpc, native or auto
    # Addition: network.lane_port, for short calls of our client: a port, auto or off.
    lane_port: str = "auto"
    report_version: str = "1.1.1"  # addition: network.report_version
    # Addition: network.request_bytes_max, bytes of requests in flight.
    request_bytes_max: int = 2 << 30
    tls_certificate: str = ""  # addition: network.tls.certificate, file
    tls_key: str = ""  # addition: network.tls.key, file
    tls_client_ca: str = ""  # addition: network.tls.client_ca, file
    tokens_file: str = ""  # addition: network.tokens_file
    # Addition: network.requests_per_second, of one address, 0 = any number.
    requests_per_second: int = 0
    streams_max: int = 1024  # addition: network.streams_max, gRPC calls of one connection at a time
    http_connections_max: int = 16_384  # addition: network.http.connections_max
    http_body_bytes_max: int = 1 << 30  # addition: network.http.body_bytes_max
    http_receive_seconds: float = 300.0  # addition: network.http.receive_seconds
    cors_origins: tuple[str, ...] = ("*",)  # addition: network.http.cors_origins, () = none
    http_docs: bool = True  # addition: network.http.docs
    # metric
    metric_enable: bool = False  # metric.enable, pushes
    metric_address: str = "127.0.0.1"  # metric.address, of the Pushgateway
    metric_port: int = 9091  # metric.port
    metric_cluster_label: str = "milvus_cluster"  # metric.cluster_label
    metric_instance_label: str = ""  # metric.instance_label, empty = <hostname>:<port>
    recall_sample_share: float = 0.0  # addition: metric.recall_sample_share, 0..1
    # logs
    log_level: str = "warning"  # logs.level
    log_trace_enable: bool = True  # logs.trace.enable
    log_path: str | None = None  # logs.path, folder; None = standard error only
    log_max_file_size: int = 1 << 30  # logs.max_log_file_size, bytes
    log_rotate_num: int = 0  # logs.log_rotate_num, files kept per level, 0 = all
    log_to_stdout: bool = False  # logs.log_to_stdout
    log_to_file: bool = True  # logs.log_to_file
    log_format: str = "text"  # addition: logs.format, text or json
    slow_query_seconds: float = 0.0  # addition: logs.slow_query_seconds, 0 = off
    # tracing
    # Addition: tracing_config.otlp_endpoint, may hold a token.
    trace_endpoint: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        """Raises IllegalArgument: seconds or shares out of range, whoever made these
        settings of whatever."""
        for name in NUMBERS:
            key, parse = KEYS[name]
            parse(key, getattr(self, name))

    @property
    def http_address(self) -> str:
        """Where the REST API listens: `network.http.address`, or else where gRPC does."""
        return self.http_bind or self.address

    @classmethod
    def from_sections(cls, sections: Mapping[str, Mapping[str, object]]) -> Settings:
        """Settings from a parsed 1.x configuration file.

        Unknown sections and keys are left alone, as 1.x does at start.

        Raises:
            IllegalArgument: a value is malformed or out of range; the text names key, value and
                range.
        """
        values: dict[str, Any] = {}
        for name, (key, parse) in KEYS.items():
            section, _, item = key.partition(".")
            if item in (sections.get(section) or {}):
                values[name] = parse(key, sections[section][item])
        return cls(**values)
