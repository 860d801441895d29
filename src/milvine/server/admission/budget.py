"""How many bytes of requests may be in flight at once. Checked before a request is decoded.

A request that finds no room waits for it, first come first served, so that many small ones do not
keep out a large one; and it waits for a bounded time, so that a server with more than it can do
says so. What waits has mostly arrived and is held in memory, so as many bytes may wait as may be in
flight, and no more. Short requests pass the queue: they may use a spare part on top, and a search
need not wait for the inserts before it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

from milvine.errors import OutOfMemory
from milvine.limits import MIB
from milvine.waiting import Flag

WAIT_SECONDS = 10.0
SHORT_BYTES = 64 << 10
SPARE_BYTES = 16 * MIB
"""What short requests may use above the limit, if that is an eighth of the limit or less."""


class Held:
    """The bytes of one request: how many the budget has granted it so far. Once it is `over` it
    never gets any.
    """

    size = 0
    over = False


class ByteBudget:
    """Thread-safe. What it grants is counted from then on until it is given back.

    A caller that may be interrupted asks with a `Held` that it made before, and lets go of that
    whatever happens: then nothing is left counted, nor in the queue, wherever the exception came.
    Assignments that stand together here are made together, for no exception comes between two of
    them.
    """

    def __init__(self, bytes_max: int, wait_seconds: float = WAIT_SECONDS) -> None:
        self._max, self._used, self._seconds = bytes_max, 0, wait_seconds
        self._spare = min(SPARE_BYTES, bytes_max // 8)
        self._lock = threading.Lock()
        self._queue: list[_Waiter] = []

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

    def take(self, size: int, held: Held | None = None) -> None:
        """Counts `size` bytes until `give_back`, or until `let_go` of `held`.

        Waits for room, which a caller that holds some already must not do.

        Raises:
            OutOfMemory: the request is larger than the budget, or there was no room in time;
                nothing is counted then.
        """
        waiter = self._ask(size, held or Held())
        if waiter is not None:
            waiter.granted.wait(self._seconds)
            self._settle(waiter)

    async def take_on_loop(self, size: int) -> None:
        """As `take`, on an event loop; who is cancelled meanwhile leaves the queue and holds
        nothing.
        """
        held, loop = Held(), asyncio.get_running_loop()
        granted = loop.create_future()
        waiter = self._ask(size, held, lambda: loop.call_soon_threadsafe(_resolve, granted))
        if waiter is not None:
            try:
                await asyncio.wait([granted], timeout=self._seconds)
            except asyncio.CancelledError:
                self.let_go(held)
                raise
            self._settle(waiter)

    def take_more(self, size: int) -> None:
        """Counts `size` bytes for a request that grows as it arrives and holds what came before:
        now or not at all.

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
            if self._queue:
                self._serve()

    def let_go(self, held: Held) -> None:
        """Counts what is held no longer, and grants it nothing any more. Twice is as once."""
        with self._lock:
            self._used -= held.size
            held.size, held.over = 0, True
            if self._queue:
                self._serve()

    def _ask(
        self, size: int, held: Held, tell: Callable[[], object] | None = None
    ) -> _Waiter | None:
        """None when the bytes are granted; otherwise who waits in the queue until they are, and is
        told then.
        """
        with self._lock:
            if size > self._max:
                raise self._refusal(size)
            free = self._max - self._used
            if (size <= free and not self._queue) or (
                size <= SHORT_BYTES and size <= free + self._spare
            ):
                self._used += size
                held.size = size
                return None
            waiting = sum(waiter.size for waiter in self._queue)
            if waiting + size > self._max:
                raise self._refusal(size, f". {waiting} bytes are waiting for room already")
            waiter = _Waiter(size, held, tell)
            self._queue.append(waiter)
            return waiter

    def _serve(self) -> None:
        """Takes those out of the queue that there is room for, in order, and those that are over
        (lock held).
        """
        self._queue = [waiter for waiter in self._queue if not waiter.held.over]
        for waiter in self._queue.copy():
            if not waiter.held.size:  # else an interrupt came before it was told
                if self._used + waiter.size > self._max:
                    return
                self._used += waiter.size
                waiter.held.size = waiter.size
            waiter.tell()
            self._queue.remove(waiter)

    def _settle(self, waiter: _Waiter) -> None:
        """After the wait: raises OutOfMemory unless the bytes were granted."""
        with self._lock:
            if waiter.held.size:
                return
            waiter.held.over = True
            self._serve()  # it may have kept out smaller ones behind it
            raise self._refusal(waiter.size, f". It waited {self._seconds:g} s for room")

    def _refusal(self, size: int, waited: str = "") -> OutOfMemory:
        return OutOfMemory(
            f"A request of {size} bytes does not fit beside {self._used} bytes in flight; the limit"
            f" is {self._max} (network.request_bytes_max). Send less at a time or try again"
            f" later{waited}"
        )


class _Waiter:
    """A request in the queue. `granted` is set when its bytes are granted; `on_loop` is called then
    too, for one that waits on an event loop.
    """

    __slots__ = ("_on_loop", "granted", "held", "size")

    def __init__(self, size: int, held: Held, on_loop: Callable[[], object] | None) -> None:
        self.size, self.held, self._on_loop = size, held, on_loop
        self.granted = Flag()

    def tell(self) -> None:
        self.granted.set()
        if self._on_loop:
            with suppress(RuntimeError):  # the loop has ended, and who waited there with it
                self._on_loop()


def _resolve(granted: asyncio.Future[None]) -> None:
    if not granted.done():
        granted.set_result(None)
