"""Budgets of memory that nobody has set, made to fit into what this process may take.

Which part each may have is in the memory plan (`milvine.memory_plan`). What somebody has set stays
as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from milvine.config.keys import BY_NAME, KEYS
from milvine.config.sources import DEFAULT, Configuration, Origin, Value
from milvine.config.values import shown_size
from milvine.limits import MIB
from milvine.memory import memory_limit
from milvine.memory_plan import bounds

_NEARLY = 0.9
_MAPPED = "storage.mmap"


def bounded(configuration: Configuration, limit: int | None = None) -> Configuration:
    """The same with the budgets that fit into `limit` bytes, as far as they are defaults; a notice
    says which.

    Args:
        limit: 0 for any number; None: what this process may take.
    """
    limit = memory_limit() if limit is None else limit
    most = bounds(limit, bool(configuration.values[_MAPPED].parsed))
    origin = Origin(DEFAULT, f"default for {shown_size(limit // MIB * MIB)} of memory")
    changed: dict[str, Value] = {}
    for field, size in most.items():
        name, _ = KEYS[field]
        value = configuration.values[name]
        if value.origin.kind == DEFAULT and value.parsed > size:
            changed[name] = Value(shown_size(size), size, origin)
    notices = list(configuration.notices)
    if changed:
        lowered = ", ".join(f"{name}={value.text}" for name, value in changed.items())
        notices.append(
            f"This process may take {limit} bytes of memory. Hence, unless you set them: {lowered}"
        )
    notices += _too_much(configuration.values, limit, most)
    return replace(
        configuration, values={**configuration.values, **changed}, notices=tuple(notices)
    )


def _too_much(values: Mapping[str, Value], limit: int, most: Mapping[str, int]) -> list[str]:
    """1.x refuses to start; here neither is taken up front, and most of the cache is the system's
    page cache.
    """
    asked = ("cache.cache_size", "cache.insert_buffer_size")
    given = [name for name in asked if values[name].origin.kind != DEFAULT]
    total = sum(
        (
            values[name].parsed
            if name in given
            else min(values[name].parsed, most.get(BY_NAME[name].field, limit))
        )
        for name in asked
    )
    if not limit or not given or total <= _NEARLY * limit:
        return []
    share = "more than" if total > limit else "nearly all of"
    return [
        f"{' and '.join(asked)} allow {total} bytes together, {share} the {limit} bytes of memory"
        " that this process may take"
    ]
