"""grpcio behind the native door: services that it cannot serve itself go over a Unix socket to a
server made here.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from milvine.server.doors.private_socket import PrivateSocket

_THREADS = 8
_STOP_SECONDS = 0.1


class Fallback:
    """Serves `handlers` at the Unix socket `path`, from the moment it is made until `stop`."""

    def __init__(self, handlers: Sequence[Any]) -> None:
        self._socket = PrivateSocket()
        self.path = self._socket.path
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="milvine-fallback")
        self._server = grpc.server(self._threads, handlers=tuple(handlers))
        self._server.add_insecure_port(self._socket.target)
        self._server.start()

    def stop(self) -> None:
        """What is still open is cancelled."""
        self._server.stop(_STOP_SECONDS).wait()
        self._threads.shutdown(wait=False)
        self._socket.remove()
