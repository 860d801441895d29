"""The lanes of a client: one for each thread that calls, and where they go to.

A server may have a port for lanes alone and a Unix socket beside it, and tell of both
(`wire/lanes.py`). A lane goes to the nearest that can be reached: the Unix socket, that port, the
gRPC port.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from weakref import WeakSet

from milvine.client.address import ServerAddress
from milvine.client.transports.lane import CONNECT_SECONDS, Lane, Unusable
from milvine.deadline import Deadline
from milvine.interrupts import foreign
from milvine.wire import lanes
from milvine.wire.lanes import Place

_LANES_MAX = 16  # of one client; further threads go through grpcio
_PAUSE = 1.0  # seconds without lanes after a failure, doubled for each further one in a row
_PAUSE_MAX = 64.0
_PART = 4  # one in so many of what is left of a call may go into one step towards a lane


class Lanes:
    """The lanes of one client, one for each thread that calls.

    `ask` gives what the server answers about lanes within so many seconds, by other means than a
    lane; None: the gRPC port it is.
    """

    def __init__(self, address: ServerAddress, ask: Callable[[float], str] | None = None) -> None:
        self._address, self._ask = address, ask
        self._asked = False
        self._place: Place | None = None  # that the server told last
        self._ways: tuple[Place, ...] = ()  # to it, the nearest first, less those that led nowhere
        self._own = threading.local()
        self._open: WeakSet[Lane] = WeakSet()
        self._connecting: set[int] = set()  # threads that are making one
        self._lock = threading.Lock()
        self._failures, self._not_before, self._closed = 0, 0.0, False

    def call(self, method: str, request: bytes, deadline: Deadline) -> bytes | None:
        """The reply of one of `CALLS`; None where it has to be made by other means.

        Raises:
            TimeoutError: the `deadline` came first.
        """
        lane = self._lane(deadline)
        if lane is None:
            if deadline.over():
                raise TimeoutError
            return None
        try:
            reply = lane.call(method, request, deadline)
        except (Unusable, OSError) as error:
            self._drop(lane)
            if foreign(error) or (deadline.end is not None and isinstance(error, TimeoutError)):
                raise
            if not lane.worn:
                self._failed()
            return None
        except BaseException:  # interrupted: the reply would be taken for that of the next call
            self._drop(lane)
            raise
        self._failures = 0
        if lane.worn:
            self._drop(lane)
        return reply

    def _lane(self, deadline: Deadline) -> Lane | None:
        """That of this thread, or a new one."""
        lane: Lane | None = getattr(self._own, "lane", None)
        if lane is not None or self._closed or time.monotonic() < self._not_before:
            return lane
        if deadline.over():
            return None
        self._ask_where(deadline)
        thread = threading.get_ident()
        with self._lock:
            if len(self._open) + len(self._connecting) >= _LANES_MAX:
                return None
            self._connecting.add(thread)
        try:
            return self._made(deadline)
        finally:
            self._connecting.discard(thread)

    def _ask_where(self, deadline: Deadline) -> None:
        if not self._asked and self._ask:
            told = self._ask(deadline.within(CONNECT_SECONDS, _PART))
            if not told and _in_a_hurry(deadline):
                return
            self._learn(lanes.place(told))
        self._asked = True

    def _learn(self, place: Place | None) -> None:
        with self._lock:
            if place != self._place:
                self._place, self._ways = place, (place,) if place else ()
                if place and place.unix:
                    self._ways += (place._replace(unix=""),)

    def _made(self, deadline: Deadline) -> Lane | None:
        """A lane, which this thread has from now on."""
        try:
            lane = self._nearest(deadline)
        except OSError as error:
            if foreign(error):
                raise
            if not _in_a_hurry(deadline):
                self._failed()
            return None
        with self._lock:
            if self._closed:
                lane.close()
                return None
            self._own.lane = lane
            self._open.add(lane)
        return lane

    def _nearest(self, deadline: Deadline) -> Lane:
        """To the gRPC port where no other way leads: the server may be on another machine, behind a
        firewall.
        """
        for way in self._ways:
            try:
                return Lane(self._address, way, deadline.within(CONNECT_SECONDS, _PART))
            except OSError as error:
                if foreign(error) or _in_a_hurry(deadline):
                    raise
                self._ways = tuple(each for each in self._ways if each != way)
        return Lane(self._address, None, deadline.within(CONNECT_SECONDS, _PART))

    def _failed(self) -> None:
        self._asked = False  # the server may be another by now
        self._not_before = time.monotonic() + min(_PAUSE * 2**self._failures, _PAUSE_MAX)
        self._failures = min(self._failures + 1, 10)

    def _drop(self, lane: Lane) -> None:
        lane.close()
        self._own.lane = None
        with self._lock:
            self._open.discard(lane)

    def close(self) -> None:
        """Calls that still run on a lane end there, and are made again by other means."""
        with self._lock:
            self._closed, left = True, list(self._open)
            self._open.clear()
        for lane in left:
            lane.close()


def _in_a_hurry(deadline: Deadline) -> bool:
    """Whether a step towards a lane got less time than it may need: that it failed says little."""
    return deadline.within(CONNECT_SECONDS, _PART) < CONNECT_SECONDS
