"""How many bytes of requests may be in flight at once. Checked before a request is decoded."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from milvine.errors import OutOfMemory


class ByteBudget:
    """Thread-safe. A request that does not fit is refused, so that its bytes can be let go at once."""

    def __init__(self, bytes_max: int) -> None:
        self._max, self._used = bytes_max, 0
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """Bytes in flight."""
        return self._used

    @contextmanager
    def spend(self, size: int) -> Iterator[None]:
        """Counts `size` bytes for as long as the block runs.

        Raises:
            OutOfMemory: the request alone, or with those in flight, is over the budget.
        """
        self.take(size)
        try:
            yield
        finally:
            self.give_back(size)

    def take(self, size: int) -> None:
        """Counts `size` bytes until `give_back`, for a request whose size shows only while it arrives.

        Raises:
            OutOfMemory: as `spend`; nothing is counted then.
        """
        with self._lock:
            if self._used + size > self._max:
                raise OutOfMemory(
                    f"A request of {size} bytes does not fit beside {self._used} bytes in flight; "
                    f"the limit is {self._max} (network.request_bytes_max). Send less at a time or try again later"
                )
            self._used += size

    def give_back(self, size: int) -> None:
        """Counts `size` bytes no longer."""
        with self._lock:
            self._used -= size
