"""Memory: what is there, what this process holds, and what goes back to the system.

glibc keeps what was freed for later, in one arena per thread; a server shall not. Elsewhere
`bound_free_memory` and `trim_after_flush` do nothing.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from milvine.events import Event, Flushed, IndexBuilt, Listener, Merged, Searched
from milvine.events.server import Answered, Serving
from milvine.limits import MIB
from milvine.memory_plan import MemoryPlan

_FREEING = (Flushed, Merged, IndexBuilt, Serving)
LEAVES_MEMORY = (*_FREEING, Answered, Searched)
"""Events that `trim_after_flush` listens to."""
# Of a request or its hits: from here on what it leaves behind is worth a look.
_LARGE_BYTES = 8 * MIB
_HIT_BYTES = 24  # of a search: the hit in an array and in the reply
_LATER_SECONDS = 2.0
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


def memory_used() -> int:
    """Resident bytes of this process; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf(
            "SC_PAGE_SIZE"
        )
    except (AttributeError, OSError):
        return 0


def can_promise(size: int) -> bool:
    """Whether this process may reserve `size` bytes that it does not use, as an allocator does for
    what is announced.

    Not where the system counts reserved memory as used, nor under a limit of address space.
    """
    try:
        if Path("/proc/sys/vm/overcommit_memory").read_text(encoding="ascii").strip() == "2":
            return False
    except OSError:
        return True  # no Linux
    try:
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except (OSError, OverflowError):
        return False
    return True


def _glibc(name: str) -> Any:
    try:
        return getattr(ctypes.CDLL(None), name)
    except (OSError, TypeError, AttributeError):
        return None


def bound_free_memory(plan: MemoryPlan) -> None:
    """Bounds what the allocator of this process keeps of freed memory."""
    mallopt = _glibc("mallopt")
    if mallopt is not None:
        for key, value in tuning(plan).items():
            mallopt(key, value)


def tuning(plan: MemoryPlan) -> dict[int, int]:
    """Parameters of glibc's allocator."""
    return {
        # Blocks larger than this go back to the system when they are freed.
        _M_MMAP_THRESHOLD: plan.freed_block,
        # Free memory that an arena may keep at its end.
        _M_TRIM_THRESHOLD: plan.freed,
        _M_ARENA_MAX: 1,
    }


def trim_after_flush() -> Listener:
    """A listener that returns freed memory to the system: after the start, flushes, merges and
    builds, and soon after large calls.

    A call is told of while its bytes are still held, and one large call seldom comes alone: hence
    soon, not at once.
    """
    trim = _glibc("malloc_trim")
    if trim is None:
        return lambda event: None
    later = _Later(lambda: trim(0), _LATER_SECONDS)

    def listen(event: Event) -> None:
        if isinstance(event, Answered):
            left_behind = event.size
        elif isinstance(event, Searched):
            left_behind = event.nq * event.topk * _HIT_BYTES
        else:
            left_behind = 0
            if isinstance(event, _FREEING):
                trim(0)
        if left_behind >= _LARGE_BYTES:
            later.ask()

    return listen


class _Later:
    """Runs `work` on a thread `seconds` after it was asked for, once for all who asked
    meanwhile.
    """

    def __init__(self, work: Callable[[], object], seconds: float) -> None:
        self._work, self._seconds = work, seconds
        self._asked, self._lock = False, threading.Lock()

    def ask(self) -> None:
        with self._lock:
            if self._asked:
                return
            self._asked = True
        timer = threading.Timer(self._seconds, self._run)
        timer.daemon = True
        timer.start()

    def _run(self) -> None:
        with self._lock:
            self._asked = False
        self._work()
