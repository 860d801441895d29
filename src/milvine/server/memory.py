"""Memory: what is there, what this process holds, and what goes back to the system.

glibc keeps what was freed for later, in one arena per thread; a server shall not. Elsewhere `bound_free_memory` and
`trim_after_flush` do nothing.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

from milvine.events import Event, Flushed, IndexBuilt, Listener, Merged
from milvine.limits import MIB

_FREEING = (Flushed, Merged, IndexBuilt)
_TUNING = {
    -3: 32 * MIB,  # M_MMAP_THRESHOLD: larger blocks are mapped one by one, and gone when freed
    -1: 512 * MIB,  # M_TRIM_THRESHOLD: free memory that an arena may keep at its end
    -8: 1,  # M_ARENA_MAX
}


def memory_total() -> int:
    """Bytes of physical memory; 0 where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 0


def memory_used() -> int:
    """Resident bytes of this process; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError):
        return 0


def _glibc(name: str) -> Any:
    try:
        return getattr(ctypes.CDLL(None), name)
    except (OSError, TypeError, AttributeError):
        return None


def bound_free_memory() -> None:
    """Bounds what the allocator of this process keeps of freed memory."""
    mallopt = _glibc("mallopt")
    if mallopt is not None:
        for key, value in _TUNING.items():
            mallopt(key, value)


def trim_after_flush() -> Listener:
    """A listener that returns freed memory to the system after flushes, merges and builds."""
    trim = _glibc("malloc_trim")

    def listen(event: Event) -> None:
        if trim is not None and isinstance(event, _FREEING):
            trim(0)

    return listen
