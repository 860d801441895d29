"""A server over its RESTful API, for `handler="HTTP"`: each rpc becomes the requests that it
amounts to.

Speaks what every 1.x server speaks, JSON; one connection for each thread, kept open.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import socket
import ssl
import threading
import time
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import quote

import grpc

from milvine.client.address import HttpAddress
from milvine.client.exceptions import ClientClosedError
from milvine.client.transports.base import TransportFailed, attempts, nobody, patience
from milvine.client.transports.rest_calls import CALLS, Refused
from milvine.deadline import Deadline
from milvine.interrupts import foreign
from milvine.wire import schema
from milvine.wire.status import set_status

_NOT_SERVED = "{} is not there over HTTP. Use handler='GRPC', the default"


class HttpTransport:
    """Waits for the server at most `max_retry` times `wait_timeout` seconds."""

    def __init__(
        self, address: HttpAddress, wait_timeout: float, max_retry: int, pre_ping: bool
    ) -> None:
        self._address, self._wait_timeout, self._max_retry = address, wait_timeout, max_retry
        self._pre_ping, self._answered = pre_ping, False
        self._context = address.credentials.context() if address.secure else None
        shown = address.credentials.authorization
        self._shown = {"Authorization": shown} if shown else {}
        self._local, self._closed = threading.local(), False
        # Of all threads, to be closed in the end.
        self._connections: set[http.client.HTTPConnection] = set()

    def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        """See Transport.

        Raises:
            NotImplementedError: the API has nothing for this rpc.
        """
        if method not in CALLS:
            raise NotImplementedError(_NOT_SERVED.format(method))
        if timeout == 0.0:
            raise _late(self._address)
        deadline, began = Deadline(timeout), time.monotonic()
        try:
            return self._call(method, request, deadline)
        except TransportFailed as error:
            if not self._pre_ping or not error.unsent:
                raise
        self.wait(deadline, began)
        return self._call(method, request, deadline)

    def _call(self, method: str, request: bytes, deadline: Deadline) -> bytes:
        def ask(
            verb: str, path: str, body: Any = None, headers: dict[str, str] | None = None
        ) -> tuple[int, Any]:
            return self._ask(verb, path, body, headers or {}, deadline)

        try:
            return CALLS[method](ask, request)
        except Refused as refused:
            reply = set_status(schema.METHODS[method][1](), refused.code, refused.message)
            return bytes(reply.SerializeToString())

    def _ask(
        self, verb: str, path: str, body: Any, headers: dict[str, str], deadline: Deadline
    ) -> tuple[int, Any]:
        """Status and JSON of an answer; None for the JSON of an empty one."""
        if deadline.over():
            raise _failure(TimeoutError(), self._address, False)
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        if data is not None:
            headers = {"Content-Type": "application/json", **headers}
        headers = {**headers, **self._shown}
        connection = self._connection(deadline)
        connected = False
        try:
            if connection.sock is None:
                self._connect(connection, deadline)
            connected = True
            connection.request(verb, quote(path, safe="/?&=,%"), data, headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._forget()
            if foreign(error):
                raise
            raise _failure(error, self._address, connected) from error
        except BaseException:  # interrupted: the answer would be taken for that of the next request
            self._forget()
            raise
        self._answered = True
        return answer.status, _json(text)

    def _connection(self, deadline: Deadline) -> http.client.HTTPConnection:
        """That of this thread, whose waits end with the `deadline`."""
        if self._closed:
            raise ClientClosedError
        mine: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if mine is None or self._local.process != os.getpid() or _is_stale(mine):
            self._forget()
            mine = self._made()
            self._connections.add(mine)
            self._local.connection, self._local.process = mine, os.getpid()
        mine.timeout = timeout = deadline.left()
        if mine.sock is not None:
            mine.sock.settimeout(timeout)
        mine.response_class = partial(_response, deadline)  # type: ignore[assignment]
        return mine

    def _connect(self, connection: http.client.HTTPConnection, deadline: Deadline) -> None:
        """One attempt."""
        connection.timeout = deadline.within(self._wait_timeout)
        connection.connect()
        connection.sock.settimeout(deadline.left())

    def _made(self) -> http.client.HTTPConnection:
        host, port = self._address.host, self._address.port
        if self._context is None:
            return http.client.HTTPConnection(host, port)
        return _TlsConnection(
            host, port, self._context, self._address.credentials.server_name or host
        )

    def _forget(self) -> None:
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._connections.discard(connection)
            self._local.connection = None

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
                self._ask("GET", "/state", None, {}, Deadline(deadline.within(self._wait_timeout)))
                return
            except TransportFailed as error:
                silent = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
                reason = "" if silent else error.details()
        raise nobody(self._address, made, time.monotonic() - began, reason)

    def close(self) -> None:
        """Calls that still run fail."""
        self._closed = True
        while self._connections:
            connection = self._connections.pop()
            sock: socket.socket | None = connection.sock
            with suppress(OSError):  # hung up already
                if sock is not None:  # closing it would not wake who waits for an answer
                    sock.shutdown(socket.SHUT_RDWR)
            connection.close()


class _Reading(io.RawIOBase):
    """What a server sends, until a deadline: a socket's own timeout begins anew
    with whatever arrives."""

    def __init__(self, deadline: Deadline, sock: socket.socket) -> None:
        self._deadline, self._sock = deadline, sock
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline.left()
        if left is not None:
            if not left:
                raise TimeoutError
            self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _response(
    deadline: Deadline, sock: socket.socket, *args: Any, **more: Any
) -> http.client.HTTPResponse:
    response = http.client.HTTPResponse(sock, *args, **more)
    response.fp.close()
    response.fp = io.BufferedReader(_Reading(deadline, sock))
    return response


class _TlsConnection(http.client.HTTPConnection):
    """TLS with a server whose certificate has the name given."""

    default_port = 443

    def __init__(self, host: str, port: int, context: ssl.SSLContext, name: str) -> None:
        super().__init__(host, port)
        self._tls, self._name = context, name

    def connect(self) -> None:
        super().connect()
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._name)


def _is_stale(connection: http.client.HTTPConnection) -> bool:
    """Whether the server has hung up on an idle connection: then there is something to read, its
    end.
    """
    sock: socket.socket | None = connection.sock
    if sock is None:
        return False
    try:
        sock.setblocking(False)
        # TLS cannot peek.
        return sock.recv(1, 0 if isinstance(sock, ssl.SSLSocket) else socket.MSG_PEEK) is not None
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True


def _failure(error: Exception, address: HttpAddress, connected: bool) -> TransportFailed:
    if isinstance(error, TimeoutError):
        return _late(address, not connected)
    return TransportFailed(
        grpc.StatusCode.UNAVAILABLE,
        f"{address}: {error or type(error).__name__}",
        not connected,
        connected,
    )


def _late(address: HttpAddress, unsent: bool = False) -> TransportFailed:
    text = f"No answer from {address} in time"
    return TransportFailed(grpc.StatusCode.DEADLINE_EXCEEDED, text, unsent)


def _json(text: bytes) -> Any:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return {"code": 1, "message": text.decode(errors="replace").strip()}


def open_transport(
    address: HttpAddress, wait_timeout: float, max_retry: int, pre_ping: bool
) -> HttpTransport:
    return HttpTransport(address, wait_timeout, max_retry, pre_ping)
