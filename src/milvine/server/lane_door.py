"""A port for lanes: the short calls of our own client, without a thread between the socket and the search.

One thread leads: it waits for all connections at once, takes every request that has arrived and answers it on the spot.
Searches that arrived together share a pass (`operations/together.py`). When the requests are likely to take long, it
hands the lead to the next thread first, so that short calls never wait for long ones. How long a call takes is known
from the calls before it, by rpc, collection and size.

Whatever is out of the ordinary ends the connection: clients make the call again at the gRPC port, which knows all of
gRPC. A caller can hold one request of at most 12 KB here, so this door bounds what it receives by itself.
"""

from __future__ import annotations

import errno
import os
import secrets
import selectors
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from milvine.server.door import INTERNAL_ERROR, Call, DoorFailed, target
from milvine.server.lane_connection import Connection, Kind, Request
from milvine.server.operations import GrpcStatus, Refused
from milvine.server.security.gate import AUTHORIZATION, Gate
from milvine.server.tracing import Observe
from milvine.wire import http2
from milvine.wire.http2 import Foreign

Together = Callable[[Sequence[bytes]], list[bytes | Refused]]

CONNECTIONS_MAX = 1024
GREETING_SECONDS = 10.0
_THREADS = max(2, min(4, os.cpu_count() or 1))
_LONG_SECONDS = 0.002
_DEAF_SECONDS = 1.0
_LAST_SECONDS = 0.1  # for calls that are being answered at the end
_SEARCH = "Search"
_PASS_MAX = 64  # searches that one pass answers
_USUAL_MAX = 1024  # kinds of calls whose duration is remembered
_WEIGHT = 0.2  # of the latest call in what is usual


