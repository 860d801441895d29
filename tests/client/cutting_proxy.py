"""A TCP proxy that can keep replies back and cut its connections: what a network does when it
fails.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.forwarding import Forwarder, cut


class CuttingProxy(Forwarder):
    """Forwards to 127.0.0.1:`target`. While `holding`, what the server sends is thrown away."""

    def __init__(self, target: int) -> None:
        self.holding = False
        super().__init__(target)

    def cut(self) -> None:
        """Break every connection; those made from now on are forwarded in full."""
        self.holding = False
        super().cut()

    def pump(self, client: socket.socket, server: socket.socket) -> None:
        for source, sink, held in ((client, server, False), (server, client, True)):
            threading.Thread(target=self._pump, args=(source, sink, held), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, held: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if not (held and self.holding):
                    sink.sendall(data)
        cut(source, sink)
        source.close()


@contextmanager
def proxied(target: int) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
