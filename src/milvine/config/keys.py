"""The table of all keys: those of the 1.x `server_config.yaml` (section.key), and additions of
Milvine's own.
"""

from __future__ import annotations

from dataclasses import dataclass

from milvine.config import values as v
from milvine.limits import MIB

DOORS = ("grpc", "native", "auto")
LOG_LEVELS = ("debug", "info", "warning", "error", "fatal")


@dataclass(frozen=True, slots=True)
class Key:
    """One key. `field` is its field of Settings.

    A key without a field does nothing here: `default` is what it then says. It is accepted, checked
    and kept, so that a file of 1.x can be read as it is; `storage.path` alone has no field because
    it is an argument of its own.
    """

    name: str
    field: str
    parse: v.Parser
    meaning: str
    default: str = ""
    live: bool = False  # looked up whenever needed: a change acts at once
    settable: bool = True  # set_config takes it
    addition: bool = False  # 1.x has no such key

    @property
    def idle(self) -> bool:
        """It has no meaning here."""
        return not self.field and self.name != "storage.path"

    @property
    def section(self) -> str:
        return self.name.partition(".")[0]

    @property
    def item(self) -> str:
        """The name within the section, which may hold dots."""
        return self.name.partition(".")[2]


_positive = v.size(1)
_seconds = v.number(0, 3600)
_patience = v.number(1, 3600)
# fmt: off
_cluster = (
    Key("cluster.enable", "cluster_enable", v.parse_bool,
        "With `role` decides whether this server writes"),
    Key("cluster.role", "cluster_role", v.word("rw", "ro"),
        "`ro`: reads a folder that another server writes"),
)
_general = (
    Key("general.timezone", "timezone", v.timezone,
        "Zone of the times in logs; empty: the system's"),
    Key("general.meta_uri", "meta_uri", v.meta_uri, "Where the catalog is kept"),
)
_network = (
    Key("network.bind.address", "address", v.host, "Address that the server listens on"),
    Key("network.bind.port", "port", v.port, "gRPC port"),
    Key("network.http.enable", "http_enable", v.parse_bool, "Serve the REST API", settable=False),
    Key("network.http.port", "http_port", v.port, "REST port"),
    Key("network.http.address", "http_bind", v.host_or_none, "REST address; empty: that of gRPC",
        addition=True),
    Key("network.door", "door", v.word(*DOORS), "Which gRPC server answers", addition=True),
    Key("network.lane_port", "lane_port", v.lane_port, "Port for short calls of our client",
        addition=True),
    Key("network.report_version", "report_version", v.text, "Version given to clients",
        addition=True),
    Key("network.request_bytes_max", "request_bytes_max", _positive,
        "Bytes of all requests in flight", addition=True),
    Key("network.tls.certificate", "tls_certificate", v.path_or_none, "PEM file: the certificate",
        settable=False, addition=True),
    Key("network.tls.key", "tls_key", v.path_or_none, "PEM file: the certificate's private key",
        settable=False, addition=True),
    Key("network.tls.client_ca", "tls_client_ca", v.path_or_none,
        "PEM file: who signs clients' own",
        settable=False, addition=True),
    Key("network.tokens_file", "tokens_file", v.path_or_none,
        "File of the tokens clients must show",
        settable=False, addition=True),
    Key("network.requests_per_second", "requests_per_second", v.whole(0),
        "Most of one address; 0: any number",
        settable=False, addition=True),
    Key("network.streams_max", "streams_max", v.whole(1), "gRPC calls of one connection at a time",
        addition=True),
    Key("network.http.connections_max", "http_connections_max", v.whole(1), "Most HTTP connections",
        addition=True),
    Key("network.http.body_bytes_max", "http_body_bytes_max", _positive, "Bytes of one HTTP body",
        addition=True),
    Key("network.http.receive_seconds", "http_receive_seconds", _patience,
        "Seconds a body may take to arrive",
        addition=True),
    Key("network.http.cors_origins", "cors_origins", v.origins,
        "Web sites whose scripts may read answers",
        settable=False, addition=True),
    Key("network.http.docs", "http_docs", v.parse_bool, "Serve /docs, /redoc and /openapi.json",
        settable=False, addition=True),
)
_storage = (
    Key("storage.path", "", v.path, "Data folder", default="milvine-data"),
    Key("storage.auto_flush_interval", "auto_flush_interval", _seconds,
        "Seconds between automatic flushes; 0: off"),
    Key("storage.auto_flush_tail_bytes", "auto_flush_tail_bytes", v.parse_size,
        "Smaller tails wait", addition=True),
    Key("storage.auto_flush_tail_age", "auto_flush_tail_age", _seconds,
        "Seconds a small tail may wait", addition=True),
    Key("storage.file_cleanup_timeout", "file_cleanup_timeout", _seconds,
        "Seconds until unused files are removed",
        settable=False),
    Key("storage.mmap", "mmap", v.parse_bool, "Map files instead of reading them", addition=True),
    Key("storage.open_files_max", "open_files_max", v.whole(1), "Most segment files held open",
        addition=True),
    Key("storage.scrub_interval", "scrub_interval", v.number(0, 365 * 86400),
        "Seconds between checks of all files",
        live=True, addition=True),
    Key("storage.s3_enabled", "", v.parse_bool, "1.x: segment files on S3", "false",
        settable=False),
    Key("storage.s3_address", "", v.host_or_none, "1.x: address of S3", "127.0.0.1",
        settable=False),
    Key("storage.s3_port", "", v.whole(1, 65535), "1.x: port of S3", "80", settable=False),
    Key("storage.s3_access_key", "", v.text, "1.x: access key of S3", settable=False),
    Key("storage.s3_secret_key", "", v.text, "1.x: secret key of S3", settable=False),
    Key("storage.s3_bucket", "", v.text, "1.x: bucket of S3", settable=False),
)
_insert = (
    Key("insert.refuse_nonfinite", "refuse_nonfinite", v.parse_bool,
        "Refuse rows that no search would find",
        live=True, addition=True),
)
_wal = (
    Key("wal.enable", "wal_enable", v.parse_bool,
        "Log inserts and deletes before they are acknowledged"),
    Key("wal.recovery_error_ignore", "wal_recovery_error_ignore", v.parse_bool,
        "Start despite a damaged log"),
    Key("wal.buffer_size", "wal_buffer_size", v.clamped_size(64 * MIB, 4096 * MIB),
        "Twice the most of one log write"),
    Key("wal.path", "wal_path", v.path_or_none,
        "Folder of the log; empty: `wal` in the data folder"),
    Key("wal.sync", "wal_sync", v.parse_bool, "Acknowledge after the log is on the disk",
        addition=True),
    Key("wal.file_bytes", "wal_file_bytes", _positive,
        "Size at which the log goes on in a new file", addition=True),
)
_cache = (
    Key("cache.cache_size", "cache_size", _positive, "Bytes that loaded files may hold", live=True),
    Key("cache.insert_buffer_size", "insert_buffer_size", _positive,
        "Bytes of unflushed rows that force a flush",
        live=True),
    Key("cache.cpu_cache_threshold", "", v.share, "1.x: share kept when its cache overflows",
        "0.7"),
    Key("cache.cache_insert_data", "cache_insert_data", v.parse_bool,
        "Keep what was just written in RAM", live=True),
    Key("cache.preload_collection", "preload_collection", v.names,
        "Collections loaded before the server answers"),
)
_gpu = (
    Key("gpu.enable", "", v.always_false, "1.x: use GPUs; must stay false", "false", live=True),
    Key("gpu.cache.enable", "", v.parse_bool, "1.x: keep a GPU cache", "false"),
    Key("gpu.cache_size", "", _positive, "1.x: cache of each GPU", "1GB", live=True),
    Key("gpu.cache_threshold", "", v.share, "1.x: share kept when that cache overflows", "0.7"),
    Key("gpu.gpu_search_threshold", "", v.whole(0), "1.x: queries from which GPUs answer", "1000",
        live=True),
    Key("gpu.search_devices", "", v.devices("gpu"), "1.x: GPUs that search", "gpu0", live=True),
    Key("gpu.build_index_devices", "", v.devices("gpu"), "1.x: GPUs that build", "gpu0", live=True),
)
_fpga = (
    Key("fpga.enable", "", v.always_false, "1.x: use FPGAs; must stay false", "false",
        settable=False),
    Key("fpga.search_devices", "", v.devices("fpga"), "1.x: FPGAs that search", "fpga0",
        settable=False),
    Key("fpga.cache_size", "", _positive, "1.x: cache of each FPGA", "1GB", settable=False),
    Key("fpga.cache_threshold", "", v.share, "1.x: share kept when that cache overflows", "0.7",
        settable=False),
)
_logs = (
    Key("logs.level", "log_level", v.word(*LOG_LEVELS), "Least level that is logged"),
    Key("logs.trace.enable", "log_trace_enable", v.parse_bool, "Trace level on or off"),
    Key("logs.path", "log_path", v.file_or_none,
        "Folder of the log files; empty: standard error only"),
    Key("logs.max_log_file_size", "log_max_file_size", v.size(512 * MIB, 4096 * MIB),
        "Size at which a log is rolled"),
    Key("logs.log_rotate_num", "log_rotate_num", v.whole(0, 1024),
        "Log files kept per level; 0: all"),
    Key("logs.log_to_stdout", "log_to_stdout", v.parse_bool, "Log to standard output as well"),
    Key("logs.log_to_file", "log_to_file", v.parse_bool,
        "Log to files, where `logs.path` is given"),
    Key("logs.format", "log_format", v.word("text", "json"), "Lines for people or JSON objects",
        addition=True),
    Key("logs.slow_query_seconds", "slow_query_seconds", _seconds,
        "Slower searches are logged; 0: off", addition=True),
)
_metric = (
    Key("metric.enable", "metric_enable", v.parse_bool, "Push metrics every second"),
    Key("metric.address", "metric_address", v.host, "Address of the Pushgateway"),
    Key("metric.port", "metric_port", v.port, "Port of the Pushgateway"),
    Key("metric.cluster_label", "metric_cluster_label", v.text, "Label `cluster` of pushed metrics",
        settable=False),
    Key("metric.instance_label", "metric_instance_label", v.text,
        "Label `instance`; empty: `<hostname>:<port>`",
        settable=False),
    Key("metric.recall_sample_share", "recall_sample_share", v.number(0, 1),
        "Share of searches repeated exactly",
        addition=True),
)
_engine = (
    Key("engine_config.use_blas_threshold", "use_blas_threshold", v.whole(0),
        "1.x: queries that call for products",
        live=True),
    Key("engine_config.omp_thread_num", "search_threads", v.threads,
        "Threads of one search; 0: all cores", "0"),
    Key("engine_config.simd_type", "", v.word("auto", "avx512", "avx2", "sse"),
        "1.x: the instruction set", "auto"),
    Key("engine_config.search_combine_nq", "search_combine_nq", v.whole(0),
        "1.x: queries that are merged",
        live=True),
    Key("engine_config.max_partition_num", "max_partition_num", v.whole(0),
        "Partitions of one collection", live=True),
    Key("engine_config.build_threads", "build_threads", v.threads,
        "Threads of one index build; 0: all cores", "0",
        addition=True),
    Key("engine_config.build_in_subprocess", "build_in_subprocess", v.parse_bool,
        "Build indexes in another process",
        addition=True),
    Key("engine_config.unindexed_rows_max", "unindexed_rows_max", v.whole(0),
        "Rows that may wait for an index build",
        addition=True),
    Key("index.codes", "index_codes", v.word("auto", "off"),
        "Search small codes of the rows first, where that is quicker",
        addition=True),
)
_legacy = (
    Key("db_config.archive_disk_threshold", "", v.whole(0),
        "1.x: GB over which the oldest rows are removed", "0"),
    Key("db_config.archive_days_threshold", "", v.whole(0),
        "1.x: days after which rows are removed", "0"),
    Key("tracing_config.json_config_path", "", v.path_or_none, "1.x: OpenTracing configuration"),
    Key("tracing_config.otlp_endpoint", "trace_endpoint", v.url_or_none,
        "Collector that traces go to", addition=True),
)
# fmt: on

ALL = (
    *_cluster,
    *_general,
    *_network,
    *_storage,
    *_insert,
    *_wal,
    *_cache,
    *_gpu,
    *_fpga,
    *_logs,
    *_metric,
    *_engine,
    *_legacy,
)
"""Every key, by section."""

BY_NAME = {key.name: key for key in ALL}
KEYS = {key.field: (key.name, key.parse) for key in ALL if key.field}
"""Field of Settings -> (key of the configuration file, parser)."""

LIVE = frozenset(key.name for key in ALL if key.live)
"""Keys whose values are looked up whenever they are needed, so that they may change while the
database is open.
"""

SIZES = frozenset(
    key.name
    for key in ALL
    if key.parse.__qualname__.split(".")[0] in ("parse_size", "size", "clamped_size")
)
"""Keys whose values are bytes."""

NUMBERS = tuple(
    key.field for key in ALL if key.field and key.parse.__qualname__.startswith("number.")
)
"""Fields of Settings that are seconds or shares, with a range."""
