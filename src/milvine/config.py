"""Settings of one database or server: plain values with ranges, handed down through constructors.

Keys are those of the 1.x `server_config.yaml` (section.key); what 1.x lacks is marked "addition". Nothing here reads
the environment or a file: `milvine.cli` does, and calls `Settings.from_sections`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from milvine.errors import IllegalArgument
from milvine.limits import MIB, PARTITIONS_MAX

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
DOORS = ("grpc", "native", "auto")
_TRUE, _FALSE = {"true", "on", "yes", "1"}, {"false", "off", "no", "0", ""}


def parse_size(key: str, text: object) -> int:
    """Bytes of a size such as `4GB` or `256mb`; a bare number is bytes (config specification, section 1)."""
    match = re.fullmatch(r"(\d+)([bkmg]?)b?", str(text).strip().lower())
    if match is None:
        raise IllegalArgument(f"Invalid {key}: {text}. Expected an integer with an optional unit b, kb, mb or gb")
    return int(match[1]) * _UNITS[match[2]]


def parse_bool(key: str, text: object) -> bool:
    """true/on/yes/1 and false/off/no/0/empty, in any case."""
    word = str(text).strip().lower()
    if word not in _TRUE | _FALSE:
        raise IllegalArgument(f"Invalid {key}: {text}. Expected true or false")
    return word in _TRUE


def _number(key: str, value: object, least: float, most: float) -> float:
    try:
        number = float(str(value))
    except ValueError:
        raise IllegalArgument(f"Invalid {key}: {value}. Expected a number") from None
    if not least <= number <= most:
        raise IllegalArgument(f"Invalid {key}: {value}. The range is [{least:g}, {most:g}]")
    return number


@dataclass(frozen=True)
class Settings:
    """Effective settings. Every field names its key; `from_sections` parses and checks."""

    # storage
    auto_flush_interval: float = 1.0  # storage.auto_flush_interval, seconds, 0 = off
    auto_flush_tail_bytes: int = 128 * MIB  # addition: storage.auto_flush_tail_bytes, a smaller tail may wait
    auto_flush_tail_age: float = 60.0  # addition: storage.auto_flush_tail_age, seconds a small tail may wait
    file_cleanup_timeout: float = 10.0  # storage.file_cleanup_timeout, seconds
    mmap: bool = True  # addition: storage.mmap, false reads files into memory instead of mapping them
    open_files_max: int = 512  # addition: storage.open_files_max
    # wal
    wal_enable: bool = True  # wal.enable
    wal_sync: bool = True  # addition: wal.sync, false acknowledges before the fsync
    wal_recovery_error_ignore: bool = False  # wal.recovery_error_ignore
    wal_file_bytes: int = 256 * MIB  # addition: wal.file_bytes, the log starts a new file at this size
    # cache
    insert_buffer_size: int = 1 << 30  # cache.insert_buffer_size, bytes of unflushed rows before writers wait
    # engine
    max_partition_num: int = PARTITIONS_MAX  # engine_config.max_partition_num
    search_threads: int = field(default_factory=lambda: os.cpu_count() or 1)  # engine_config.omp_thread_num, 0 = cores
    build_threads: int = field(default_factory=lambda: os.cpu_count() or 1)  # addition: engine_config.build_threads
    build_in_subprocess: bool = True  # addition: engine_config.build_in_subprocess
    unindexed_rows_max: int = 100_000  # addition: engine_config.unindexed_rows_max
    background: bool = True  # addition, not a key of the file: no background thread when false (tests)
    # network (server only)
    address: str = "127.0.0.1"  # network.bind.address
    port: int = 19530  # network.bind.port
    http_port: int = 19121  # network.http.port
    door: str = "auto"  # addition: network.door, which gRPC server: grpc, native or auto
    report_version: str = "1.1.1"  # addition: network.report_version
    request_bytes_max: int = 2 << 30  # addition: network.request_bytes_max, bytes of requests in flight

    @classmethod
    def from_sections(cls, sections: Mapping[str, Mapping[str, object]]) -> Settings:
        """Settings from a parsed 1.x configuration file.

        Unknown sections and keys are left alone, as 1.x does at start.

        Raises:
            IllegalArgument: a value is malformed or out of range; the text names key, value and range.
        """
        values: dict[str, Any] = {}
        for name, (key, parse) in KEYS.items():
            section, _, item = key.partition(".")
            if item in (sections.get(section) or {}):
                values[name] = parse(key, sections[section][item])
        return cls(**values)


def _seconds(key: str, value: object) -> float:
    return _number(key, value, 0, 3600)


def _count(key: str, value: object) -> int:
    return int(_number(key, value, 0, 1 << 31))


def _port(key: str, value: object) -> int:
    return int(_number(key, value, 1025, 65534))


def _threads(key: str, value: object) -> int:
    return int(_number(key, value, 0, 4096)) or os.cpu_count() or 1


def _door(key: str, value: object) -> str:
    word = str(value).strip().lower()
    if word not in DOORS:
        raise IllegalArgument(f"Invalid {key}: {value}. Expected one of {', '.join(DOORS)}")
    return word


def _text(key: str, value: object) -> str:
    return str(value)


KEYS = {
    "auto_flush_interval": ("storage.auto_flush_interval", _seconds),
    "auto_flush_tail_bytes": ("storage.auto_flush_tail_bytes", parse_size),
    "auto_flush_tail_age": ("storage.auto_flush_tail_age", _seconds),
    "file_cleanup_timeout": ("storage.file_cleanup_timeout", _seconds),
    "mmap": ("storage.mmap", parse_bool),
    "open_files_max": ("storage.open_files_max", _count),
    "wal_enable": ("wal.enable", parse_bool),
    "wal_sync": ("wal.sync", parse_bool),
    "wal_recovery_error_ignore": ("wal.recovery_error_ignore", parse_bool),
    "wal_file_bytes": ("wal.file_bytes", parse_size),
    "insert_buffer_size": ("cache.insert_buffer_size", parse_size),
    "max_partition_num": ("engine_config.max_partition_num", _count),
    "search_threads": ("engine_config.omp_thread_num", _threads),
    "build_threads": ("engine_config.build_threads", _threads),
    "build_in_subprocess": ("engine_config.build_in_subprocess", parse_bool),
    "unindexed_rows_max": ("engine_config.unindexed_rows_max", _count),
    "address": ("network.bind.address", _text),
    "port": ("network.bind.port", _port),
    "http_port": ("network.http.port", _port),
    "door": ("network.door", _door),
    "report_version": ("network.report_version", _text),
    "request_bytes_max": ("network.request_bytes_max", parse_size),
}
"""Field name -> (key of the configuration file, parser)."""

LIVE = frozenset({"cache.insert_buffer_size", "engine_config.max_partition_num"})
"""Keys whose values are looked up whenever they are needed, so that they may change while the database is open."""


def as_text(settings: Settings) -> dict[str, str]:
    """Key -> value as a configuration file would have it, sizes in the largest whole unit."""
    return {key: _shown(getattr(settings, name), parse is parse_size) for name, (key, parse) in KEYS.items()}


def _shown(value: object, is_size: bool) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if is_size and isinstance(value, int):
        unit = next((u for u in ("g", "m", "k") if value and value % _UNITS[u] == 0), "")
        return f"{value // _UNITS[unit]}{unit.upper()}B" if unit else str(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


assert set(KEYS) | {"background"} == {f.name for f in fields(Settings)}
