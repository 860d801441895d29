"""One lane at its server's end: bytes in, requests out; replies out as far as the caller takes them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import TypeAlias

from milvine.server.door import target
from milvine.wire import http2
from milvine.wire.http2 import HEAD, PREFIX, Foreign, frame
from milvine.wire.lanes import CALLS, REQUEST_BYTES_MAX
from milvine.wire.schema import method_path

UNSENT_BYTES_MAX = 16 << 20
"""Of a reply that the caller is slow to take."""

_RECEIVED = 1 << 16
_RPCS = {method_path(rpc): rpc for rpc in CALLS}
_HEADERS, _SUCCESS = http2.response_blocks(0)
_BLOCKS_MAX = 64  # header blocks remembered; a client sends one for each rpc


Kind: TypeAlias = tuple[str, bytes, int]
"""Rpc, collection and about the size of a call."""


class Request:
    """A call that arrived whole: the rpc, the message, the header `authorization`, and the stream it came on."""

    __slots__ = ("authorization", "caller", "kind", "message", "rpc", "stream")

    def __init__(self, caller: Connection, stream: int, rpc: str, authorization: str, message: bytes) -> None:
        self.caller, self.stream = caller, stream
        self.rpc, self.authorization, self.message = rpc, authorization, message
        # The collection comes first in each of these messages, as our client writes them.
        named = message[: 2 + message[1]] if len(message) > 1 else b""
        self.kind: Kind = (rpc, named, len(message).bit_length())


class Connection:
    """Not thread-safe: one thread receives, and the one that carries out the call then sends."""

    def __init__(self, accepted: socket.socket, greeting: bytes) -> None:
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.socket = accepted
        host, port = accepted.getpeername()[:2]
        self.peer = target(host, port)
        self.greeted = False  # whether the other end has said what it is
        self.busy = False  # whether a request is being carried out
        self.unsent = b""
        self._data = b""
        self._stream, self._block = 0, b""  # of the call whose message is to come
        self._window = self._stream_window = http2.WINDOW_DEFAULT
        self._blocks: dict[bytes, tuple[str, str]] = {}
        self._send(greeting)

    def receive(self) -> Request | None:
        """The request that is now complete, if any. At most one is under way on a lane.

        Raises:
            Foreign: the other end is no lane.
            ConnectionError: it hung up.
        """
        try:
            arrived = self.socket.recv(_RECEIVED)
        except BlockingIOError:
            return None
        if not arrived:
            raise ConnectionError
        self._data = self._data + arrived if self._data else arrived
        if not self.greeted and not self._greet():
            return None
        found = None
        for request in self._requests():
            if found is not None or self.busy or self.unsent:
                raise Foreign("a second call before the first was answered")
            found = request
        return found

    def _greet(self) -> bool:
        preface = http2.PREFACE
        if self._data[: len(preface)] != preface[: len(self._data)]:
            raise Foreign("no HTTP/2")
        if len(self._data) < len(preface):
            return False
        self.greeted, self._data = True, self._data[len(preface) :]
        return True

    def _requests(self) -> Iterator[Request]:
        data, at = self._data, 0
        while len(data) - at >= HEAD.size:
            high, low, kind, flags, stream = HEAD.unpack_from(data, at)
            start = at + HEAD.size
            end = start + (high << 16 | low)
            if end - start > REQUEST_BYTES_MAX + PREFIX.size:
                raise Foreign("a frame that is too long")
            if end > len(data):
                break
            at = end
            if kind == http2.HEADERS:
                if flags != http2.END_HEADERS or not stream & 1 or stream <= self._stream:
                    raise Foreign("a call in a form that lanes do not have")
                self._stream, self._block = stream, data[start:end]
            elif kind == http2.DATA:
                yield self._request(flags, stream, data[start:end])
            else:
                self._control(kind, flags, stream, data[start:end])
        self._data = data[at:]

    def _request(self, flags: int, stream: int, payload: bytes) -> Request:
        block, self._block = self._block, b""
        if flags != http2.END_STREAM or stream != self._stream or not block or len(payload) < PREFIX.size:
            raise Foreign("a message in a form that lanes do not have")
        if PREFIX.unpack_from(payload) != (0, len(payload) - PREFIX.size):
            raise Foreign("a message that is packed, or not as long as it says")
        rpc, authorization = self._known(block)
        return Request(self, stream, rpc, authorization, payload[PREFIX.size :])

    def _known(self, block: bytes) -> tuple[str, str]:
        known = self._blocks.get(block)
        if known is None:
            fields = http2.read_block(block)
            rpc = _RPCS.get(fields.get(":path", ""))
            if rpc is None:
                raise Foreign("a call that lanes do not carry")
            if len(self._blocks) >= _BLOCKS_MAX:
                self._blocks.clear()
            known = self._blocks[block] = rpc, fields.get("authorization", "")
        return known

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """A frame about the connection."""
        if kind == http2.SETTINGS and not flags & http2.ACK:
            if len(payload) % http2.SETTING.size:
                raise Foreign("settings that are cut off")
            for key, value in http2.SETTING.iter_unpack(payload):
                if key == http2.INITIAL_WINDOW:
                    self._stream_window = value
            self._send(frame(http2.SETTINGS, http2.ACK, 0, b""))
        elif kind == http2.PING and not flags & http2.ACK:
            self._send(frame(http2.PING, http2.ACK, 0, payload))
        elif kind == http2.WINDOW_UPDATE and not stream:
            self._window += int.from_bytes(payload, "big")
        elif kind in (http2.RST_STREAM, http2.GOAWAY):
            raise Foreign("the caller gives up")

    def reply(self, stream: int, message: bytes) -> None:
        """Answer the call of a stream with success.

        Raises:
            OSError: the caller is gone.
            Foreign: he takes no reply of this length.
        """
        size = PREFIX.size + len(message)
        if size > min(self._window, self._stream_window):
            raise Foreign("a window too small for the reply")
        self._window -= size
        head = HEAD.pack(0, len(_HEADERS), http2.HEADERS, http2.END_HEADERS, stream) + _HEADERS
        tail = HEAD.pack(0, len(_SUCCESS), http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, stream) + _SUCCESS
        prefix = PREFIX.pack(0, len(message))
        if size <= http2.FRAME_MAX:
            self._send(b"".join((head, HEAD.pack(0, size, http2.DATA, 0, stream), prefix, message, tail)))
        else:
            body = prefix + message
            pieces = [body[at : at + http2.FRAME_MAX] for at in range(0, size, http2.FRAME_MAX)]
            self._send(head + b"".join(frame(http2.DATA, 0, stream, piece) for piece in pieces) + tail)

    def refuse(self, stream: int, status: int, reason: str) -> None:
        """Answer the call of a stream with a gRPC status.

        Raises:
            OSError: the caller is gone.
            Foreign: he does not read what he is sent.
        """
        headers, trailers = http2.response_blocks(status, reason)
        flags = http2.END_HEADERS | http2.END_STREAM
        self._send(frame(http2.HEADERS, flags, stream, headers + trailers))

    def _send(self, data: bytes) -> None:
        if self.unsent:
            self.unsent += data
        else:
            try:
                sent = self.socket.send(data)
            except BlockingIOError:
                sent = 0
            self.unsent = data[sent:] if sent < len(data) else b""
        if len(self.unsent) > UNSENT_BYTES_MAX:
            raise Foreign("replies that nobody reads")

    def send_more(self) -> None:
        """Send what was left over.

        Raises:
            OSError: the caller is gone.
        """
        data, self.unsent = self.unsent, b""
        if data:
            self._send(data)

    def give_up(self) -> None:
        """Let the thread that waits for what is sent here hear the end. Any thread may call this."""
        with suppress(OSError):  # it is over already
            self.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Hang up. May be called again."""
        self.socket.close()
