"""The life of a client: finding the database, checking its version, carrying calls, closing."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from milvine import __version__
from milvine.client import checks, insert_retry, replies, requests
from milvine.client.address import parse_address, parse_http_address, with_credentials
from milvine.client.credentials import credentials_of
from milvine.client.exceptions import (
    ClientClosedError,
    DeprecatedError,
    NotConnectError,
    ParamError,
    VersionError,
)
from milvine.client.futures import CallFuture, CallThreads
from milvine.client.keywords import unknown_arguments
from milvine.client.replies import Rpc, failed
from milvine.client.status import Status
from milvine.client.transports import InProcess, Transport, TransportFailed, open_transport
from milvine.deadline import Deadline
from milvine.interrupts import foreign
from milvine.logs.failures import log

F = TypeVar("F", bound=CallFuture)
Seconds = float | str | None
"""A timeout: a number or its text; None waits for ever."""

_logger = logging.getLogger("milvus")
_POOLS = ("SingletonThread", "Singleton", "QueuePool")
_SERVERS = ("0.9.x", "0.10.x", "1.x")
KEYWORDS = (
    "pool_size",
    "uri",
    "secure",
    "server_pem_path",
    "client_pem_path",
    "client_key_path",
    "server_name",
    "token",
    "wait_timeout",
    "max_retry",
    "try_connect",
    "pre_ping",
    "name",
    "transport",
)
"""Of the constructor, beside those in its signature."""
_PLAIN = frozenset({int, str, bool})


class Connection:
    """What `Milvus` is beneath its methods.

    Args:
        host: the server's name or address; `uri` is ignored if it is given.
        port: 1 to 65535 as int or text; 19530 if left out.
        handler: "GRPC", or "HTTP" for the REST API, at port 19121 if left out; it has no
            `reload_segments`.
        pool: "SingletonThread", "Singleton" or "QueuePool"; one channel serves all threads
            whichever it is.
        pool_size: at least 1; without effect, for the same reason.
        uri: `tcp://host:port` for a server, `tcps://host:port` for one with TLS, `file:///path` for
            a database in this process.
        secure: True for TLS, as `tcps` in the uri. An addition of Milvine, like those below.
        server_pem_path: file of the authority to trust, or of the server's certificate; that of the
            system if left out.
        client_pem_path, client_key_path: files of the client's certificate and its key, for mutual
            TLS.
        server_name: the name in the server's certificate, where it is not the host.
        token: shown with every call, as `authorization: Bearer TOKEN`.
        wait_timeout: seconds that one attempt to connect may take, more than 0; 30 if left out.
        max_retry: attempts to connect, 3 if left out; 0 and less are 1.
        try_connect: False connects with the first call, and leaves out the check of the server's
            version.
        pre_ping: False fails at once where the server is gone, instead of attempting to reconnect.
        name: kept as `.name`.
        transport: carries the calls instead of one opened for the address.

    Another keyword changes nothing, as in 1.x, and is warned of.

    Raises:
        ParamError: an address that is none, an unknown pool, a number that is none, or a file that
            cannot be read.
        NotConnectError: nobody listens, or the folder cannot be opened.
        VersionError: the server is not of a version this client speaks to.
    """

    def __init__(
        self,
        host: str | None = None,
        port: str | int | None = None,
        handler: str = "GRPC",
        pool: str = "SingletonThread",
        **kwargs: Any,
    ) -> None:
        self._transport: Transport | None = None
        self._threads: CallThreads | None = None
        self._closed = False
        self._lock = threading.Lock()
        unknown_arguments("Milvus", kwargs, KEYWORDS)
        self._name, self._handler = kwargs.get("name"), _checked_handler(handler)
        _check_pool(pool, kwargs.get("pool_size", 10))
        seconds = checks.seconds(kwargs.get("wait_timeout", 30), "wait_timeout")
        if seconds == 0.0:
            raise ParamError.illegal("wait_timeout", 0, "an attempt to connect takes time")
        wait_timeout = checks.SECONDS_MAX if seconds is None else seconds
        max_retry = checks.integer(kwargs.get("max_retry", 3), "max_retry")
        parse = parse_http_address if handler == "HTTP" else parse_address
        uri = kwargs.get("uri")
        address = with_credentials(parse(host, port, uri), credentials_of(kwargs, host, uri))
        self._transport = kwargs.get("transport") or open_transport(
            address, wait_timeout, max_retry, bool(kwargs.get("pre_ping", True))
        )
        self._connect_seconds = min(wait_timeout * max(max_retry, 1), checks.SECONDS_MAX)
        if kwargs.get("try_connect", True):
            self._check_version(Deadline(None))

    def _check_version(self, deadline: Deadline) -> None:
        """Connects. The client is closed where that fails, or takes until the `deadline`."""
        try:
            seconds = deadline.within(self._connect_seconds)
            status, version = self._pair(replies.CMD, requests.command("version"), seconds)
            if not status.OK():
                raise NotConnectError(f"Cannot check server version: {status.message}")
            if not re.match(r"1\.|0\.(9|10)\.", version):
                raise VersionError(
                    f"Version of python SDK({__version__}) not match that of server{version},"
                    f" excepted is {_SERVERS}"
                )
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> Any:
        """What the constructor was given as `name`."""
        return self._name

    @property
    def handler(self) -> str:
        """ "GRPC" or "HTTP"."""
        return self._handler

    def client_version(self) -> str:
        """Version of this package.

        Returns:
            str, such as "1.2.0".
        """
        return __version__

    def close(self) -> None:
        """Lets go of the database; an embedded one is closed with its last client. May be called
        again.

        Calls of other threads that are under way raise ClientClosedError, unless they succeed.

        Raises:
            ReentrantCall: a handler of the log calls it on a thread of the embedded database.
        """
        with self._lock:
            self._closed = True
            threads, transport = self._threads, self._transport
        if threads is not None:
            threads.close()
        if transport is not None:
            transport.close()
        # An interrupt may have come before: then it is done again.
        self._threads = self._transport = None

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: object) -> None:
        """Leaves the client open, as 1.x does."""

    def __del__(self) -> None:
        if getattr(self, "_transport", None) is not None:
            self.close()

    def connect(
        self, host: Any = None, port: Any = None, uri: Any = None, timeout: Seconds = 2
    ) -> None:
        raise _deprecated("connect")

    def disconnect(self) -> None:
        raise _deprecated("disconnect")

    def connected(self) -> None:
        raise _deprecated("connected")

    def set_hook(self, **kwargs: Any) -> None:
        raise _deprecated("set_hook")

    def _open(self) -> Transport:
        transport = self._transport
        if transport is None or self._closed:
            raise ClientClosedError
        return transport

    def _in_process(self, params: Mapping[str, Any], timeout: Seconds) -> InProcess | None:
        """The database in this process, which takes arrays as they are; None where bytes must
        travel.

        They travel also where JSON would make something else of the parameters.
        """
        over = checks.seconds(timeout) == 0.0
        database: InProcess | None = getattr(self._open(), "in_process", None)
        if database and not over and _PLAIN.issuperset(map(type, params.values())):
            return database
        return None

    def _carried(self, method: str, request: bytes, timeout: float | None) -> bytes:
        """The reply. Whatever is raised because the client is closed meanwhile is a
        ClientClosedError.
        """
        transport = self._open()
        try:
            if method == replies.INSERT.method:
                return insert_retry.insert(transport, request, timeout)
            return transport.call(method, request, timeout)
        except Exception as error:
            if not self._closed or foreign(error):
                raise
            raise ClientClosedError from error

    def _pair(self, rpc: Rpc[Any], request: bytes, timeout: Seconds) -> tuple[Status, Any]:
        limit = checks.seconds(timeout)
        try:
            return rpc.pair(self._carried(rpc.method, request, limit))
        except TransportFailed as error:
            log(_logger, logging.ERROR, "%s: %s", rpc.method, error)
            return failed(error), rpc.unanswered()

    def _status(self, rpc: Rpc[Any], request: bytes, timeout: Seconds) -> Status:
        return self._pair(rpc, request, timeout)[0]

    def _start(
        self,
        future: type[F],
        rpc: Rpc[Any],
        read: Callable[[bytes], Any],
        request: bytes,
        timeout: Seconds,
        callback: Callable[..., Any] | None,
    ) -> F:
        deadline = Deadline(checks.seconds(timeout))  # it may have to wait for a thread
        with self._lock:
            self._open()
            threads = self._threads
            # A forked child has none of the threads.
            if threads is None or threads.process != os.getpid():
                threads = self._threads = CallThreads()

        def call() -> bytes:
            return self._carried(rpc.method, request, deadline.left())

        return future(threads, rpc.method, call, read, callback)


def _deprecated(function: str) -> DeprecatedError:
    error = DeprecatedError.function(function)
    log(_logger, logging.ERROR, "%s", error)
    return error


def _check_pool(pool: Any, size: Any) -> None:
    if pool not in _POOLS:
        raise ParamError(f"Unknown pool value: {pool}")
    if checks.integer(size, "pool_size") < 1:
        raise ParamError.illegal("pool_size", size)


def _checked_handler(handler: str) -> str:
    if handler not in ("GRPC", "HTTP"):
        raise ValueError("Unknown handler type. Use GRPC or HTTP")
    return handler
