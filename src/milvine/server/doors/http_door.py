"""The door made of uvicorn: an ASGI application on a thread with an event loop of its own."""

from __future__ import annotations

import math
import ssl
import threading
import time
from typing import Any

import uvicorn

from milvine.server.doors.door import DoorFailed, end_of
from milvine.server.doors.http_heads import with_bounded_heads
from milvine.server.doors.listening import listen

_WAITING_MAX = 2048
_START_SECONDS = 30.0
_FOREVER = 365 * 86400
_LAST_SECONDS = 1.0  # for the event loop to notice the end


class HttpDoor:
    """Listens from the moment it is made.

    Raises:
        DoorFailed: the address is taken or not ours.
    """

    name = "http"

    def __init__(
        self,
        app: Any,
        address: str,
        port: int,
        tls: ssl.SSLContext | None = None,
        connections_max: int | None = None,
    ) -> None:
        self._socket = listen(address, port, _WAITING_MAX)
        self.port: int = self._socket.getsockname()[1]
        self._server = uvicorn.Server(_config(app, tls, connections_max))
        self._thread = threading.Thread(target=self._serve, name="milvine-http", daemon=True)

    def start(self) -> None:
        self._thread.start()
        until = time.monotonic() + _START_SECONDS
        while not self._server.started and self._thread.is_alive() and time.monotonic() < until:
            time.sleep(0.002)
        if not self._server.started:
            raise DoorFailed("The HTTP server did not start")

    @property
    def ended(self) -> str:
        return "" if self._server.should_exit else end_of([self._thread])

    def stop(self, grace: float | None) -> None:
        seconds = _FOREVER if grace is None else max(1, math.ceil(grace))
        self._server.config.timeout_graceful_shutdown = seconds
        self._server.should_exit = True
        if self._thread.is_alive():  # uvicorn keeps to the seconds only while its event loop turns
            self._thread.join(None if grace is None else seconds + _LAST_SECONDS)
        if not self._thread.is_alive():  # else the loop closes it, when it turns again
            self._socket.close()

    def _serve(self) -> None:
        self._server.run(sockets=[self._socket])


def _config(app: Any, tls: ssl.SSLContext | None, connections_max: int | None) -> uvicorn.Config:
    """Nothing that a client says about its own address is believed: no proxy headers."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        proxy_headers=False,
        limit_concurrency=connections_max,
    )
    config.load()
    config.http_protocol_class = with_bounded_heads(config.http_protocol_class)
    if tls is not None:
        config.ssl = tls
        config.ssl_certfile = "in memory"  # by which uvicorn tells that it serves TLS
    return config
