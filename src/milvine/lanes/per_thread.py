"""The lanes of a client: one for each thread that calls, and where they go to.

A server may have a port for lanes alone, and tell of it (`lanes/agreement.py`). A lane goes there,
or to the gRPC port where that one cannot be reached.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from weakref import WeakSet

from milvine.deadline import Deadline
from milvine.interrupts import foreign
from milvine.lanes.agreement import Endpoint, LaneAddress, address_of
from milvine.lanes.client import CONNECT_SECONDS, Lane
from milvine.lanes.http2 import ProtocolError

_LANES_MAX = 16  # of one client; further threads go through grpcio
PAUSE = 1.0  # seconds without lanes after a failure, doubled for each further one in a row
PAUSE_MAX = 64.0
_PART = 4  # one in so many of what is left of a call may go into one step towards a lane


class Lanes:
    """The lanes of one client to a server, one for each thread that calls.

    `ask` gives what the server answers about lanes within so many seconds, by other means than a
    lane; None: the gRPC port it is.
    """

    def __init__(self, server: Endpoint, ask: Callable[[float], str] | None = None) -> None:
        self._server, self._ask = server, ask
        self._asked = False
        self._announced: LaneAddress | None = None  # by the server, the last time
        self._address: LaneAddress | None = None  # the same; None once nobody was there
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
        except (ProtocolError, OSError) as error:
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

    @property
    def port(self) -> int | None:
        """Where the calls of this thread go; None: it has no lane."""
        lane: Lane | None = getattr(self._own, "lane", None)
        return lane.port if lane else None

    @property
    def count(self) -> int:
        """Lanes that are open or being made."""
        return len(self._open) + len(self._connecting)

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
            if self.count >= _LANES_MAX:
                return None
            self._connecting.add(thread)
        try:
            return self._made(deadline)
        finally:
            self._connecting.discard(thread)

    def _ask_where(self, deadline: Deadline) -> None:
        if not self._asked and self._ask:
            answer = self._ask(deadline.within(CONNECT_SECONDS, _PART))
            if not answer and _in_a_hurry(deadline):
                return
            self._learn(address_of(answer))
        self._asked = True

    def _learn(self, address: LaneAddress | None) -> None:
        with self._lock:
            if address != self._announced:
                self._announced = self._address = address

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
        """To the gRPC port where the other cannot be reached: the server may be on another machine,
        behind a firewall.
        """
        address = self._address
        if address:
            try:
                return Lane(self._server, address, deadline.within(CONNECT_SECONDS, _PART))
            except OSError as error:
                if foreign(error) or _in_a_hurry(deadline):
                    raise
                self._address = None
        return Lane(self._server, None, deadline.within(CONNECT_SECONDS, _PART))

    def _failed(self) -> None:
        self._asked = False  # the server may be another by now
        self._not_before = time.monotonic() + min(PAUSE * 2**self._failures, PAUSE_MAX)
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
