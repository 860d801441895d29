"""How many bytes of requests may be in flight at once. Checked before a request is decoded.

A request that finds no room waits for it, first come first served, so that many small ones do not keep out a large one;
and it waits for a bounded time, so that a server with more than it can do says so. What waits has mostly arrived and is
held in memory, so as many bytes may wait as may be in flight, and no more. Short requests pass the queue: they may use
a spare part on top, and a search need not wait for the inserts before it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent import futures

from milvine.errors import OutOfMemory
from milvine.limits import MIB

WAIT_SECONDS = 10.0
SHORT_BYTES = 64 << 10
SPARE_BYTES = 16 * MIB
"""What short requests may use above the limit, if that is an eighth of the limit or less."""


class ByteBudget:
    """Thread-safe. What it grants is counted from then on until `give_back`."""

    def __init__(self, bytes_max: int, wait_seconds: float = WAIT_SECONDS) -> None:
        self._max, self._used, self._seconds = bytes_max, 0, wait_seconds
        self._spare = min(SPARE_BYTES, bytes_max // 8)
        self._lock = threading.Lock()
        self._queue: deque[_Place] = deque()
        self._waiting_bytes = 0

    @property
    def most(self) -> int:
        """Bytes that may be in flight."""
        return self._max

    @property
    def used(self) -> int:
        """Bytes in flight."""
        return self._used

    @property
    def waiting(self) -> int:
        """Requests that wait for room."""
        return len(self._queue)

    def take(self, size: int) -> None:
        """Counts `size` bytes until `give_back`. Waits for room, which a caller that holds some already must not do.

        Raises:
            OutOfMemory: the request is larger than the budget, or there was no room in time; nothing is counted then.
        """
        place = self._ask(size)
        if place is not None:
            futures.wait([place.granted], self._seconds)
            self._settle(place)

    async def take_on_loop(self, size: int) -> None:
        """As `take`, on an event loop; who is cancelled meanwhile leaves the queue and holds nothing."""
        place = self._ask(size)
        if place is not None:
            try:
                await asyncio.wait([asyncio.wrap_future(place.granted)], timeout=self._seconds)
            except asyncio.CancelledError:
                if not self._leave(place):
                    self.give_back(size)
                raise
            self._settle(place)

    def take_more(self, size: int) -> None:
        """Counts `size` bytes for a request that grows as it arrives and holds what came before: now or not at all.

        Raises:
            OutOfMemory: there is no room; nothing is counted.
        """
        with self._lock:
            if self._used + size > self._max:
                raise self._refusal(size)
            self._used += size

    def give_back(self, size: int) -> None:
        """Counts `size` bytes no longer."""
        with self._lock:
            self._used -= size
            granted = self._serve() if self._queue else None
        if granted:
            _tell(granted)

    def _ask(self, size: int) -> _Place | None:
        """None when the bytes are granted; a place in the queue otherwise."""
        with self._lock:
            if size > self._max:
                raise self._refusal(size)
            room = self._max - self._used
            if (size <= room and not self._queue) or (size <= SHORT_BYTES and size <= room + self._spare):
                self._used += size
                return None
            if self._waiting_bytes + size > self._max:
                raise self._refusal(size, f". {self._waiting_bytes} bytes are waiting for room already")
            place = _Place(size)
            self._queue.append(place)
            self._waiting_bytes += size
            return place

    def _serve(self) -> list[_Place]:
        """Takes those out of the queue that there is room for, in order (with the lock held)."""
        granted = []
        while self._queue and self._used + self._queue[0].size <= self._max:
            granted.append(self._queue.popleft())
            self._used += granted[-1].size
            self._waiting_bytes -= granted[-1].size
        return granted

    def _settle(self, place: _Place) -> None:
        """After the wait: raises OutOfMemory unless the bytes were granted."""
        if self._leave(place):
            with self._lock:
                raise self._refusal(place.size, f". It waited {self._seconds:g} s for room")

    def _leave(self, place: _Place) -> bool:
        """Gives up the place; False when the bytes were granted already."""
        with self._lock:
            if place not in self._queue:
                return False
            self._queue.remove(place)
            self._waiting_bytes -= place.size
            granted = self._serve()  # it may have kept out smaller ones behind it
        _tell(granted)
        return True

    def _refusal(self, size: int, waited: str = "") -> OutOfMemory:
        return OutOfMemory(
            f"A request of {size} bytes does not fit beside {self._used} bytes in flight; "
            f"the limit is {self._max} (network.request_bytes_max). Send less at a time or try again later{waited}"
        )


class _Place:
    """In the queue."""

    __slots__ = ("granted", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.granted: futures.Future[None] = futures.Future()


def _tell(granted: list[_Place]) -> None:
    for place in granted:
        if place.granted.set_running_or_notify_cancel():
            place.granted.set_result(None)
