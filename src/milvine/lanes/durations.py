"""How long the calls of lanes take, and in which order long ones are carried out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from milvine.lanes.server_connection import Connection
from milvine.lanes.server_protocol import Kind, Request

LONG_SECONDS = 0.002
"""A call that is likely to take longer holds up others."""
_KINDS_MAX = 1024  # of calls, whose duration is remembered
_PATIENCE_SECONDS = 1.0  # for which shorter calls may go first
_WEIGHT = 0.2  # of the latest call in what is usual


class Call(NamedTuple):
    """A request and who asks."""

    caller: Connection
    request: Request


class Durations:
    """How long calls take. Thread-safe without a lock: a note that is lost does no harm."""

    def __init__(self) -> None:
        self._seconds: dict[Kind, float] = {}

    @property
    def kinds(self) -> int:
        """Of how many kinds of calls something is known."""
        return len(self._seconds)

    def likely(self, calls: Sequence[Call]) -> float:
        """Seconds for all of them, one after the other; for a call of a kind that was not seen yet,
        more than is short.
        """
        seconds_of, unseen = self._seconds.get, LONG_SECONDS * 2
        return sum([seconds_of(call.request.kind, unseen) for call in calls])

    def note(self, request: Request, seconds: float) -> None:
        before = self._seconds.get(request.kind, seconds)
        if len(self._seconds) >= _KINDS_MAX:
            self._seconds.clear()
        self._seconds[request.kind] = before + (seconds - before) * _WEIGHT


class LongCalls:
    """Calls that wait for a thread: the shortest are taken first, and whoever has waited too long
    before all others.

    Searches of one kind wait together and are taken together. Not thread-safe.
    """

    def __init__(self) -> None:
        self._groups: list[_Group] = []  # by age

    def __len__(self) -> int:
        return len(self._groups)

    def add(self, calls: list[Call], seconds: float, joins: Kind | None = None) -> None:
        """Calls for one thread, which are likely to take so many seconds; `joins`: they are
        searches of that kind.
        """
        for group in self._groups if joins else ():
            if group.joins == joins:
                group.calls += calls
                group.seconds += seconds
                return
        self._groups.append(_Group(time.monotonic(), seconds, calls, joins))

    def take(self) -> list[Call]:
        """The next; none where none wait."""
        if not self._groups:
            return []
        oldest = self._groups[0]
        late = time.monotonic() - oldest.since > _PATIENCE_SECONDS
        chosen = oldest if late else min(self._groups, key=lambda group: group.seconds)
        self._groups.remove(chosen)
        return chosen.calls


@dataclass(eq=False, slots=True)
class _Group:
    since: float
    seconds: float
    calls: list[Call]
    joins: Kind | None
