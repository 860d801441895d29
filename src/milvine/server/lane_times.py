"""Times at the port for lanes: how long calls take, and how long connections may."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from itertools import takewhile

from milvine.server.lane_connection import Connection, Kind, Request

LONG_SECONDS = 0.002
"""A call that is likely to take longer holds up others."""
_KINDS_MAX = 1024  # of calls, whose duration is remembered
_WEIGHT = 0.2  # of the latest call in what is usual


class Usual:
    """How long calls take. Thread-safe without a lock: a note that is lost does no harm."""

    def __init__(self) -> None:
        self._seconds: dict[Kind, float] = {}

    def seconds(self, request: Request) -> float:
        """For a call of a kind that was not seen yet, more than is short."""
        return self._seconds.get(request.kind, LONG_SECONDS * 2)

    def note(self, request: Request, seconds: float) -> None:
        before = self._seconds.get(request.kind, seconds)
        if len(self._seconds) >= _KINDS_MAX:
            self._seconds.clear()
        self._seconds[request.kind] = before + (seconds - before) * _WEIGHT


class Waits(OrderedDict[Connection, float]):
    """Connections that have so many seconds for something, and until when on the monotonic clock."""

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
        return [connection for connection, until in takewhile(lambda each: each[1] <= now, self.items())]
