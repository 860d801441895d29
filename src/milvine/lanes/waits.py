"""Connections that have so many seconds for something."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from itertools import takewhile

from milvine.lanes.server_connection import Connection


class Waits(OrderedDict[Connection, float]):
    """Connections, and until when on the monotonic clock each has time."""

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
