"""Short calls over a plain socket: what grpcio does for one small call costs several times what the
call carries.

A lane is a connection of one thread with one call on it at a time: the request leaves with one
send, the reply mostly arrives with one receive, and no other thread has a part in it. It carries
only calls that read, and only while everything goes as it always goes. Whatever else happens (an
error, a long message, a frame that it does not expect, a connection that ends), it gives up, and
the call is made again through grpcio, which knows all of gRPC.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

from milvine.deadline import Deadline
from milvine.lanes.agreement import Endpoint, LaneAddress
from milvine.lanes.client_protocol import GREETING, ClientProtocol
from milvine.lanes.http2 import ProtocolError

CONNECT_SECONDS = 1.0
_RECEIVED = 1 << 14


class Lane:
    """One connection. Not thread-safe, and of no use after any exception.

    `address` is where the server says that lanes begin; None: at the gRPC port. Another server,
    which may be there by now, is not talked to. Connecting may take `seconds`, and so may the first
    words.

    Attributes:
        port: the TCP port that it leads to.

    Raises:
        OSError: nobody is there, or another one.
    """

    def __init__(
        self, server: Endpoint, address: LaneAddress | None = None, seconds: float = CONNECT_SECONDS
    ) -> None:
        instance = address.instance if address else None
        self.port = address.port if address else server.port
        self._protocol = ClientProtocol(server.authority, server.authorization, instance)
        self._socket = socket.create_connection((server.host, self.port), seconds)
        self._process, self._limited = os.getpid(), True  # whether the socket has a timeout
        self._greet(Deadline(seconds))

    @property
    def worn(self) -> bool:
        """Whether the connection has carried all that it may."""
        return self._protocol.worn

    def _greet(self, deadline: Deadline) -> None:
        """Exchange the first words. A server out of files leaves connections waiting that seem
        open: none come back.

        Raises:
            OSError: it does not speak in time, or something else than HTTP/2.
        """
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._socket.sendall(GREETING)
            while not self._protocol.greeted:
                self._receive(deadline)
        except ProtocolError:
            self.close()
            raise ConnectionError("no server of lanes, or another one") from None
        except OSError:
            self.close()
            raise

    def call(self, method: str, request: bytes, deadline: Deadline) -> bytes:
        """The reply.

        Raises:
            ProtocolError, OSError: no reply, or none that is a plain success.
            TimeoutError: the `deadline` came first.
        """
        timeout = deadline.left()
        if timeout == 0.0:
            raise TimeoutError
        data = self._protocol.request(method, request)
        if timeout is not None or self._limited:
            self._socket.settimeout(timeout)
            self._limited = timeout is not None
        self._socket.sendall(data)
        reply = self._receive(deadline)
        while reply is None:
            reply = self._receive(deadline)
        return reply

    def _receive(self, deadline: Deadline) -> bytes | None:
        if self._limited and (left := deadline.left()) is not None:
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
        data = self._socket.recv(max(self._protocol.missing, _RECEIVED))
        if not data:
            raise ProtocolError("the server hung up")
        reply = self._protocol.receive(data)
        if self._protocol.outgoing:
            self._socket.sendall(self._protocol.data_to_send())
        return reply

    def close(self) -> None:
        """Hang up; a forked child only lets go, for the connection is its parent's."""
        if os.getpid() == self._process:
            with suppress(OSError):  # hung up already
                self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def __del__(self) -> None:
        if hasattr(self, "_process"):
            self.close()
