"""Builds take turns where memory is short: what is left when one begins does not say what another
is about to take.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from milvine.limits import MIB
from milvine.waiting import Flag

_SPARE_BYTES = 4096 * MIB
"""What must be left, beside all that the builds at work take at least, for them to work side by
side.

A segment has about 1 GiB of rows by default. Its builder reads them again and again, best from the
page cache, and an IVF type takes more than its least where it may: a copy of rows to learn from, of
most of them at the most. So this is the room that two builds want; with less, two at once push out
each other's pages and are no sooner done.
"""
_POLL_SECONDS = 0.05


class _Ticket:
    """One who wants a turn, or has one: then it is `building`. `look`: something has changed."""

    __slots__ = ("building", "look", "need")

    def __init__(self, need: int) -> None:
        self.need, self.building, self.look = need, False, Flag()


class Turns:
    """Who may build. First come, first served, whichever databases they are of. Thread-safe.

    Who holds a turn waits for no lock that somebody may hold who waits for one, so there is always
    an end to it. `left` and `stop` are asked with the lock of this held and must take none.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tickets: list[_Ticket] = []  # in order of arrival; changing it needs no lock

    def free(self, need: int, left: Callable[[], int]) -> bool:
        """Whether such a build would not have to wait now; the next moment it may."""
        with self._lock:
            return self._first_waiting() is None and self._fits(need, left)

    @contextmanager
    def turn(self, need: int, left: Callable[[], int], stop: Callable[[], bool]) -> Iterator[bool]:
        """Wait for a turn and hold it; what comes is False where `stop` said so first, and then
        there is none.

        Args:
            need: bytes that the build takes at least.
            left: bytes of memory that are left, asked again and again; 0 where nobody knows: then
                all build at once.
        """
        ticket = _Ticket(need)
        try:
            self._tickets.append(ticket)
            while not self._begins(ticket, left) and not stop():
                ticket.look.wait(_POLL_SECONDS)  # nobody tells when `stop` or what is left changes
            yield ticket.building
        finally:
            if ticket in self._tickets:  # an interrupt may have come before it was
                self._tickets.remove(ticket)
            self._tell()

    def _begins(self, ticket: _Ticket, left: Callable[[], int]) -> bool:
        """Whether it has the turn, from now on if there is room."""
        ticket.look.clear()
        with self._lock:
            if self._first_waiting() is ticket and self._fits(ticket.need, left):
                ticket.building = True
        if ticket.building:
            self._tell()
        return ticket.building

    def _tell(self) -> None:
        for ticket in self._tickets.copy():
            ticket.look.set()

    def _first_waiting(self) -> _Ticket | None:
        for ticket in self._tickets.copy():
            if not ticket.building:
                return ticket
        return None

    def _fits(self, need: int, left: Callable[[], int]) -> bool:
        """With the lock held. What others have taken by now counts twice, for it is not left:
        nobody tells how much.
        """
        needs = [ticket.need for ticket in self._tickets.copy() if ticket.building]
        if not needs:
            return True
        now = left()
        return not now or now >= _SPARE_BYTES + need + sum(needs)


TURNS = Turns()
"""Of this process: all its databases have the same memory."""
