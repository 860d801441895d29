"""Short calls over a plain socket: what grpcio does for one small call costs several times what the call carries.

A lane is an HTTP/2 connection (RFC 9113) of one thread with one call on it at a time: the request leaves with one send,
the reply mostly arrives with one receive, and no other thread has a part in it. A lane carries only calls that read,
and only while everything goes as it always goes. Whatever else happens (an error, a long message, a frame that it does
not expect, a connection that ends), it gives up, and the call is made again through grpcio, which knows all of gRPC.

It reads no header fields (RFC 7541): it asks for no dynamic table, so that the trailers of every success are the same
bytes, which it learns from the first call. A reply is a success when it holds a whole message and has those trailers.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from contextlib import suppress
from weakref import WeakSet

from milvine.client.address import ServerAddress
from milvine.wire.schema import method_path

CALLS = frozenset({"Search", "SearchByID", "SearchInFiles", "GetVectorsByID", "CountCollection", "HasCollection"})
REQUEST_BYTES_MAX = 12 << 10  # below every window that a server opens
_LANES_MAX = 16  # of one client; further threads go through grpcio
_PAUSE = 1.0  # seconds without lanes after a failure, doubled for each further one in a row
_PAUSE_MAX = 64.0
_CONNECT_SECONDS = 1.0
_STREAMS_MAX = 1 << 30
_RECEIVED_MAX = 1 << 30  # bytes: the window that is opened at the start is never opened again

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS, _PADDED = 1, 1, 4, 8
_HEAD = struct.Struct(">BHBBI")  # length in two pieces, type, flags, stream
_PREFIX = struct.Struct(">BI")  # of a gRPC message: compressed or not, length
_SETTING = struct.Struct(">HI")
_INITIAL_WINDOW = 4
_WINDOW_DEFAULT = 65_535
_WINDOW_MAX = (1 << 31) - 1


class Unusable(Exception):
    """The lane cannot go on; the call may or may not have been carried out."""


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return _HEAD.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


_HELLO = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    # no dynamic table, no pushes, all that a stream may send at once
    + _frame(
        _SETTINGS, 0, 0, b"".join(_SETTING.pack(*pair) for pair in ((1, 0), (2, 0), (_INITIAL_WINDOW, _WINDOW_MAX)))
    )
    + _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _WINDOW_MAX - _WINDOW_DEFAULT))
)


def _string(text: str) -> bytes:
    """A string literal of RFC 7541, as it is: a length with a prefix of seven bits, then the bytes."""
    raw, length = text.encode(), bytearray()
    if len(raw) < 127:
        return bytes((len(raw),)) + raw
    rest = len(raw) - 127
    while rest >= 128:
        length.append(rest & 127 | 128)
        rest >>= 7
    return bytes((127, *length, rest)) + raw


def _fields(method: str, address: ServerAddress) -> bytes:
    """The header block of a call: the first bytes name a field by its number in the static table."""
    block = b"\x83\x86"  # :method POST, :scheme http
    block += b"\x04" + _string(method_path(method)) + b"\x01" + _string(str(address))
    block += b"\x0f\x10" + _string("application/grpc") + b"\x00" + _string("te") + _string("trailers")
    shown = address.credentials.authorization
    return block + (b"\x1f\x08" + _string(shown) if shown else b"")


class Lane:
    """One connection. Not thread-safe, and of no use after any exception."""

    def __init__(self, address: ServerAddress) -> None:
        self._blocks = {method: _fields(method, address) for method in CALLS}
        self._socket = socket.create_connection((address.host, address.port), _CONNECT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._socket.sendall(_HELLO)
        self._stream, self._window, self._received = 1, _WINDOW_DEFAULT, 0
        self._data, self._at = b"", 0
        self._success: bytes | None = None
        self._process = os.getpid()
        self.worn = False
        """Whether the connection has carried all that it may."""
        self._greet()

    def _greet(self) -> None:
        """Wait for the server's first words: a server out of files leaves connections waiting that seem open.

        Raises:
            OSError: it does not speak in time, or something else than HTTP/2.
        """
        try:
            kind, flags, stream, payload = self._next(time.monotonic() + _CONNECT_SECONDS)
            if kind != _SETTINGS:
                raise Unusable
            self._control(kind, flags, stream, payload)
        except Unusable:
            self.close()
            raise ConnectionError("no HTTP/2 server") from None
        except OSError:
            self.close()
            raise

    def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        """The reply.

        Raises:
            Unusable, OSError: no reply, or none that is a plain success.
            TimeoutError: `timeout` (seconds) was over first.
        """
        stream, size = self._stream, len(request) + _PREFIX.size
        if size > self._window:
            raise Unusable
        self._stream, self._window = stream + 2, self._window - size
        end = None if timeout is None else time.monotonic() + timeout
        self._socket.settimeout(timeout)
        head = _frame(_HEADERS, _END_HEADERS, stream, self._blocks[method])
        self._socket.sendall(head + _frame(_DATA, _END_STREAM, stream, _PREFIX.pack(0, len(request)) + request))
        reply = self._reply(stream, end)
        self.worn |= self._stream > _STREAMS_MAX or self._received > _RECEIVED_MAX
        return reply

    def _reply(self, stream: int, end: float | None) -> bytes:
        body: list[bytes] = []
        while True:
            kind, flags, at, payload = self._next(end)
            if at != stream:
                self._control(kind, flags, at, payload)
            elif kind == _DATA and not flags & (_PADDED | _END_STREAM):
                body.append(payload)
            elif kind == _HEADERS and flags & _END_HEADERS and not flags & _PADDED:
                if flags & _END_STREAM:
                    return self._message(b"".join(body), payload)
            elif kind != _WINDOW_UPDATE:
                raise Unusable

    def _message(self, body: bytes, trailers: bytes) -> bytes:
        if len(body) < _PREFIX.size or _PREFIX.unpack_from(body) != (0, len(body) - _PREFIX.size):
            raise Unusable
        if self._success is None:
            self._success = trailers
        if trailers != self._success:
            raise Unusable
        return body[_PREFIX.size :]

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """A frame about the connection."""
        if kind == _WINDOW_UPDATE and not stream:
            self._window += int.from_bytes(payload, "big")
        elif kind == _SETTINGS and not flags & _ACK:
            if any(
                key == _INITIAL_WINDOW and value <= REQUEST_BYTES_MAX for key, value in _SETTING.iter_unpack(payload)
            ):
                raise Unusable
            self._socket.sendall(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            self._socket.sendall(_frame(_PING, _ACK, 0, payload))
        elif kind == _GOAWAY:
            self.worn = True  # calls that the server has taken it still answers

    def _next(self, end: float | None) -> tuple[int, int, int, bytes]:
        """(type, flags, stream, payload) of the next frame."""
        self._have(_HEAD.size, end)
        high, low, kind, flags, stream = _HEAD.unpack_from(self._data, self._at)
        size = _HEAD.size + (high << 16 | low)
        self._have(size, end)
        start, self._at = self._at + _HEAD.size, self._at + size
        return kind, flags, stream & _WINDOW_MAX, self._data[start : self._at]

    def _have(self, size: int, end: float | None) -> None:
        """Receive until `size` bytes lie ahead."""
        missing = size - (len(self._data) - self._at)
        if missing <= 0:
            return
        parts = [self._data[self._at :]]
        while missing > 0:
            if end is not None:
                left = end - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                self._socket.settimeout(left)
            part = self._socket.recv(max(missing, 1 << 16))
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


class Lanes:
    """The lanes of one client, one for each thread that calls."""

    def __init__(self, address: ServerAddress) -> None:
        self._address = address
        self._own = threading.local()
        self._open: WeakSet[Lane] = WeakSet()
        self._lock = threading.Lock()
        self._failures, self._not_before, self._closed = 0, 0.0, False

    def call(self, method: str, request: bytes, timeout: float | None) -> bytes | None:
        """The reply of one of `CALLS`; None where it has to be made by other means.

        Raises:
            TimeoutError: `timeout` (seconds) was over first.
        """
        lane = self._lane()
        if lane is None:
            return None
        try:
            reply = lane.call(method, request, timeout)
        except (Unusable, OSError) as error:
            self._drop(lane)
            if timeout is not None and isinstance(error, TimeoutError):
                raise
            self._failed()
            return None
        except BaseException:  # interrupted: the reply would be taken for that of the next call
            self._drop(lane)
            raise
        self._failures = 0
        if lane.worn:
            self._drop(lane)
        return reply

    def _lane(self) -> Lane | None:
        lane: Lane | None = getattr(self._own, "lane", None)
        if lane is not None or self._closed or time.monotonic() < self._not_before:
            return lane
        with self._lock:
            if len(self._open) >= _LANES_MAX:
                return None
            try:
                lane = self._own.lane = Lane(self._address)
            except OSError:
                self._failed()
                return None
            self._open.add(lane)
        return lane

    def _failed(self) -> None:
        self._not_before = time.monotonic() + min(_PAUSE * 2**self._failures, _PAUSE_MAX)
        self._failures = min(self._failures + 1, 10)

    def _drop(self, lane: Lane) -> None:
        lane.close()
        self._own.lane = None
        with self._lock:
            self._open.discard(lane)

    def close(self) -> None:
        """Calls that still run on a lane end there, and are made again by other means."""
        with self._lock:
            self._closed, left = True, list(self._open)
            self._open.clear()
        for lane in left:
            lane.close()
