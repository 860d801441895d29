"""The door made of pygrpc-native: HTTP/2 in Rust, outside the interpreter lock, where its wheels
exist.

Serving threads take calls from the front one after the other and answer those that only read on the
spot, which spares the hand-over to a pool. Calls that wait (for a build, for the disk) or carry
much go to the pool, so that they never stand in the way of short ones.

The front reserves as much memory as a message announces, up to 4 GiB, and ends the process where it
may not; it unpacks what is packed, however much that is; and it holds what arrived until a thread
takes it. So this door is for clients that are trusted with memory, and `network.door: auto` takes
the other one where such a reservation fails.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pygrpc_native._native import EVENT_CALL, EVENT_CANCEL, STREAM_SENT, NativeGrpcFront

from milvine.server.doors.door import (
    INTERNAL_ERROR,
    PROBE_THREADS,
    REQUEST_ID,
    WAITING_CALLS_MAX,
    Call,
    Close,
    DoorFailed,
    Stream,
    end_of,
    target,
    tell_of_error,
)
from milvine.server.doors.door_probe import own_target
from milvine.server.doors.fallback import Fallback
from milvine.server.operations import GrpcStatus, Refused
from milvine.server.security.doors import OPEN_DOOR, DoorSecurity
from milvine.server.tracing.opening import Observe
from milvine.wire.health import CHECK
from milvine.wire.schema import method_path

# More threads would only contend for the interpreter lock.
_SERVING_THREADS = max(2, min(4, os.cpu_count() or 1))
_SHORT = frozenset(
    {
        "Search",
        "SearchByID",
        "SearchInFiles",
        "GetVectorsByID",
        "Cmd",
        "HasCollection",
        "DescribeCollection",
        "CountCollection",
        "ShowCollections",
        "HasPartition",
        "ShowPartitions",
        "DescribeIndex",
    }
)
_LARGE_BYTES = 64 << 10
# That one serving thread takes when as many wait: searches among them may share a pass.
_CALLS_AT_ONCE = 8
_Search = tuple[int, bytes, Any]  # call id, request, details
_LAST_BYTES_SECONDS = 0.1  # for replies handed to the front to leave it


class NativeDoor:
    """Listens from the moment it is made. `handlers` are grpcio's own, for services beside ours.

    Raises:
        DoorFailed: the address is taken or not ours.
    """

    name = "native"

    def __init__(
        self,
        call: Call,
        rpcs: Iterable[str],
        address: str,
        port: int,
        streams: Mapping[str, Stream] | None = None,
        handlers: Sequence[Any] = (),
        observe: Observe | None = None,
        security: DoorSecurity = OPEN_DOOR,
        answer_batch: Callable[[Sequence[bytes]], list[bytes | Refused]] | None = None,
    ) -> None:
        self._answer_batch = answer_batch
        self._call, self._streams, self._observe = call, streams or {}, observe
        self._gate = security.gate
        self._rpcs = (*rpcs, *self._streams)
        self._open: dict[int, Close] = {}  # streams by call id
        self._queued: set[int] = set()  # calls that wait for a thread and whose callers are there
        methods = [(method_path(rpc), rpc in self._streams) for rpc in self._rpcs]
        try:
            self._front = NativeGrpcFront(
                target(address, port),
                methods,
                call_details=True,
                max_concurrent_streams=security.streams_max,
            )
        except OSError:
            raise DoorFailed.busy(target(address, port)) from None
        self.port = self._front.bound_port
        self._fallback = Fallback(handlers) if handlers else None
        if self._fallback:
            self._front.set_fallback(self._fallback.path)
        self._numbers = itertools.count()
        self._calls = _CallsInFlight()
        self._pool = ThreadPoolExecutor(WAITING_CALLS_MAX, thread_name_prefix="milvine-rpc")
        self._probes = ThreadPoolExecutor(PROBE_THREADS, thread_name_prefix="milvine-health")
        self._stopped = False
        self.own_target = own_target(address, self.port)
        self._threads = [
            threading.Thread(target=self._serve, name=f"milvine-door-{n}", daemon=True)
            for n in range(_SERVING_THREADS)
        ]

    def start(self) -> None:
        self._front.start()
        for thread in self._threads:
            thread.start()

    @property
    def ended(self) -> str:
        return "" if self._stopped else end_of(self._threads)

    def stop(self, grace: float | None) -> None:
        self._stopped = True
        self._calls.drain(grace)
        time.sleep(_LAST_BYTES_SECONDS)
        self._front.close()
        if self._fallback:
            self._fallback.stop()
        for thread in self._threads:
            if thread.is_alive():  # there is none before `start`
                thread.join(_LAST_BYTES_SECONDS)
        self._pool.shutdown(wait=False)
        self._probes.shutdown(wait=False)

    def _serve(self) -> None:
        serving = True
        while serving:
            try:
                serving = self._serve_next()
            except (
                Exception
            ):  # of some calls, whose callers were told: this thread is for all the others, too
                tell_of_error()
                serving = not self._stopped

    def _serve_next(self) -> bool:
        """Waits for a call and sees to it. A function of its own, so that no request is held while
        waiting.
        """
        events = self._front.recv_batch_details(_CALLS_AT_ONCE if self._answer_batch else 1)
        searches: list[_Search] = []
        try:
            for kind, call_id, method, request, _, details in events or ():
                if kind == EVENT_CALL and request is not None:
                    self._take_one(call_id, self._rpcs[method], request, details, searches)
                elif kind == EVENT_CANCEL:
                    self._queued.discard(call_id)
                    self._open.pop(call_id, _nothing)()
        finally:  # they are taken, whatever became of the calls that came with them
            self._answer_searches(searches)
        return events is not None

    def _answer_searches(self, searches: Sequence[_Search]) -> None:
        if len(searches) == 1:
            call_id, request, details = searches[0]
            self._answer(call_id, "Search", request, details)
        elif searches:
            self._answer_several(searches)

    def _take_one(
        self, call_id: int, rpc: str, request: bytes, details: Any, searches: list[_Search]
    ) -> None:
        """As `_take`; an error is of this call alone: others came with it, and
        this thread is for all."""
        try:
            self._take(call_id, rpc, request, details, searches)
        except Exception:  # its caller was told
            tell_of_error()

    def _take(
        self, call_id: int, rpc: str, request: bytes, details: Any, searches: list[_Search]
    ) -> None:
        """Sees to a call, or puts it to the `searches` that came with it."""
        if not self._calls.enter():
            self._front.fail(call_id, GrpcStatus.UNAVAILABLE, "The server is shutting down")
        elif rpc in self._streams:
            self._stream(call_id, rpc, request)
        elif rpc == "Search" and self._answer_batch and len(request) <= _LARGE_BYTES:
            searches.append((call_id, request, details))
        elif rpc in _SHORT and len(request) <= _LARGE_BYTES:
            self._answer(call_id, rpc, request, details)
        else:
            self._queue(call_id, rpc, request, details)

    def _queue(self, call_id: int, rpc: str, request: bytes, details: Any) -> None:
        self._queued.add(call_id)
        pool = self._probes if rpc == CHECK else self._pool
        try:
            pool.submit(self._answer_queued, call_id, rpc, request, details)
        except Exception:  # as want of one thread more; it may wait in the queue all the same
            self._queued.discard(call_id)
            self._front.fail(call_id, GrpcStatus.UNKNOWN, INTERNAL_ERROR)
            raise

    def _answer_queued(self, call_id: int, rpc: str, request: bytes, details: Any) -> None:
        if call_id in self._queued:
            self._queued.discard(call_id)
            self._answer(call_id, rpc, request, details)
        else:  # the caller gave up: nothing begins
            self._calls.leave()

    def _answer(self, call_id: int, rpc: str, request: bytes, details: Any) -> None:
        if self._observe:
            self._observe(details[0])
        try:
            if self._gate:
                self._gate.check_call(rpc, request, details[0], details[1])
            reply = self._call(rpc, request)
            self._front.respond(call_id, reply, self._metadata(details))
        except Refused as refused:
            self._front.fail(call_id, refused.status, str(refused))
        except BaseException:
            self._front.fail(call_id, GrpcStatus.UNKNOWN, INTERNAL_ERROR)
            raise
        finally:
            self._calls.leave()

    def _answer_several(self, searches: Sequence[_Search]) -> None:
        assert self._answer_batch is not None
        waiting = {call_id for call_id, _, _ in searches}
        try:
            admitted = [search for search in searches if self._admit(*search)]
            waiting &= {call_id for call_id, _, _ in admitted}
            replies = self._answer_batch([request for _, request, _ in admitted])
            for (call_id, _, details), reply in zip(admitted, replies, strict=True):
                waiting.discard(call_id)
                if isinstance(reply, Refused):
                    self._front.fail(call_id, reply.status, str(reply))
                else:
                    self._front.respond(call_id, reply, self._metadata(details))
        except BaseException:
            for call_id in waiting:
                self._front.fail(call_id, GrpcStatus.UNKNOWN, INTERNAL_ERROR)
            raise
        finally:
            for _ in searches:
                self._calls.leave()

    def _admit(self, call_id: int, request: bytes, details: Any) -> bool:
        """Whether the caller may search; if not, it was told so."""
        try:
            if self._gate:
                self._gate.check_call("Search", request, details[0], details[1])
        except Refused as refused:
            self._front.fail(call_id, refused.status, str(refused))
            return False
        return True

    def _stream(self, call_id: int, rpc: str, request: bytes) -> None:
        """Begins a stream, which goes on without a thread; it is not waited for at the end."""

        def send(message: bytes | None) -> None:
            if message is None:
                self._front.stream_end(call_id)
            elif (
                self._front.stream_try_send(call_id, message) != STREAM_SENT
            ):  # gone, or too slow to be told
                self._front.fail(
                    call_id, GrpcStatus.RESOURCE_EXHAUSTED, "The messages are not read"
                )

        try:
            self._open[call_id] = self._streams[rpc](request, send)
            # Its end may have been told before this was noted.
            if not self._front.stream_open(call_id):
                self._open.pop(call_id, _nothing)()
        except Refused as refused:
            self._front.fail(call_id, refused.status, str(refused))
        except BaseException:
            self._front.fail(call_id, GrpcStatus.UNKNOWN, INTERNAL_ERROR)
            raise
        finally:
            self._calls.leave()

    def _metadata(self, details: Any) -> tuple[tuple[str, str], ...]:
        if any(key == REQUEST_ID for key, _ in details[0]):
            return ()
        return ((REQUEST_ID, str(next(self._numbers))),)


def _nothing() -> None:
    return


class _CallsInFlight:
    """Counts calls, until somebody waits for the last one."""

    def __init__(self) -> None:
        self._count, self._open = 0, True
        self._changed = threading.Condition()

    def enter(self) -> bool:
        """False when no more calls are taken."""
        with self._changed:
            self._count += self._open
            return self._open

    def leave(self) -> None:
        with self._changed:
            self._count -= 1
            self._changed.notify_all()

    def drain(self, seconds: float | None) -> None:
        """Take no more, and wait for those that are in."""
        with self._changed:
            self._open = False
            self._changed.wait_for(lambda: not self._count, seconds)
