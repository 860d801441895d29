"""The network between a catalog and its PostgreSQL, which loses one commit or its answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum

from tests.forwarding import Forwarder, cut


class Loss(Enum):
    """When the connection of a commit breaks."""

    COMMIT = "before the commit has arrived"
    ANSWER = "when the commit was made, before it was answered"
    CONNECTION = "when the commit was answered"


class Network(Forwarder):
    """Forwards to 127.0.0.1:`target`."""

    def __init__(self, target: int) -> None:
        self._next: tuple[Loss, bool] | None = None
        super().__init__(target)

    def lose(self, what: Loss, and_stay_down: bool = False) -> None:
        """Of the next commit."""
        self._next = what, and_stay_down

    def pump(self, client: socket.socket, server: socket.socket) -> None:
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
        cut(self._client, self._server)
        self._client.close()

    def answer(self) -> None:
        with suppress(OSError):
            while data := self._server.recv(1 << 16):
                if self._loss is Loss.ANSWER:
                    break
                self._client.sendall(data)
                if self._loss is Loss.CONNECTION:
                    break
        cut(self._client, self._server)
        self._server.close()


@contextmanager
def network_to(target: int) -> Iterator[Network]:
    network = Network(target)
    try:
        yield network
    finally:
        network.close()
