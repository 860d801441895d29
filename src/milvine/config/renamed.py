"""What a file may hold that is no key: names of older versions, and slips of the pen."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

from milvine.config.keys import BY_NAME
from milvine.errors import IllegalArgument

VERSION = "0.5"

_DROPPED = ""
RENAMED = {
    "server_config.address": "network.bind.address",
    "server_config.port": "network.bind.port",
    "server_config.web_enable": "network.http.enable",
    "server_config.web_port": "network.http.port",
    "server_config.deploy_mode": "cluster.enable and cluster.role",
    "server_config.time_zone": "general.timezone",
    "db_config.backend_url": "general.meta_uri",
    "db_config.preload_collection": "cache.preload_collection",
    "db_config.preload_table": "cache.preload_collection",
    "db_config.auto_flush_interval": "storage.auto_flush_interval",
    "storage_config.primary_path": "storage.path",
    "storage_config.secondary_path": _DROPPED,
    "storage_config.file_cleanup_timeout": "storage.file_cleanup_timeout",
    "cache_config.cpu_cache_capacity": "cache.cache_size (a size such as 4GB)",
    "cache_config.insert_buffer_size": "cache.insert_buffer_size (a size such as 1GB)",
    "cache_config.cpu_cache_threshold": "cache.cpu_cache_threshold",
    "cache_config.cache_insert_data": "cache.cache_insert_data",
    "gpu_resource_config.enable": "gpu.enable",
    "gpu_resource_config.cache_capacity": "gpu.cache_size",
    "gpu_resource_config.cache_threshold": "gpu.cache_threshold",
    "gpu_resource_config.search_resources": "gpu.search_devices",
    "gpu_resource_config.build_index_resources": "gpu.build_index_devices",
    "engine_config.gpu_search_threshold": "gpu.gpu_search_threshold",
    "wal_config.enable": "wal.enable",
    "wal_config.recovery_error_ignore": "wal.recovery_error_ignore",
    "wal_config.buffer_size": "wal.buffer_size",
    "wal_config.wal_path": "wal.path",
    "wal.wal_path": "wal.path",
    "metric_config.enable_monitor": "metric.enable",
    "metric_config.address": "metric.address",
    "metric_config.port": "metric.port",
}
"""Names of 0.9 and older -> what to write instead."""


def hint(name: str) -> str:
    """A clause that says what became of an unknown name; empty when nothing is known of it."""
    if name in RENAMED:
        return f"the old name of {RENAMED[name]}" if RENAMED[name] else "dropped in 1.x"
    close = get_close_matches(name, BY_NAME, 1, 0.8)
    return f"did you mean {close[0]}?" if close else ""


def unknown(names: Iterable[tuple[str, str]]) -> str:
    """One sentence for (name, place) that are no keys."""
    found = [(name, where, hint(name)) for name, where in names]
    entries = [f"{name} ({where}{'; ' if clause else ''}{clause})" for name, where, clause in found]
    return f"Unknown keys are ignored: {', '.join(entries)}"


def check_version(text: str, names: Iterable[str]) -> None:
    """Refuse a file for another version of the server; one that names no version is taken for 0.5.

    Raises:
        IllegalArgument: says which version is expected, and for an older file the new names of its
            keys.
    """
    if text == VERSION:
        return
    what = (
        f"Invalid config version: {text or '(empty)'}. Expected {VERSION}, the version of Milvus"
        " 0.10 to 1.1"
    )
    if not re.fullmatch(r"0\.[0-4](\.\d+)*", text):
        raise IllegalArgument(f"{what}. Milvus 2.x and later read other files")
    renamed = [f"{name} is now {RENAMED[name]}" for name in names if RENAMED.get(name)]
    raise IllegalArgument(
        "; ".join(
            [f"{what}. Keys were renamed since, change them and write version: 0.5", *renamed]
        )
    )
