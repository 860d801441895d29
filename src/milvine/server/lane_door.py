"""A port for lanes: the short calls of our own client, without a thread between the socket and the
search.

One thread leads: it waits for all connections at once, takes every request that has arrived and
answers it on the spot. Searches that arrived together share a pass (`operations/together.py`).
Before what is likely to take long it hands the lead to the next thread, and while no other is free
to lead, such calls wait: short ones never wait for long ones. How long a call takes is known from
the calls before it, by rpc, collection and size.

Whatever is out of the ordinary ends the connection: clients make the call again at the gRPC port,
which knows all of gRPC. A caller can hold one request of at most 12 KB here, so this door bounds
what it receives by itself; of replies it keeps what callers are slow to take, up to a bound for all
of them together.
"""

from __future__ import annotations

import math
import os
import secrets
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from milvine.memory import within
from milvine.server.door import INTERNAL_ERROR, Call, end_of, tell_of_error
from milvine.server.lane_connection import Connection, Request
from milvine.server.lane_listeners import Listeners
from milvine.server.lane_times import LONG_SECONDS, LongCalls, Usual, Waits
from milvine.server.operations import GrpcStatus, Refused
from milvine.server.security.gate import AUTHORIZATION, Gate
from milvine.server.tracing import Observe
from milvine.wire import http2, lanes
from milvine.wire.http2 import Foreign

Together = Callable[[Sequence[bytes]], list[bytes | Refused]]

CONNECTIONS_MAX = 400 if os.name == "nt" else 1024  # Windows waits for 512 sockets at once
GREETING_SECONDS = 10.0
READING_SECONDS = 30.0
"""For a caller to take some more of a reply."""
UNSENT_BYTES_MAX = within(64 << 20, 16)
"""Of replies kept for callers who are slow to take them. One that finds others with so much is
given up.
"""
_WORKERS = max(2, min(4, os.cpu_count() or 1))  # more of them only contend for the interpreter lock
_RECOVERY_SECONDS = 1.0
_AWAKE_SECONDS = 0.00015
_yield_processor: Callable[[], object] = getattr(os, "sched_yield", partial(time.sleep, 0))
_LAST_SECONDS = 0.1  # for calls that are being answered at the end
_SEARCH = "Search"
_PASS_MAX = 64  # searches that one pass answers


