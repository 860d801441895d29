"""Generated ids: microseconds since the epoch times 1000, strictly increasing whatever the clock
does.
"""

from __future__ import annotations

import threading
import time

import numpy as np

from milvine.types import Ids


class IdSource:
    """Ids of rows and of segments (specification 3.10). Thread-safe.

    `last` is never given again: the database keeps it across restarts, so a clock that jumps back
    does no harm.
    """

    def __init__(self, last: int = 0) -> None:
        self._last = last
        self._lock = threading.Lock()

    @property
    def last(self) -> int:
        return self._last

    def take(self, count: int) -> Ids:
        """`count` new ids, ascending, int64."""
        with self._lock:
            first = max(time.time_ns() // 1000 * 1000, self._last + 1)
            self._last = first + count - 1
            return np.arange(first, first + count, dtype=np.int64)

    def one(self) -> int:
        return int(self.take(1)[0])

    def seen(self, last: int) -> None:
        """Ids up to `last` were given before."""
        with self._lock:
            self._last = max(self._last, last)
