"""Budgets of memory that nobody has set, made to fit into what this process may take.

The interpreter and its libraries take part of it before a row is there. Of what is left, unflushed
rows and requests in flight may each have a quarter and files held in memory a half; as requests
that wait may have as much as those in flight, and mapped files give way, that is all. What somebody
has set stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from milvine.config.keys import BY_NAME, KEYS
from milvine.config.sources import DEFAULT, Configuration, Origin, Value
from milvine.config.values import shown_size
from milvine.limits import MIB

PROGRAM_BYTES = 100 * MIB
LEAST_BYTES = 8 * MIB
"""No budget is made smaller: with less, nothing would work."""
_SHARES = {
    "insert_buffer_size": 4,
    "auto_flush_tail_bytes": 4,
    "request_bytes_max": 4,
    "cache_size": 2,
}
"""Field of Settings -> the part of the memory left that it may have, as a divisor."""
_NEARLY = 0.9


def bounds(limit: int) -> dict[str, int]:
    """Field of Settings -> the most bytes that it is to allow where the process may take `limit`
    bytes; 0: no limit.
    """
    if not limit:
        return {}
    left = limit - PROGRAM_BYTES
    return {name: max(left // share // MIB * MIB, LEAST_BYTES) for name, share in _SHARES.items()}


def bounded(configuration: Configuration, limit: int) -> Configuration:
    """The same with the budgets that fit into `limit` bytes, as far as they are defaults; a notice
    says which.
    """
    origin = Origin(DEFAULT, f"default for {shown_size(limit // MIB * MIB)} of memory")
    changed: dict[str, Value] = {}
    for field, most in bounds(limit).items():
        name, _ = KEYS[field]
        value = configuration.values[name]
        if value.origin.kind == DEFAULT and value.parsed > most:
            changed[name] = Value(shown_size(most), most, origin)
    notices = list(configuration.notices)
    if changed:
        told = ", ".join(f"{name}={value.text}" for name, value in changed.items())
        notices.append(
            f"This process may take {limit} bytes of memory. Hence, unless you set them: {told}"
        )
    notices += _too_much(configuration.values, limit)
    return replace(
        configuration, values={**configuration.values, **changed}, notices=tuple(notices)
    )


def _too_much(values: Mapping[str, Value], limit: int) -> list[str]:
    """1.x refuses to start; here neither is taken up front, and most of the cache is the system's
    page cache.
    """
    asked = ("cache.cache_size", "cache.insert_buffer_size")
    given = [name for name in asked if values[name].origin.kind != DEFAULT]
    most = bounds(limit)
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
