"""The server's end of all lanes: short calls, answered without a thread between the socket and the
search.

One thread leads: it waits for all connections at once, takes every request that has arrived and
answers it on the spot. Searches that arrived together are answered as one batch. Before what is
likely to take long it hands the lead to the next thread, and while no other is free to lead, such
calls wait: short ones never wait for long ones. How long a call takes is known from the calls
before it, by rpc, collection and size.

Whatever is out of the ordinary ends the connection: clients make the call again at the gRPC port,
which knows all of gRPC. A caller can hold one request of at most 12 KB here, so this port bounds
what it receives by itself; of replies it keeps what callers are slow to take, up to a bound for all
of them together.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Sequence
from typing import Protocol

from milvine.lanes.durations import LONG_SECONDS, Call, Durations, LongCalls
from milvine.lanes.http2 import ProtocolError
from milvine.lanes.server_connections import UNSENT_BYTES_MAX, Connections
from milvine.lanes.server_protocol import Refusal, Request

_WORKERS = max(2, min(4, os.cpu_count() or 1))  # more of them only contend for the interpreter lock
RECOVERY_SECONDS = 1.0
_LAST_SECONDS = 0.1  # for calls that are being answered at the end
_SEARCH = "Search"
_BATCH_MAX = 64  # searches that are answered at once


class Service(Protocol):
    """What lanes are answered by. Any thread may call it; errors are told by it, never raised."""

    def admit(self, request: Request, peer: tuple[str, int]) -> Refusal | None:
        """Why the caller at that address may not do this; None: he may."""

    def answer(self, request: Request) -> bytes | Refusal:
        """The reply to a call that was admitted."""

    def answer_batch(self, searches: Sequence[Request]) -> Sequence[bytes | Refusal]:
        """The replies to searches that were admitted and arrived at the same moment."""

    def tell_of_error(self) -> None:
        """Tell of the error that is being handled, which nobody foresaw."""


class LanePort:
    """Takes connections at a listening TCP socket, serves from `start` to `stop`.

    Attributes:
        connections: those that are open, and where they begin.
        durations: what is known of how long calls take.
        threads: those that serve, of which one leads.
    """

    def __init__(
        self,
        listening: socket.socket,
        service: Service,
        batches: bool = True,
        unsent_max: int = UNSENT_BYTES_MAX,
    ) -> None:
        self._service, self._batches = service, batches
        self.connections, self.durations = Connections(listening, unsent_max), Durations()
        self._closed, self._serving = False, 0
        self._lead = threading.Lock()
        self._long = LongCalls()  # that wait for a thread other than the leader
        self._working, self._sharing = 0, threading.Lock()  # threads that carry out such calls
        self.threads = tuple(
            threading.Thread(target=self._serve, name=f"milvine-lane-{n}", daemon=True)
            for n in range(_WORKERS + 1)
        )

    @property
    def port(self) -> int:
        """The TCP port."""
        return self.connections.address.port

    def start(self) -> None:
        """Take calls."""
        self._serving = len(self.threads)
        for thread in self.threads:
            thread.start()

    @property
    def closed(self) -> bool:
        """Whether somebody stopped it."""
        return self._closed

    def stop(self, grace: float | None) -> None:
        """Take no more calls, wait up to `grace` seconds for those that are being answered (None:
        as long as they take), hang up.
        """
        self._closed = True
        if self._serving:
            self.connections.nudge()
            end = None if grace is None else time.monotonic() + max(grace, _LAST_SECONDS)
            for thread in self.threads:
                thread.join(None if end is None else max(0.0, end - time.monotonic()))
            self.connections.give_up()  # whose calls take longer than that
        else:
            self.connections.close()

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
                self.connections.close()

    def _recover(self) -> Sequence[Call]:
        """After an error that nobody foresaw: whoever waits for an answer hears that none comes,
        and asks elsewhere.
        """
        self._service.tell_of_error()
        self.connections.give_up()
        time.sleep(RECOVERY_SECONDS)
        return ()

    def _until_long(self) -> Sequence[Call]:
        """Leads: answers what is short, and returns with what is not when another thread can take
        the lead.
        """
        wait = self.connections.wait
        while not self._closed:
            if self._long and (calls := self._begin_long()):
                return calls
            arrived = wait(not self._working)
            if self.durations.likely(arrived) <= LONG_SECONDS:
                self._answer(arrived)
            else:
                self._sort(arrived)
        return ()

    def _sort(self, arrived: Sequence[Call]) -> None:
        """Lets long calls wait for a thread, and short ones that are many, too, unless they would
        really wait.
        """
        short: list[Call] = []
        many = 0.0
        with self._sharing:
            for call in arrived:
                seconds = self.durations.likely((call,))
                if seconds > LONG_SECONDS:
                    joins = self._batches and call.request.rpc == _SEARCH
                    self._long.add([call], seconds, call.request.kind if joins else None)
                else:
                    short.append(call)
                    many += seconds
            leave = many > LONG_SECONDS and self._working < _WORKERS
            if leave:
                self._long.add(short, many)
        if not leave:
            self._answer(short)

    def _begin_long(self) -> Sequence[Call]:
        """For the leader: calls to carry out without the lead; none while every other thread does
        so.
        """
        with self._sharing:
            if self._working >= _WORKERS or not self._long:
                return ()
            self._working += 1
            return self._long.take()

    def _next_long(self) -> Sequence[Call]:
        """For a thread that has carried out such calls: further ones, if any wait."""
        with self._sharing:
            calls = self._long.take()
            self._working -= not calls
            return calls

    # answering

    def _answer(self, arrived: Sequence[Call]) -> None:
        if self._batches and len(arrived) > 1:
            searches = [call for call in arrived if call.request.rpc == _SEARCH]
            if len(searches) > 1:
                arrived = [call for call in arrived if call.request.rpc != _SEARCH]
                for start in range(0, len(searches), _BATCH_MAX):
                    self._answer_batch(searches[start : start + _BATCH_MAX])
        for call in arrived:
            if self._admitted(call):
                began = time.perf_counter()
                self._reply(call, self._service.answer(call.request))
                self.durations.note(call.request, time.perf_counter() - began)

    def _answer_batch(self, searches: Sequence[Call]) -> None:
        began = time.perf_counter()
        admitted = [call for call in searches if self._admitted(call)]
        answers = self._service.answer_batch([call.request for call in admitted])
        for call, answer in zip(admitted, answers, strict=True):
            self._reply(call, answer)
        for call in admitted:
            self.durations.note(call.request, (time.perf_counter() - began) / len(admitted))

    def _admitted(self, call: Call) -> bool:
        """Whether the caller may do this; if not, he was told so."""
        refusal = self._service.admit(call.request, call.caller.peer)
        if refusal is not None:
            self._reply(call, refusal)
        return refusal is None

    def _reply(self, call: Call, answer: bytes | Refusal) -> None:
        caller = call.caller
        try:
            caller.answer(call.request, answer)
        except (OSError, ProtocolError):
            caller.give_up()  # the leader hears of it
        except Exception:  # as want of memory
            self._service.tell_of_error()
            caller.give_up()
        if caller.unsent:
            self.connections.keep(caller)
