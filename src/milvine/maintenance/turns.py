"""Builds take turns where memory is short: what is left when one begins does not say what another is about to take."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from milvine.limits import MIB

_SPARE_BYTES = 4096 * MIB
"""What must be left, beside all that the builds at work take at least, for them to work side by side.

A segment has about 1 GiB of rows by default. Its builder reads them again and again, best from the page cache, and an
IVF type takes more than its least where it may: a copy of rows to learn from, of most of them at the most. So this is
the room that two builds want; with less, two at once push out each other's pages and are no sooner done.
"""
_POLL_SECONDS = 0.05


class Turns:
    """Who may build. First come, first served, whichever databases they are of. Thread-safe.

    Who holds a turn waits for no lock that somebody may hold who waits for one, so there is always an end to it. `left`
    and `stop` are asked with the lock of this held and must take none.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()
        self._needs: list[int] = []

    def free(self, need: int, left: Callable[[], int]) -> bool:
        """Whether such a build would not have to wait now; the next moment it may."""
        with self._changed:
            return not self._waiting and self._fits(need, left)

    @contextmanager
    def turn(self, need: int, left: Callable[[], int], stop: Callable[[], bool]) -> Iterator[bool]:
        """Wait for a turn and hold it; what comes is False where `stop` said so first, and then there is none.

        Args:
            need: bytes that the build takes at least.
            left: bytes of memory that are left, asked again and again; 0 where nobody knows: then all build at once.
        """
        if not self._taken(need, left, stop):
            yield False
            return
        try:
            yield True
        finally:
            with self._changed:
                self._needs.remove(need)
                self._changed.notify_all()

    def _taken(self, need: int, left: Callable[[], int], stop: Callable[[], bool]) -> bool:
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                while self._waiting[0] is not ticket or not self._fits(need, left):
                    if stop():
                        return False
                    self._changed.wait(_POLL_SECONDS)  # nobody tells when `stop` or what is left changes
                self._needs.append(need)
                return True
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def _fits(self, need: int, left: Callable[[], int]) -> bool:
        """With the lock held. What others have taken by now counts twice, for it is not left: nobody tells how much."""
        if not self._needs:
            return True
        now = left()
        return not now or now >= _SPARE_BYTES + need + sum(self._needs)


TURNS = Turns()
"""Of this process: all its databases have the same memory."""
