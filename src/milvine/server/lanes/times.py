"""Times at the port for lanes: how long calls take, and how long connections may."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from milvine.server.lanes.connection import Connection, Kind, Request

LONG_SECONDS = 0.002
"""A call that is likely to take longer holds up others."""
_KINDS_MAX = 1024  # of calls, whose duration is remembered
_PATIENCE_SECONDS = 1.0  # for which shorter calls may go first
_WEIGHT = 0.2  # of the latest call in what is usual


class Usual:
    """How long calls take. Thread-safe without a lock: a note that is lost does no harm."""

    def __init__(self) -> None:
        self._seconds: dict[Kind, float] = {}

    def seconds(self, request: Request) -> float:
        """For a call of a kind that was not seen yet, more than is short."""
        return self._seconds.get(request.kind, LONG_SECONDS * 2)

    def of_all(self, requests: Sequence[Request]) -> float:
        """For all of them, one after the other."""
        return sum(map(self.seconds, requests))

    def note(self, request: Request, seconds: float) -> None:
        before = self._seconds.get(request.kind, seconds)
        if len(self._seconds) >= _KINDS_MAX:
            self._seconds.clear()
        self._seconds[request.kind] = before + (seconds - before) * _WEIGHT


class Waits(OrderedDict[Connection, float]):
    """Connections that have so many seconds for something, and until when on the monotonic
    clock.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def begin(self, connection: Connection) -> None:
        """From now on; also once more."""
        self[connection] = time.monotonic() + self._seconds
        self.move_to_end(connection)

    def end(self, connection: Connection) -> None:
        """It has done it, or is gone."""
        self.pop(connection, None)

    @property
    def due(self) -> float:
        """When the next one's time is over; infinite where there is none."""
        return next(iter(self.values()), math.inf)

    def over(self, now: float) -> list[Connection]:
        """Whose time is over."""
        return [
            connection for connection, until in takewhile(lambda each: each[1] <= now, self.items())
        ]


class LongCalls:
    """Calls that wait for a thread: the shortest are taken first, and whoever has waited too long
    before all others.

    Searches that are alike wait together and are taken together. Not thread-safe.
    """

    def __init__(self) -> None:
        self._groups: list[_Group] = []  # by age

    def __len__(self) -> int:
        return len(self._groups)

    def add(self, requests: list[Request], seconds: float, alike: bool = False) -> None:
        """Requests for one thread, which are likely to take so many seconds; `alike`: searches of
        one kind.
        """
        for group in self._groups if alike else ():
            if group.alike and group.requests[0].kind == requests[0].kind:
                group.requests += requests
                group.seconds += seconds
                return
        self._groups.append(_Group(time.monotonic(), seconds, requests, alike))

    def take(self) -> Sequence[Request]:
        """The next; none where none wait."""
        if not self._groups:
            return ()
        oldest = self._groups[0]
        late = time.monotonic() - oldest.since > _PATIENCE_SECONDS
        chosen = oldest if late else min(self._groups, key=lambda group: group.seconds)
        self._groups.remove(chosen)
        return chosen.requests


@dataclass(eq=False, slots=True)
class _Group:
    since: float
    seconds: float
    requests: list[Request]
    alike: bool
