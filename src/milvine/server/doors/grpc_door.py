"""The door made of grpcio: runs everywhere. Messages pass as bytes, their meaning is the
operations' business.
"""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from threading import BoundedSemaphore, Timer
from typing import Any

import grpc

from milvine.server.doors.door import (
    MESSAGE_BYTES_MAX,
    PROBE_THREADS,
    REQUEST_ID,
    WAITING_CALLS_MAX,
    Call,
    DoorFailed,
    Stream,
    target,
)
from milvine.server.doors.door_probe import own_target
from milvine.server.doors.grpc_serving import ServingThread
from milvine.server.doors.private_socket import PrivateSocket
from milvine.server.operations import GrpcStatus, Refused
from milvine.server.security.doors import OPEN_DOOR, DoorSecurity
from milvine.server.security.gate import Gate
from milvine.server.tracing.opening import Observe
from milvine.wire.health import CHECK
from milvine.wire.schema import method_path

_FOREVER = 365 * 86400.0  # grpcio takes None for "at once"
_LAST_SECONDS = 1.0
_CODES = {code: getattr(grpc.StatusCode, code.name) for code in GrpcStatus}
_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),  # a second server on the port shall fail, not share it
    ("grpc.keepalive_permit_without_calls", 1),
    # Who connects and says nothing is not waited for longer.
    ("grpc.server_handshake_timeout_ms", 20_000),
    ("grpc.http2.max_ping_strikes", 0),  # 1.x clients ping every 55 seconds
)


# Else megabytes of calls that are not read yet are taken in.
_SHORT_OF_MEMORY = (("grpc.http2.bdp_probe", 0),)
SENDING_SECONDS = 60.0
"""From its turn on until a message is there: whoever takes longer is cut off, for others wait."""


class GrpcDoor:
    """Listens from the moment it is made. `handlers` are grpcio's own, for services beside ours.

    Attributes:
        own_target: where this process calls it. With TLS a Unix socket, for there may be no
            certificate for ourselves; nothing but health is answered there.

    Raises:
        DoorFailed: the address is taken or not ours.
    """

    name = "grpc"

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
    ) -> None:
        self._threads = ThreadPoolExecutor(WAITING_CALLS_MAX, thread_name_prefix="milvine-rpc")
        self._probes = ThreadPoolExecutor(PROBE_THREADS, thread_name_prefix="milvine-health")
        tls = security.credentials is not None
        self._inner = PrivateSocket() if tls and hasattr(socket, "AF_UNIX") else None
        self._server = grpc.server(
            self._threads,
            handlers=[
                _Handlers(call, rpcs, streams or {}, observe, security, self._probes, tls),
                *handlers,
            ],
            options=(
                *_OPTIONS,
                *(_SHORT_OF_MEMORY if security.inserts_max < WAITING_CALLS_MAX else ()),
                ("grpc.max_concurrent_streams", security.streams_max),
                (
                    "grpc.max_receive_message_length",
                    min(security.message_bytes_max, MESSAGE_BYTES_MAX),
                ),
            ),
        )
        self._serving = ServingThread(self._server)
        self.port = self._listen(target(address, port), security.credentials)
        if not self.port:
            self._shut()
            raise DoorFailed.busy(target(address, port))
        self.own_target = own_target(address, self.port)
        if self._inner:
            self.own_target = self._inner.target
            self._server.add_insecure_port(self._inner.target)

    def _listen(self, target: str, credentials: Any) -> int:
        try:
            if credentials is None:
                return int(self._server.add_insecure_port(target))
            return int(self._server.add_secure_port(target, credentials))
        except RuntimeError:
            return 0

    @property
    def ended(self) -> str:
        return self._serving.ended

    def start(self) -> None:
        self._serving.start()

    def stop(self, grace: float | None) -> None:
        self._serving.stop(_FOREVER if grace is None else grace, _LAST_SECONDS)
        self._shut()

    def _shut(self) -> None:
        self._threads.shutdown(wait=False)
        self._probes.shutdown(wait=False)
        if self._inner:
            self._inner.remove()


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(
        self,
        call: Call,
        rpcs: Iterable[str],
        streams: Mapping[str, Stream],
        observe: Observe | None,
        security: DoorSecurity,
        probes: ThreadPoolExecutor,
        tls: bool,
    ) -> None:
        numbers, gate, inserts_max = itertools.count(), security.gate, security.inserts_max
        self._gate, self._rpcs = gate, {method_path(rpc): rpc for rpc in rpcs}
        self._handlers = {
            path: _handler(call, rpc, numbers, observe, gate, tls and rpc != CHECK)
            for path, rpc in self._rpcs.items()
        }
        # It is answered also while all others wait.
        if (probe := self._handlers.get(CHECK)) is not None:
            probe.unary_unary.experimental_thread_pool = probes
        if inserts_max < WAITING_CALLS_MAX:
            path = method_path("Insert")
            self._handlers[path] = _with_slot(self._handlers[path], BoundedSemaphore(inserts_max))
        self._handlers |= {
            method_path(rpc): _stream_handler(stream) for rpc, stream in streams.items()
        }

    def service(self, handler_call_details: Any) -> Any:
        path, metadata = handler_call_details.method, handler_call_details.invocation_metadata
        rpc = self._rpcs.get(path)
        if self._gate and rpc and not self._gate.welcomes(rpc, metadata):
            return _refusing(self._gate, rpc)
        return self._handlers.get(path)


