"""Who is connected at the port for lanes: let in, heard, waited for while slow, sent away.

One thread at a time leads, and it alone waits and closes; any thread may give callers up, keep what
they have yet to take, and nudge whoever leads.
"""

from __future__ import annotations

import math
import os
import secrets
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from milvine.lanes.agreement import LaneAddress
from milvine.lanes.durations import Call
from milvine.lanes.http2 import ProtocolError
from milvine.lanes.listener import Listener
from milvine.lanes.server_connection import Connection
from milvine.lanes.server_protocol import greeting
from milvine.lanes.waits import Waits

CONNECTIONS_MAX = 400 if os.name == "nt" else 1024  # Windows waits for 512 sockets at once
GREETING_SECONDS = 10.0
READING_SECONDS = 30.0
"""For a caller to take some more of a reply."""
UNSENT_BYTES_MAX = 64 << 20
"""Of replies kept for callers who are slow to take them, where memory is not short. One that finds
others with so much is given up.
"""
_AWAKE_SECONDS = 0.00015
_yield_processor: Callable[[], object] = getattr(os, "sched_yield", partial(time.sleep, 0))


class Connections:
    """The connections at one listening socket; they may begin from the moment it is made.

    Attributes:
        address: where lanes begin. Its instance tells this run of the server from every other; a
            lane's first settings say it.
        open: those that are open.
    """

    def __init__(self, listening: socket.socket, unsent_max: int = UNSENT_BYTES_MAX) -> None:
        self._unsent_max = unsent_max
        instance = secrets.randbits(32)
        self._greeting = greeting(instance)
        self._waiting = selectors.DefaultSelector()
        self._listener = Listener(listening, self._waiting)
        self.address = LaneAddress(self._listener.port, instance)
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._waiting.register(self._woken, selectors.EVENT_READ)
        self.open: set[Connection] = set()
        self._strangers, self._slow = Waits(GREETING_SECONDS), Waits(READING_SECONDS)
        # Connections with something unsent that the leader does not know of.
        self._left: deque[Connection] = deque()
        self._expecting = False  # whether requests arrived just now

    @property
    def unsent_bytes(self) -> int:
        """Of replies that are kept for callers who have yet to take them."""
        return sum(each.held for each in list(self.open))

    def wait(self, alone: bool) -> list[Call]:
        """The calls that have arrived; waits until something happens. `alone`: nobody else is at
        work.
        """
        arrived: list[Call] = []
        for key, mask in self._awake(alone) or self._waiting.select(self._patience()):
            connection: Connection | None = key.data
            if connection is not None:
                call = self._hear(connection, mask)
                if call is not None:
                    arrived.append(call)
            elif key.fd == self._listener.fileno():
                self._accept()
            else:
                self._look_after()
        self._expecting = bool(arrived)
        return arrived

    def _awake(self, alone: bool) -> list[tuple[selectors.SelectorKey, int]]:
        """What happens in the moment after an answer, for which the thread stays awake while nobody
        else is at work.

        A caller's next request mostly comes then, and to sleep and be woken takes longer, most so
        on virtual machines.
        """
        if self._expecting and alone:
            until = time.perf_counter() + _AWAKE_SECONDS
            while time.perf_counter() < until:
                if happened := self._waiting.select(0):
                    return happened
                _yield_processor()
        return []

    def _patience(self) -> float | None:
        """Sends away who does not greet or read. Seconds until that is to be done again; None:
        nobody is waited for.
        """
        listener = self._listener
        if not self._strangers and not self._slow and listener.deaf_until == math.inf:
            return None
        due = min(self._strangers.due, self._slow.due, listener.deaf_until)
        now = time.monotonic()
        if due <= now:
            if listener.deaf_until <= now:
                listener.resume(now)
            for connection in (*self._strangers.over(now), *self._slow.over(now)):
                self._hang_up(connection)
            due = min(self._strangers.due, self._slow.due, listener.deaf_until)
        return max(0.0, due - now) if due < math.inf else None

    def _accept(self) -> None:
        arrived = self._listener.accept()
        if arrived is None:
            return
        accepted, peer = arrived
        if len(self.open) >= CONNECTIONS_MAX:
            accepted.close()
            return
        try:
            connection = Connection(accepted, peer, self._greeting)
            self._waiting.register(accepted, selectors.EVENT_READ, connection)
        except OSError:
            accepted.close()
            return
        self.open.add(connection)
        self._strangers.begin(connection)

    def _hear(self, connection: Connection, mask: int) -> Call | None:
        stranger = not connection.greeted
        try:
            if mask & selectors.EVENT_WRITE:
                connection.send_more()
                self._listen_to(connection)
            request = connection.receive() if mask & selectors.EVENT_READ else None
        except (OSError, ProtocolError):
            self._hang_up(connection)
            return None
        if stranger and connection.greeted:
            self._strangers.end(connection)
        if connection.unsent and connection not in self._slow:
            self._listen_to(connection)
        return None if request is None else Call(connection, request)

    def _look_after(self) -> None:
        """Connections that threads without the lead have left something to do for."""
        self._woken.recv(4096)
        while self._left:
            connection = self._left.popleft()
            if connection in self.open:
                self._listen_to(connection)

    def _listen_to(self, connection: Connection) -> None:
        """Wait for what it sends, and for its taking what is unsent: it has taken some, or has yet
        to begin.
        """
        if connection.unsent:
            self._waiting.modify(
                connection.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, connection
            )
            self._slow.begin(connection)
        else:
            self._waiting.modify(connection.socket, selectors.EVENT_READ, connection)
            self._slow.end(connection)

    def _hang_up(self, connection: Connection) -> None:
        # Some systems tell of reading and of writing one after the other.
        if connection in self.open:
            self.open.discard(connection)
            self._strangers.end(connection)
            self._slow.end(connection)
            self._waiting.unregister(connection.socket)
            connection.close()

    def keep(self, connection: Connection) -> None:
        """What it has yet to take, for the leader to see to; given up where others have so much."""
        if self.unsent_bytes - connection.held > self._unsent_max:
            connection.give_up()
        self._left.append(connection)
        self.nudge()

    def give_up(self) -> None:
        """All of them; whoever waits for an answer hears that none comes."""
        for connection in list(self.open):
            connection.give_up()

    def nudge(self) -> None:
        """Have the leader look up."""
        with suppress(OSError):  # so many words wait for the leader already, or the door is closed
            self._wake.send(b"\0")

    def close(self) -> None:
        for connection in self.open:
            connection.close()
        for each in (self._listener, self._waiting, self._wake, self._woken):
            each.close()