class LaneDoor:
    """Listens from the moment it is made.

    Attributes:
        instance: tells this run of the server from every other; a lane's first settings say it.

    Raises:
        DoorFailed: the address is taken or not ours.
    """

    name = "lane"

    def __init__(
        self,
        call: Call,
        together: Together | None,
        address: str,
        port: int,
        observe: Observe | None = None,
        gate: Gate | None = None,
    ) -> None:
        self._call, self._together, self._observe, self._gate = call, together, observe, gate
        self.instance = secrets.randbits(32)
        more = http2.WINDOW_MAX - http2.WINDOW_DEFAULT
        self._greeting = http2.settings({http2.INSTANCE: self.instance}) + http2.window_update(more)
        self._listener = _listen(address, port)
        self.port: int = self._listener.getsockname()[1]
        self._wake, self._woken = socket.socketpair()
        self._waiting = selectors.DefaultSelector()
        self._waiting.register(self._listener, selectors.EVENT_READ)
        self._waiting.register(self._woken, selectors.EVENT_READ)
        self._strangers: dict[Connection, float] = {}  # who has not greeted yet, and until when he may
        self._open: set[Connection] = set()
        self._usual = _Usual()
        self._deaf_until = 0.0  # while the process is out of files, nobody is let in
        self._left: deque[Connection] = deque()
        self._closed, self._serving = False, 0
        self._lead = threading.Lock()
        self._threads = [
            threading.Thread(target=self._serve, name=f"milvine-lane-{n}", daemon=True) for n in range(_THREADS)
        ]

    def start(self) -> None:
        self._serving = len(self._threads)
        for thread in self._threads:
            thread.start()

    def stop(self, grace: float | None) -> None:
        self._closed = True
        if self._serving:
            self._wake.send(b"\0")
            end = None if grace is None else time.monotonic() + max(grace, _LAST_SECONDS)
            for thread in self._threads:
                thread.join(None if end is None else max(0.0, end - time.monotonic()))
            for connection in list(self._open):  # of calls that take longer than that
                connection.give_up()
        else:
            self._close()

    def _serve(self) -> None:
        while not self._closed:
            with self._lead:
                arrived = self._until_long()
            self._answer(arrived)
        with self._lead:
            self._serving -= 1
            if not self._serving:
                self._close()

    def _close(self) -> None:
        """The last one turns off the light."""
        for connection in self._open:
            connection.close()
        for each in (self._listener, self._waiting, self._wake, self._woken):
            each.close()

    def _until_long(self) -> list[Request]:
        """Leads: answers what is short, and returns with requests that are not."""
        while not self._closed:
            arrived = self._wait()
            if sum(self._usual.seconds(request) for request in arrived) > _LONG_SECONDS:
                return arrived
            self._answer(arrived)
        return []

    # the leader's business

    def _wait(self) -> list[Request]:
        """The requests that have arrived; waits until something happens."""
        arrived: list[Request] = []
        for key, mask in self._waiting.select(self._patience()):
            connection: Connection | None = key.data
            if connection is not None:
                request = self._hear(connection, mask)
                if request is not None:
                    arrived.append(request)
            elif key.fileobj is self._listener:
                self._accept()
            elif not self._closed:
                self._look_after()
        return arrived

    def _patience(self) -> float | None:
        """Sends away who does not greet. Seconds until that is to be done again; None when nobody is waited for."""
        if not self._strangers and not self._deaf_until:
            return None
        now = time.monotonic()
        if self._deaf_until and self._deaf_until <= now:
            self._deaf_until = 0.0
            self._waiting.register(self._listener, selectors.EVENT_READ)
        for connection in [each for each, until in self._strangers.items() if each.greeted or until <= now]:
            del self._strangers[connection]
            if not connection.greeted:
                self._hang_up(connection)
        due = [*self._strangers.values(), *([self._deaf_until] if self._deaf_until else [])]
        return max(0.0, min(due) - now) if due else None

    def _accept(self) -> None:
        try:
            accepted, _ = self._listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):  # the caller goes on knocking
                self._waiting.unregister(self._listener)
                self._deaf_until = time.monotonic() + _DEAF_SECONDS
            return
        if len(self._open) < CONNECTIONS_MAX:
            try:
                connection = Connection(accepted, self._greeting)
            except (OSError, Foreign):
                accepted.close()
                return
            self._open.add(connection)
            self._strangers[connection] = time.monotonic() + GREETING_SECONDS
            self._waiting.register(accepted, selectors.EVENT_READ, connection)
        else:
            accepted.close()

    def _hear(self, connection: Connection, mask: int) -> Request | None:
        try:
            if mask & selectors.EVENT_WRITE:
                connection.send_more()
                self._listen_to(connection)
            request = connection.receive() if mask & selectors.EVENT_READ else None
        except (OSError, Foreign):
            self._hang_up(connection)
            return None
        if request is not None:
            connection.busy = True
        return request

    def _look_after(self) -> None:
        """Connections that threads without the lead have left something to do for."""
        self._woken.recv(4096)
        while self._left:
            connection = self._left.popleft()
            if connection in self._open:
                self._listen_to(connection)

    def _listen_to(self, connection: Connection) -> None:
        """Wait for what it sends, and for its taking what is unsent."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.unsent else 0)
        self._waiting.modify(connection.socket, events, connection)

    def _hang_up(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._waiting.unregister(connection.socket)
        connection.close()

    # answering

    def _answer(self, arrived: Sequence[Request]) -> None:
        if self._together is not None and len(arrived) > 1:
            searches = [request for request in arrived if request.rpc == _SEARCH]
            if len(searches) > 1:
                arrived = [request for request in arrived if request.rpc != _SEARCH]
                for start in range(0, len(searches), _PASS_MAX):
                    self._answer_together(searches[start : start + _PASS_MAX])
        for request in arrived:
            self._answer_alone(request)

    def _answer_alone(self, request: Request) -> None:
        began = time.perf_counter()
        try:
            self._admit(request)
            reply: bytes | Refused = self._call(request.rpc, request.message)
        except Refused as refused:
            reply = refused
        except Exception:
            reply = _unforeseen()
        self._reply(request, reply)
        self._usual.note(request, time.perf_counter() - began)

    def _answer_together(self, searches: Sequence[Request]) -> None:
        assert self._together is not None
        began, admitted = time.perf_counter(), [request for request in searches if self._admitted(request)]
        try:
            replies: Sequence[bytes | Refused] = self._together([request.message for request in admitted])
        except Exception:
            replies = [_unforeseen()] * len(admitted)
        for request, reply in zip(admitted, replies, strict=True):
            self._reply(request, reply)
        for request in admitted:
            self._usual.note(request, (time.perf_counter() - began) / len(admitted))

    def _admit(self, request: Request) -> None:
        """
        Raises:
            Refused: the gate does not let the caller do this.
        """
        metadata = ((AUTHORIZATION, request.authorization),) if request.authorization else ()
        if self._observe:
            self._observe(metadata)
        if self._gate:
            self._gate.check_call(request.rpc, request.message, metadata, request.caller.peer)

    def _admitted(self, request: Request) -> bool:
        """Whether the caller may search; if not, he was told so."""
        try:
            self._admit(request)
        except Refused as refused:
            self._reply(request, refused)
            return False
        return True

    def _reply(self, request: Request, reply: bytes | Refused) -> None:
        caller = request.caller
        caller.busy = False  # first: the next request may be here before `send` returns
        try:
            if isinstance(reply, Refused):
                caller.refuse(request.stream, int(reply.status), str(reply))
            else:
                caller.reply(request.stream, reply)
        except (OSError, Foreign):
            caller.give_up()  # the leader hears of it
        if caller.unsent:
            self._left.append(caller)
            self._wake.send(b"\0")


def _unforeseen() -> Refused:
    """Tells of the error being handled as Python tells of one that ends a thread, which goes on here."""
    threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
    return Refused(GrpcStatus.UNKNOWN, INTERNAL_ERROR)


class _Usual:
    """How long calls take. Thread-safe without a lock: a note that is lost does no harm."""

    def __init__(self) -> None:
        self._seconds: dict[Kind, float] = {}

    def seconds(self, request: Request) -> float:
        """For a call of a kind that was not seen yet, more than is short."""
        return self._seconds.get(request.kind, _LONG_SECONDS * 2)

    def note(self, request: Request, seconds: float) -> None:
        before = self._seconds.get(request.kind, seconds)
        if len(self._seconds) >= _USUAL_MAX:
            self._seconds.clear()
        self._seconds[request.kind] = before + (seconds - before) * _WEIGHT


def _listen(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        listener = socket.create_server((address.strip("[]"), port), family=family, backlog=128)
    except OSError:
        raise DoorFailed.busy(target(address, port)) from None
    listener.setblocking(False)
    return listener