class LaneDoor:
    """Listens from the moment it is made; if `local`, also where callers of this machine alone come
    in.

    Attributes:
        place: where lanes begin. Its instance tells this run of the server from every other; a
            lane's first settings
            say it.

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
        local: bool = False,
    ) -> None:
        self._call, self._together, self._observe, self._gate = call, together, observe, gate
        instance, more = secrets.randbits(32), http2.WINDOW_MAX - http2.WINDOW_DEFAULT
        self._greeting = http2.settings({http2.INSTANCE: instance}) + http2.window_update(more)
        self._waiting = selectors.DefaultSelector()
        self._listeners = Listeners(address, port, local, self._waiting)
        self.port = self._listeners.port
        self.place = lanes.Place(self.port, instance, self._listeners.unix)
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._waiting.register(self._woken, selectors.EVENT_READ)
        self._open: set[Connection] = set()
        self._strangers, self._slow = Waits(GREETING_SECONDS), Waits(READING_SECONDS)
        # With something unsent that the leader does not know of.
        self._left: deque[Connection] = deque()
        self._usual = Usual()
        self._closed, self._serving = False, 0
        self._expecting = False  # whether requests were answered just now
        self._lead = threading.Lock()
        self._long = LongCalls()  # that wait for a thread other than the leader
        self._working, self._sharing = 0, threading.Lock()  # threads that carry out such calls
        self._threads = [
            threading.Thread(target=self._serve, name=f"milvine-lane-{n}", daemon=True)
            for n in range(_WORKERS + 1)
        ]

    def start(self) -> None:
        self._serving = len(self._threads)
        for thread in self._threads:
            thread.start()

    @property
    def ended(self) -> str:
        return "" if self._closed else end_of(self._threads)

    def stop(self, grace: float | None) -> None:
        self._closed = True
        if self._serving:
            self._nudge()
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
                try:
                    calls = self._until_long()
                except Exception:
                    calls = self._recover()
            while calls:
                self._answer(calls)
                calls = self._next_long()
        with self._lead:
            self._serving -= 1
            if not self._serving:
                self._close()

    def _recover(self) -> Sequence[Request]:
        """After an error that nobody foresaw: whoever waits for an answer hears that none comes,
        and asks elsewhere.
        """
        _unforeseen()
        for connection in self._open:
            connection.give_up()
        time.sleep(_RECOVERY_SECONDS)
        return ()

    def _close(self) -> None:
        """The last one turns off the light."""
        for connection in self._open:
            connection.close()
        for each in (self._listeners, self._waiting, self._wake, self._woken):
            each.close()

    def _until_long(self) -> Sequence[Request]:
        """Leads: answers what is short, and returns with what is not when another thread can take
        the lead.
        """
        while not self._closed:
            if self._long and (calls := self._begin_long()):
                return calls
            arrived = self._wait()
            if self._usual.of_all(arrived) <= LONG_SECONDS:
                self._answer(arrived)
            else:
                self._sort(arrived)
        return ()

    def _sort(self, arrived: Sequence[Request]) -> None:
        """Lets long calls wait for a thread, and short ones that are many, too, unless they would
        really wait.
        """
        short: list[Request] = []
        alike: dict[object, list[Request]] = {}
        for request in arrived:
            if self._usual.seconds(request) <= LONG_SECONDS:
                short.append(request)
            else:
                alike.setdefault(request.kind if request.rpc == _SEARCH else request, []).append(
                    request
                )
        many = self._usual.of_all(short)
        with self._sharing:
            for group in alike.values():
                self._long.add(group, self._usual.of_all(group), group[0].rpc == _SEARCH)
            leave = many > LONG_SECONDS and self._working < _WORKERS
            if leave:
                self._long.add(short, many)
        if not leave:
            self._answer(short)

    def _begin_long(self) -> Sequence[Request]:
        """For the leader: calls to carry out without the lead; none while every other thread does
        so.
        """
        with self._sharing:
            if self._working >= _WORKERS or not self._long:
                return ()
            self._working += 1
            return self._long.take()

    def _next_long(self) -> Sequence[Request]:
        """For a thread that has carried out such calls: further ones, if any wait."""
        with self._sharing:
            calls = self._long.take()
            self._working -= not calls
            return calls

    # the leader's business

    def _wait(self) -> list[Request]:
        """The requests that have arrived; waits until something happens."""
        arrived: list[Request] = []
        for key, mask in self._awake() or self._waiting.select(self._patience()):
            connection: Connection | None = key.data
            if connection is not None:
                request = self._hear(connection, mask)
                if request is not None:
                    arrived.append(request)
            elif key.fd in self._listeners:
                self._accept(key.fd)
            elif not self._closed:
                self._look_after()
        self._expecting = bool(arrived)
        return arrived

    def _awake(self) -> list[tuple[selectors.SelectorKey, int]]:
        """What happens in the moment after an answer, for which the thread stays awake while nobody
        else is at work.

        A caller's next request mostly comes then, and to sleep and be woken takes longer, most so
        on virtual machines.
        """
        if self._expecting and not self._working:
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
        listeners = self._listeners
        if not self._strangers and not self._slow and listeners.deaf_until == math.inf:
            return None
        due = min(self._strangers.due, self._slow.due, listeners.deaf_until)
        now = time.monotonic()
        if due <= now:
            if listeners.deaf_until <= now:
                listeners.listen_again(now)
            for connection in (*self._strangers.over(now), *self._slow.over(now)):
                self._hang_up(connection)
            due = min(self._strangers.due, self._slow.due, listeners.deaf_until)
        return max(0.0, due - now) if due < math.inf else None

    def _accept(self, descriptor: int) -> None:
        arrived = self._listeners.accept(descriptor)
        if arrived is None:
            return
        accepted, peer = arrived
        if len(self._open) >= CONNECTIONS_MAX:
            accepted.close()
            return
        try:
            connection = Connection(accepted, peer, self._greeting)
            self._waiting.register(accepted, selectors.EVENT_READ, connection)
        except OSError:
            accepted.close()
            return
        self._open.add(connection)
        self._strangers.begin(connection)

    def _hear(self, connection: Connection, mask: int) -> Request | None:
        stranger = not connection.greeted
        try:
            if mask & selectors.EVENT_WRITE:
                connection.send_more()
                self._listen_to(connection)
            request = connection.receive() if mask & selectors.EVENT_READ else None
        except (OSError, Foreign):
            self._hang_up(connection)
            return None
        if stranger and connection.greeted:
            self._strangers.end(connection)
        if connection.unsent and connection not in self._slow:
            self._listen_to(connection)
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
        if connection in self._open:
            self._open.discard(connection)
            self._strangers.end(connection)
            self._slow.end(connection)
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
        if self._admitted(request):
            began = time.perf_counter()
            try:
                reply: bytes | Refused = self._call(request.rpc, request.message)
            except Refused as refused:
                reply = refused
            except Exception:
                reply = _unforeseen()
            self._reply(request, reply)
            self._usual.note(request, time.perf_counter() - began)

    def _answer_together(self, searches: Sequence[Request]) -> None:
        assert self._together is not None
        began, admitted = (
            time.perf_counter(),
            [request for request in searches if self._admitted(request)],
        )
        try:
            replies: Sequence[bytes | Refused] = self._together(
                [request.message for request in admitted]
            )
        except Exception:
            replies = [_unforeseen()] * len(admitted)
        for request, reply in zip(admitted, replies, strict=True):
            self._reply(request, reply)
        for request in admitted:
            self._usual.note(request, (time.perf_counter() - began) / len(admitted))

    def _admitted(self, request: Request) -> bool:
        """Whether the gate lets the caller do this; if not, he was told so."""
        metadata = ((AUTHORIZATION, request.authorization),) if request.authorization else ()
        try:
            if self._observe:
                self._observe(metadata)
            if self._gate:
                self._gate.check_call(request.rpc, request.message, metadata, request.caller.peer)
        except Refused as refused:
            self._reply(request, refused)
            return False
        except Exception:
            self._reply(request, _unforeseen())
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
        except Exception:  # as want of memory
            _unforeseen()
            caller.give_up()
        if caller.unsent:
            if sum(each.held for each in list(self._open) if each is not caller) > UNSENT_BYTES_MAX:
                caller.give_up()
            self._left.append(caller)
            self._nudge()

    def _nudge(self) -> None:
        with suppress(OSError):  # so many words wait for the leader already, or the door is closed
            self._wake.send(b"\0")


def _unforeseen() -> Refused:
    tell_of_error()
    return Refused(GrpcStatus.UNKNOWN, INTERNAL_ERROR)
