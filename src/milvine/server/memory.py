"""Memory given back to the system. glibc keeps what was freed for later; after a flush or a build much is free."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from milvine.events import Event, Flushed, IndexBuilt, Listener, Merged

_FREEING = (Flushed, Merged, IndexBuilt)


def _find_malloc_trim() -> Callable[[int], int] | None:
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, TypeError, AttributeError):  # not glibc
        return None
    return trim


def trim_after_flush() -> Listener:
    """A listener that returns freed memory to the system after flushes, merges and builds; idle where glibc is not."""
    trim = _find_malloc_trim()

    def listen(event: Event) -> None:
        if trim is not None and isinstance(event, _FREEING):
            trim(0)

    return listen
