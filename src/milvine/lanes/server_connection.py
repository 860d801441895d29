"""One lane at its server's end: a socket, the protocol over it, and what the caller has yet to
take.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from milvine.lanes.http2 import ProtocolError
from milvine.lanes.server_protocol import Refusal, Request, ServerProtocol

_RECEIVED = 1 << 14  # a request and some more
_NOTHING = memoryview(b"")


class Connection:
    """One thread receives, and closes in the end. Any thread may send.

    `peer` is the caller's address, as sockets tell it.

    Attributes:
        unsent: what the caller has yet to take; `held`: the bytes that this keeps in memory.
    """

    def __init__(self, accepted: socket.socket, peer: tuple[str, int], greeting: bytes) -> None:
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.socket, self.peer = accepted, peer
        self.unsent, self.held = _NOTHING, 0
        # A socket closed meanwhile could be another caller's by now.
        self._sending = threading.Lock()
        self._protocol = ServerProtocol()
        self._send(greeting)

    @property
    def greeted(self) -> bool:
        """Whether the other end has said that it speaks HTTP/2."""
        return self._protocol.greeted

    def receive(self) -> Request | None:
        """The request that is now complete, if any. At most one is under way on a lane.

        Raises:
            ProtocolError: the other end is no lane.
            ConnectionError: it hung up.
        """
        try:
            arrived = self.socket.recv(_RECEIVED)
        except BlockingIOError:
            return None
        if not arrived:
            raise ConnectionError
        request = self._protocol.receive(arrived)
        acknowledged = self._protocol.data_to_send()
        if self.unsent and (request is not None or acknowledged):
            raise ProtocolError("words of somebody who does not read")
        if acknowledged:
            self._send(acknowledged)
        return request

    def answer(self, request: Request, answer: bytes | Refusal) -> None:
        """A reply, or a gRPC status in its place.

        Raises:
            OSError: the caller is gone.
            ProtocolError: he takes no reply of this length.
        """
        if isinstance(answer, Refusal):
            self._send(self._protocol.refuse(request, answer))
        else:
            self._send(self._protocol.reply(request, answer))

    def _send(self, data: bytes) -> None:
        with self._sending:
            if self.unsent:
                data, sent = b"".join((self.unsent, data)), 0
            else:
                try:
                    sent = self.socket.send(data)
                except BlockingIOError:
                    sent = 0
            if sent < len(data):
                self.unsent, self.held = memoryview(data)[sent:], len(data)

    def send_more(self) -> None:
        """Send what was left over.

        Raises:
            OSError: the caller is gone.
        """
        with self._sending:
            with suppress(BlockingIOError):
                self.unsent = self.unsent[self.socket.send(self.unsent) :]
            if not self.unsent:
                self.unsent, self.held = _NOTHING, 0

    def give_up(self) -> None:
        """Let the thread that waits for what is sent here hear the end. Any thread may
        call this.
        """
        with self._sending, suppress(OSError):  # it is over already
            self.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Hang up. May be called again."""
        with self._sending:
            self.socket.close()
            self.unsent, self.held = _NOTHING, 0
