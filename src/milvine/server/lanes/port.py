"""A port for lanes: the short calls of our own client, without a thread between the socket and the
search.

One thread leads: it waits for all connections at once, takes every request that has arrived and
answers it on the spot. Searches that arrived together share a pass
(`operations/query_batching.py`). Before what is likely to take long it hands the lead to the next
thread, and while no other is free to lead, such calls wait: short ones never wait for long ones.
How long a call takes is known from the calls before it, by rpc, collection and size.

Whatever is out of the ordinary ends the connection: clients make the call again at the gRPC port,
which knows all of gRPC. A caller can hold one request of at most 12 KB here, so this door bounds
what it receives by itself; of replies it keeps what callers are slow to take, up to a bound for all
of them together.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence

from milvine.server.doors.door import INTERNAL_ERROR, Call, end_of, tell_of_error
from milvine.server.lanes.callers import UNSENT_BYTES_MAX, Callers
from milvine.server.lanes.connection import Request
from milvine.server.lanes.times import LONG_SECONDS, LongCalls, Usual
from milvine.server.operations import GrpcStatus, Refused
from milvine.server.security.gate import AUTHORIZATION, Gate
from milvine.server.tracing.opening import Observe
from milvine.wire.http2 import Foreign

Together = Callable[[Sequence[bytes]], list[bytes | Refused]]

_WORKERS = max(2, min(4, os.cpu_count() or 1))  # more of them only contend for the interpreter lock
_RECOVERY_SECONDS = 1.0
_LAST_SECONDS = 0.1  # for calls that are being answered at the end
_SEARCH = "Search"
_PASS_MAX = 64  # searches that one pass answers


class LaneDoor:
    """Listens from the moment it is made; if `local`, also where callers of this machine alone come
    in.

    Args:
        unsent_max: bytes of replies that it keeps for callers who are slow to take them.

    Attributes:
        place: where lanes begin. Its instance tells this run of the server from every other; a
            lane's first settings say it.

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
        unsent_max: int = UNSENT_BYTES_MAX,
    ) -> None:
        self._call, self._together, self._observe, self._gate = call, together, observe, gate
        self._callers = Callers(address, port, local, unsent_max)
        self.port, self.place = self._callers.port, self._callers.place
        self._usual = Usual()
        self._closed, self._serving = False, 0
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
            self._callers.nudge()
            end = None if grace is None else time.monotonic() + max(grace, _LAST_SECONDS)
            for thread in self._threads:
                thread.join(None if end is None else max(0.0, end - time.monotonic()))
            self._callers.give_up()  # whose calls take longer than that
        else:
            self._callers.close()

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
            if not self._serving:  # the last one turns off the light
                self._callers.close()

    def _recover(self) -> Sequence[Request]:
        """After an error that nobody foresaw: whoever waits for an answer hears that none comes,
        and asks elsewhere.
        """
        _unforeseen()
        self._callers.give_up()
        time.sleep(_RECOVERY_SECONDS)
        return ()

    def _until_long(self) -> Sequence[Request]:
        """Leads: answers what is short, and returns with what is not when another thread can take
        the lead.
        """
        wait = self._callers.wait
        while not self._closed:
            if self._long and (calls := self._begin_long()):
                return calls
            arrived = wait(not self._working)
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
        began = time.perf_counter()
        admitted = [request for request in searches if self._admitted(request)]
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
            self._callers.keep(caller)


def _unforeseen() -> Refused:
    tell_of_error()
    return Refused(GrpcStatus.UNKNOWN, INTERNAL_ERROR)
