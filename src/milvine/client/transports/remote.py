"""A server over gRPC. One channel for all threads; messages pass as bytes, of any size."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import grpc

from milvine.client.address import ServerAddress
from milvine.client.exceptions import NotConnectError
from milvine.client.transports.base import TransportFailed, attempts, nobody, patience
from milvine.deadline import Deadline
from milvine.lanes.agreement import CALLS, COMMAND, REQUEST_BYTES_MAX, Endpoint
from milvine.lanes.per_thread import Lanes
from milvine.wire.packed import Malformed, parse
from milvine.wire.schema import RPCS, Command, StringReply, method_path

_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_retries", 1),
    # A forked child must not find its parent's connection in a shared pool.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.keepalive_time_ms", 55_000),
    # A server that comes back is found within a second, not within grpc's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)
_PAUSE = 0.1  # seconds between two of its attempts at a silent server
# How grpc says that a request did not leave this process.
_NEVER_SENT = "failed to connect to all addresses"
# How it says that nobody spoke, whoever may have taken the connection. It gives up sooner than we
# do. The words of its own end of a TLS handshake are about silence too, not about trust.
_SILENT = ("timed out", "handshaker shutdown", "Endpoint closing")
_LAST = "last error: "  # what stands behind it is about the connection
# Nobody here cancels calls: CANCELLED is a server that stops.
_BROKEN = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
_NOBODY = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
_FORKED = (
    "This process was forked while another thread was in a call, which grpc does not survive. Fork"
    " before the first call, or between calls"
)
# Threads of this process that are in a call; a child keeps what it was forked with.
_calling: set[int] = set()
_of_parents: list[grpc.Channel] = []
_PING = bytes(Command(cmd="version").SerializeToString())
_LANES = bytes(Command(cmd=COMMAND).SerializeToString())


class RemoteFailed(TransportFailed, grpc.RpcError):  # type: ignore[misc]  # grpc ships no types
    """Also a `grpc.RpcError`, which is what 1.x users catch around asynchronous results."""


class RemoteTransport:
    """Waits for the server at most `max_retry` times `wait_timeout` seconds, and far less where it
    refuses at once.

    For one that has answered before and refuses now, being started again perhaps, it waits
    `wait_timeout` seconds.
    """

    def __init__(
        self, address: ServerAddress, wait_timeout: float, max_retry: int, pre_ping: bool
    ) -> None:
        self._address, self._wait_timeout, self._max_retry = address, wait_timeout, max_retry
        self._pre_ping, self._answered = pre_ping, False
        shown = address.credentials.authorization
        self._metadata = (("authorization", shown),) if shown else None
        self._open_channel()

    def _open_channel(self) -> None:
        self._channel = _channel(self._address)
        self._calls = {rpc: self._channel.unary_unary(method_path(rpc)) for rpc in RPCS}
        self._process = os.getpid()
        self._lanes = _lanes(self._address, self._ask_for_lane)

    def _open_after_fork(self) -> None:
        """A channel of the child's own. The parent's is kept, not closed: its connection is the
        parent's as well.

        Raises:
            NotConnectError: the fork came in the middle of a call.
        """
        if _calling:
            raise NotConnectError(_FORKED)
        _of_parents.append(self._channel)
        self._open_channel()

    @property
    def lane_port(self) -> int | None:
        """Where the short calls of this thread go; None: through grpcio."""
        return self._lanes.port if self._lanes else None

    def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        if os.getpid() != self._process:
            self._open_after_fork()
        if timeout == 0.0:
            raise RemoteFailed(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
        deadline = Deadline(timeout)
        if method in CALLS and self._lanes and len(request) <= REQUEST_BYTES_MAX:
            try:
                reply = self._lanes.call(method, request, deadline)
            except TimeoutError:
                raise RemoteFailed(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded") from None
            if reply is not None:
                return reply
        began = time.monotonic()
        try:
            return self._send(method, request, deadline.left())
        except RemoteFailed as error:
            if not self._pre_ping or not error.unsent:
                raise
        self.wait(deadline, began)
        return self._send(method, request, deadline.left())

    def _send(self, method: str, request: bytes, timeout: float | None) -> bytes:
        thread = threading.get_ident()
        try:
            _calling.add(thread)
            reply: bytes = self._calls[method](request, timeout=timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            details = error.details() or ""
            unsent = _NEVER_SENT in details
            raise RemoteFailed(
                error.code(), details, unsent, error.code() in _BROKEN and not unsent
            ) from error
        finally:
            _calling.discard(thread)
        self._answered = True
        return reply

    def _ask_for_lane(self, seconds: float) -> str:
        """What the server says of lanes; nothing where it does not answer, as the call that wants
        one will tell.
        """
        try:
            return str(parse(StringReply, self._send("Cmd", _LANES, seconds)).string_reply)
        except (RemoteFailed, Malformed):
            return ""

    def _ping(self, deadline: Deadline) -> None:
        """One attempt to connect; it takes until the `deadline` where nobody says a word."""
        while True:
            try:
                self._send("Cmd", _PING, deadline.left())
                return
            except RemoteFailed as error:
                if not (error.unsent and _silent(error)) or deadline.over():
                    raise
            time.sleep(deadline.within(_PAUSE))

    def wait(self, deadline: Deadline, began: float | None = None) -> None:
        """Until the server answers; one that refuses is asked again for a while, and never after
        the `deadline`. Of a call that failed, and counts as the first attempt, when it `began`.

        Raises:
            NotConnectError: it did not in any of the attempts.
        """
        made, reason = int(began is not None), ""
        began = time.monotonic() if began is None else began
        seconds = patience(self._wait_timeout, self._answered)
        for _ in attempts(self._max_retry, seconds, deadline):
            made += 1
            try:
                self._ping(Deadline(deadline.within(self._wait_timeout)))
            except RemoteFailed as error:
                if error.code() in _NOBODY:
                    reason = "" if _silent(error) else error.details().rpartition(_LAST)[2]
                    continue
            return
        raise nobody(self._address, made, time.monotonic() - began, reason)

    def close(self) -> None:
        if os.getpid() == self._process:
            if self._lanes:
                self._lanes.close()
            self._channel.close()


def _silent(error: RemoteFailed) -> bool:
    """Whether nobody spoke. An end by our own deadline says the same."""
    return error.code() is grpc.StatusCode.DEADLINE_EXCEEDED or any(
        words in error.details() for words in _SILENT
    )


def _lanes(address: ServerAddress, ask: Callable[[float], str]) -> Lanes | None:
    """None with TLS, which lanes do not speak."""
    shown = address.credentials
    if shown.secure:
        return None
    return Lanes(Endpoint(address.host, address.port, str(address), shown.authorization), ask)


def _channel(address: ServerAddress) -> grpc.Channel:
    shown = address.credentials
    if not shown.secure:
        return grpc.insecure_channel(str(address), options=_OPTIONS)
    keys = (
        shown.pem("server_pem_path"),
        shown.pem("client_key_path"),
        shown.pem("client_pem_path"),
    )
    named = (("grpc.ssl_target_name_override", shown.server_name),) if shown.server_name else ()
    return grpc.secure_channel(
        str(address), grpc.ssl_channel_credentials(*keys), options=(*_OPTIONS, *named)
    )


def open_transport(
    address: ServerAddress, wait_timeout: float, max_retry: int, pre_ping: bool
) -> RemoteTransport:
    return RemoteTransport(address, wait_timeout, max_retry, pre_ping)
