"""Short calls over a plain socket: what grpcio does for one small call costs several times what the
call carries.

A lane is an HTTP/2 connection (RFC 9113) of one thread with one call on it at a time: the request
leaves with one send, the reply mostly arrives with one receive, and no other thread has a part in
it. A lane carries only calls that read, and only while everything goes as it always goes. Whatever
else happens (an error, a long message, a frame that it does not expect, a connection that ends), it
gives up, and the call is made again through grpcio, which knows all of gRPC.

It reads no header fields (RFC 7541): it asks for no dynamic table, so that the trailers of every
success are the same bytes, which it learns from the first call. A reply is a success when it holds
a whole message and has those trailers.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from contextlib import suppress

from milvine.client.address import ServerAddress
from milvine.deadline import Deadline
from milvine.wire import http2, lanes
from milvine.wire.http2 import HEAD, PREFIX, SETTING, WINDOW_DEFAULT, WINDOW_MAX, frame
from milvine.wire.lanes import CALLS, REQUEST_BYTES_MAX, Place
from milvine.wire.schema import method_path

CONNECT_SECONDS = 1.0
_STREAMS_MAX = 1 << 30
_RECEIVED_MAX = 1 << 30  # bytes: the window that is opened at the start is never opened again
_SETTINGS = {  # no dynamic table, no pushes, all that a stream may send at once, and in one frame
    http2.TABLE_SIZE: 0,
    http2.ENABLE_PUSH: 0,
    http2.INITIAL_WINDOW: WINDOW_MAX,
    http2.LONGEST_FRAME: http2.FRAME_MAX,
}
_HELLO = (
    http2.PREFACE + http2.settings(_SETTINGS) + http2.window_update(WINDOW_MAX - WINDOW_DEFAULT)
)
_STREAM_AT = 5  # where the number of the stream stands in a frame
_STREAM_BYTES = HEAD.size - _STREAM_AT
_DATA = struct.Struct(">BHBB")  # the head of a frame without the number of the stream
_RECEIVED = 1 << 14


class Unusable(Exception):
    """The lane cannot go on; the call may or may not have been carried out."""


class Lane:
    """One connection. Not thread-safe, and of no use after any exception.

    `place` is where the server says that lanes begin; None: at the gRPC port. Another server, which
    may be there by now, is not talked to. Connecting may take `seconds`, and so may the first
    words.

    Raises:
        OSError: nobody is there, or another one.
    """

    def __init__(
        self, address: ServerAddress, place: Place | None = None, seconds: float = CONNECT_SECONDS
    ) -> None:
        authority, shown = str(address), address.credentials.authorization
        self._heads = {}
        for call in CALLS:
            block = http2.request_block(method_path(call), authority, shown)
            head = _without_stream(http2.HEADERS, http2.END_HEADERS, block)
            self._heads[call] = head[:_STREAM_AT], head[_STREAM_AT:]
        self._instance = place.instance if place else None
        self._socket = _connected(address, place, seconds)
        self._stream, self._window, self._received = 1, WINDOW_DEFAULT, 0
        self._data, self._at = b"", 0
        self._success: bytes | None = None
        # Headers and trailers of a success, around the number of the stream.
        self._frames = b"", b"", b"", b""
        # Bytes of a reply beside its message; before the first one, more than any has.
        self._around = 1 << 62
        self._process, self._limited = os.getpid(), True  # whether the socket has a timeout
        self.worn = False
        """Whether the connection has carried all that it may."""
        self._greet(Deadline(seconds))

    def _greet(self, deadline: Deadline) -> None:
        """Exchange the first words. A server out of files leaves connections waiting that seem
        open: none come back.

        Raises:
            OSError: it does not speak in time, or something else than HTTP/2.
        """
        try:
            if self._socket.family in (socket.AF_INET, socket.AF_INET6):
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._socket.sendall(_HELLO)
            kind, flags, stream, payload = self._next(deadline)
            if kind != http2.SETTINGS or (
                self._instance is not None and self._instance != _instance(payload)
            ):
                raise Unusable
            self._control(kind, flags, stream, payload)
        except Unusable:
            self.close()
            raise ConnectionError("no server of lanes, or another one") from None
        except OSError:
            self.close()
            raise

    def call(self, method: str, request: bytes, deadline: Deadline) -> bytes:
        """The reply.

        Raises:
            Unusable, OSError: no reply, or none that is a plain success.
            TimeoutError: the `deadline` came first.
        """
        timeout = deadline.left()
        if timeout == 0.0:
            raise TimeoutError
        stream, size = self._stream, len(request) + PREFIX.size
        if size > self._window:
            self.worn = True
            raise Unusable
        self._stream, self._window = stream + 2, self._window - size
        if timeout is not None or self._limited:
            self._socket.settimeout(timeout)
            self._limited = timeout is not None
        number, (before, behind) = stream.to_bytes(4, "big"), self._heads[method]
        data = HEAD.pack(0, size, http2.DATA, http2.END_STREAM, stream)
        self._socket.sendall(
            b"".join((before, number, behind, data, PREFIX.pack(0, len(request)), request))
        )
        self._have(1, deadline)
        reply = self._usual_reply(number) or self._reply(stream, deadline)
        self.worn |= self._stream > _STREAMS_MAX or self._received > _RECEIVED_MAX
        return reply

    def _usual_reply(self, number: bytes) -> bytes:
        """A success that lies there whole, in three frames like those of the first one; nothing if
        it is otherwise.
        """
        data, at = self._data, self._at
        size = len(data) - at - self._around
        if not 0 < size <= http2.FRAME_MAX - PREFIX.size:
            return b""
        start, headers, middle, trailers = self._frames
        length = size + PREFIX.size
        head = _DATA.pack(length >> 16, length & 0xFFFF, http2.DATA, 0)
        before = b"".join((start, number, headers, head, number, PREFIX.pack(0, size)))
        if not (data.startswith(before, at) and data.endswith(middle + number + trailers)):
            return b""
        self._data, self._at = b"", 0
        at += len(before)
        return data[at : at + size]

    def _reply(self, stream: int, deadline: Deadline) -> bytes:
        body: list[bytes] = []
        headers = b""
        while True:
            kind, flags, at, payload = self._next(deadline)
            if at != stream:
                self._control(kind, flags, at, payload)
            elif kind == http2.DATA and not flags & (http2.PADDED | http2.END_STREAM):
                body.append(payload)
            elif kind == http2.HEADERS and flags & http2.END_HEADERS and not flags & http2.PADDED:
                if flags & http2.END_STREAM:
                    return self._message(b"".join(body), headers, payload)
                headers = payload
            elif kind != http2.WINDOW_UPDATE:
                raise Unusable

    def _message(self, body: bytes, headers: bytes, trailers: bytes) -> bytes:
        if len(body) < PREFIX.size or PREFIX.unpack_from(body) != (0, len(body) - PREFIX.size):
            raise Unusable
        if self._success is None:
            self._success = trailers
            first = _without_stream(http2.HEADERS, http2.END_HEADERS, headers)
            last = _without_stream(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, trailers)
            self._frames = (
                first[:_STREAM_AT],
                first[_STREAM_AT:],
                last[:_STREAM_AT],
                last[_STREAM_AT:],
            )
            self._around = len(first) + len(last) + 3 * _STREAM_BYTES + _DATA.size + PREFIX.size
        if trailers != self._success:
            raise Unusable
        return body[PREFIX.size :]

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """A frame about the connection."""
        if kind == http2.WINDOW_UPDATE and not stream:
            self._window += int.from_bytes(payload, "big")
        elif kind == http2.SETTINGS and not flags & http2.ACK:
            if len(payload) % SETTING.size or any(
                key == http2.INITIAL_WINDOW and value <= REQUEST_BYTES_MAX
                for key, value in SETTING.iter_unpack(payload)
            ):
                raise Unusable
            self._socket.sendall(frame(http2.SETTINGS, http2.ACK, 0, b""))
        elif kind == http2.PING and not flags & http2.ACK:
            self._socket.sendall(frame(http2.PING, http2.ACK, 0, payload))
        elif kind == http2.GOAWAY:
            self.worn = True  # calls that the server has taken it still answers

    def _next(self, deadline: Deadline) -> tuple[int, int, int, bytes]:
        """(type, flags, stream, payload) of the next frame."""
        self._have(HEAD.size, deadline)
        high, low, kind, flags, stream = HEAD.unpack_from(self._data, self._at)
        size = HEAD.size + (high << 16 | low)
        self._have(size, deadline)
        start, self._at = self._at + HEAD.size, self._at + size
        return kind, flags, stream & WINDOW_MAX, self._data[start : self._at]

    def _have(self, size: int, deadline: Deadline) -> None:
        """Receive until `size` bytes lie ahead."""
        missing = size - (len(self._data) - self._at)
        if missing <= 0:
            return
        parts = [self._data[self._at :]]
        while missing > 0:
            if deadline.end is not None:
                left = deadline.end - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                self._socket.settimeout(left)
            part = self._socket.recv(max(missing, _RECEIVED))
            if not part:
                raise Unusable
            parts.append(part)
            missing -= len(part)
            self._received += len(part)
        self._data, self._at = b"".join(parts), 0

    def close(self) -> None:
        """Hang up; a forked child only lets go, for the connection is its parent's."""
        if os.getpid() == self._process:
            with suppress(OSError):  # hung up already
                self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def __del__(self) -> None:
        if hasattr(self, "worn"):
            self.close()


def _connected(address: ServerAddress, place: Place | None, seconds: float) -> socket.socket:
    if place is None or not place.unix:
        port = place.port if place else address.port
        return socket.create_connection((address.host, port), seconds)
    if sys.platform != "linux":
        raise ConnectionRefusedError("no abstract names here")
    opened = socket.socket(socket.AF_UNIX)
    try:
        opened.settimeout(seconds)
        opened.connect(lanes.unix_address(place.unix))
    except OSError:
        opened.close()
        raise
    return opened


def _without_stream(kind: int, flags: int, payload: bytes) -> bytes:
    whole = frame(kind, flags, 0, payload)
    return whole[:_STREAM_AT] + whole[HEAD.size :]


def _instance(settings: bytes) -> int | None:
    whole = len(settings) // SETTING.size * SETTING.size
    return dict(SETTING.iter_unpack(settings[:whole])).get(http2.INSTANCE)