def _handler(
    call: Call,
    rpc: str,
    numbers: Iterator[int],
    observe: Observe | None,
    gate: Gate | None,
    closed: bool,
) -> Any:
    """`closed` to callers at the door's Unix socket."""

    def serve(request: bytes, context: Any) -> bytes:
        if all(key != REQUEST_ID for key, _ in context.invocation_metadata()):
            context.send_initial_metadata(((REQUEST_ID, str(next(numbers))),))
        if observe:
            observe(context.invocation_metadata())
        if not context.is_active():
            return b""  # the caller gave up while this waited for a thread: nothing begins
        if closed and context.peer().startswith("unix:"):
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "This is for health alone")
        try:
            if gate:
                gate.check_call(rpc, request, context.invocation_metadata(), context.peer())
            return call(rpc, request)
        except Refused as refused:
            context.abort(_CODES[refused.status], str(refused))
            raise

    return grpc.unary_unary_rpc_method_handler(serve)


def _with_slot(handler: Any, slots: BoundedSemaphore) -> Any:
    """The same call, whose message is read when its turn comes: as one that takes a stream, of one
    message.
    """

    def serve(requests: Iterator[bytes], context: Any) -> bytes:
        with slots:
            late = Timer(SENDING_SECONDS, context.cancel)
            late.daemon = True
            late.start()
            try:
                request = next(requests, None)
            finally:
                late.cancel()
            if request is not None:
                reply: bytes = handler.unary_unary(request, context)
                return reply
        context.abort(grpc.StatusCode.INTERNAL, "The call has no message")
        return b""

    return grpc.stream_unary_rpc_method_handler(serve)


def _refusing(gate: Gate, rpc: str) -> Any:
    """For those who may not make a call: as one that takes a stream it does not read their
    requests.
    """

    def serve(requests: Iterator[bytes], context: Any) -> bytes:
        try:
            gate.admit_call(rpc, context.invocation_metadata(), context.peer())
        except Refused as refused:
            context.abort(_CODES[refused.status], str(refused))
        # The caller's token became good between the two looks at it.
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "Try again")
        return b""

    return grpc.stream_unary_rpc_method_handler(serve)


def _stream_handler(stream: Stream) -> Any:
    def serve(request: bytes, context: Any) -> Iterator[bytes]:
        messages: SimpleQueue[bytes | None] = SimpleQueue()
        context.add_callback(lambda: messages.put(None))
        try:
            close = stream(request, messages.put)
        except Refused as refused:
            context.abort(_CODES[refused.status], str(refused))
            raise
        try:
            yield from iter(messages.get, None)
        finally:
            close()

    return grpc.unary_stream_rpc_method_handler(serve)
