"""Networks between a client and a server of the tests: forward, until a test has them fail."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Forwarder:
    """Listens at `port` of 127.0.0.1 and forwards to `target` there. While it is not `up`, nobody
    gets a connection.
    """

    def __init__(self, target: int) -> None:
        self.up = True
        self._target = target
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def pump(self, client: socket.socket, server: socket.socket) -> None:
        """Begin to forward between the ends of a new connection, on threads of its own."""
        raise NotImplementedError

    def cut(self) -> None:
        """Break every connection."""
        cut(*self._open)
        self._open.clear()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(10)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                if not self.up:
                    raise ConnectionRefusedError
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            self._open += [client, server]
            self.pump(client, server)


def cut(*sockets: socket.socket) -> None:
    """End connections for both sides; who closes them is who reads them."""
    for each in sockets:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
