"""The network between a catalog and its PostgreSQL, which loses one commit or its answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum


class Loss(Enum):
    """When the connection of a commit breaks."""

    COMMIT = "before the commit has arrived"
    ANSWER = "when the commit was made, before it was answered"
    CONNECTION = "when the commit was answered"


class Network:
    """Forwards to 127.0.0.1:`target`. While it is not `up`, nobody gets a connection."""

    def __init__(self, target: int) -> None:
        self.up = True
        self._target = target
        self._next: tuple[Loss, bool] | None = None
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def lose(self, what: Loss, and_stay_down: bool = False) -> None:
        """Of the next commit."""
        self._next = what, and_stay_down

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(10)
        self._listener.close()
        _cut(*self._open)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if not self.up:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._target))
            self._open += [client, server]
            connection = _Connection(self, client, server)
            for pump in (connection.ask, connection.answer):
                threading.Thread(target=pump, daemon=True).start()

    def lost(self) -> Loss | None:
        """What is lost of the commit that is on its way now."""
        if self._next is None:
            return None
        (what, down), self._next = self._next, None
        self.up = not down
        return what


class _Connection:
    def __init__(self, network: Network, client: socket.socket, server: socket.socket) -> None:
        self._network, self._client, self._server = network, client, server
        self._loss: Loss | None = None

    def ask(self) -> None:
        with suppress(OSError):
            while data := self._client.recv(1 << 16):
                if b"COMMIT" in data:
                    self._loss = self._network.lost()
                if self._loss is Loss.COMMIT:
                    break
                self._server.sendall(data)
        _cut(self._client, self._server)

    def answer(self) -> None:
        with suppress(OSError):
            while data := self._server.recv(1 << 16):
                if self._loss is Loss.ANSWER:
                    break
                self._client.sendall(data)
                if self._loss is Loss.CONNECTION:
                    break
        _cut(self._client, self._server)


def _cut(*sockets: socket.socket) -> None:
    for each in sockets:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()


@contextmanager
def network_to(target: int) -> Iterator[Network]:
    network = Network(target)
    try:
        yield network
    finally:
        network.close()
