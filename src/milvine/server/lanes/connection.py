"""One lane at its server's end: bytes in, requests out; replies out as far as the caller takes
them.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import TypeAlias

from milvine.wire import http2
from milvine.wire.http2 import HEAD, PREFIX, Foreign, frame
from milvine.wire.lanes import CALLS, REQUEST_BYTES_MAX
from milvine.wire.schema import method_path

_RECEIVED = 1 << 14  # a request and some more
_RPCS = {method_path(rpc): rpc for rpc in CALLS}
_HEADERS, _SUCCESS = http2.response_blocks(0)
_BLOCKS_MAX = 2 * len(CALLS)  # header blocks remembered; a client sends one for each rpc
_BLOCK_BYTES_MAX = 2048  # a token has at most 512
# Frames about the connection between two calls; a client sends three at the beginning.
_CONTROLS_MAX = 64
_NOTHING = memoryview(b"")

Kind: TypeAlias = tuple[str, bytes, int]
"""Rpc, collection and about the size of a call."""


class Request:
    """A call that arrived whole: the rpc, the message, the header `authorization`, and the stream
    it came on.
    """

    __slots__ = ("authorization", "caller", "kind", "message", "rpc", "stream")

    def __init__(
        self, caller: Connection, stream: int, rpc: str, authorization: str, message: bytes
    ) -> None:
        self.caller, self.stream = caller, stream
        self.rpc, self.authorization, self.message = rpc, authorization, message
        # The collection comes first in each of these messages, as our client writes them.
        named = message[: 2 + message[1]] if len(message) > 1 else b""
        self.kind: Kind = (rpc, named, len(message).bit_length())


class Connection:
    """One thread receives, and closes in the end. Any thread may send.

    `peer` is the caller's address, with or without a port.

    Attributes:
        greeted: whether the other end has said that it speaks HTTP/2.
        busy: whether a request is being carried out.
        unsent: what the caller has yet to take; `held`: the bytes that this keeps in memory.
    """

    def __init__(self, accepted: socket.socket, peer: str, greeting: bytes) -> None:
        accepted.setblocking(False)
        if accepted.family in (socket.AF_INET, socket.AF_INET6):
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.socket, self.peer = accepted, peer
        self.greeted = self.busy = False
        self.unsent, self.held = _NOTHING, 0
        # A socket closed meanwhile could be another caller's by now.
        self._sending = threading.Lock()
        self._data, self._controls = b"", 0
        self._stream, self._block = 0, b""  # of the call whose message is to come
        self._window = self._stream_window = http2.WINDOW_DEFAULT
        self._frame_max = http2.FRAME_DEFAULT
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
                if (
                    flags != http2.END_HEADERS
                    or not stream & 1
                    or stream <= self._stream
                    or self._block
                ):
                    raise Foreign("a call in a form that lanes do not have")
                self._stream, self._block = stream, data[start:end]
            elif kind == http2.DATA:
                yield self._request(flags, stream, data[start:end])
            else:
                self._control(kind, flags, stream, data[start:end])
        self._data = data[at:]

    def _request(self, flags: int, stream: int, payload: bytes) -> Request:
        block, self._block, self._controls = self._block, b"", 0
        if (
            flags != http2.END_STREAM
            or stream != self._stream
            or not block
            or len(payload) < PREFIX.size
        ):
            raise Foreign("a message in a form that lanes do not have")
        if PREFIX.unpack_from(payload) != (0, len(payload) - PREFIX.size):
            raise Foreign("a message that is packed, or not as long as it says")
        rpc, authorization = self._known(block)
        return Request(self, stream, rpc, authorization, payload[PREFIX.size :])

    def _known(self, block: bytes) -> tuple[str, str]:
        known = self._blocks.get(block)
        if known is None:
            if len(block) > _BLOCK_BYTES_MAX:
                raise Foreign("a header block that is too long")
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
        self._controls += 1
        if self._controls > _CONTROLS_MAX:
            raise Foreign("much talk and no call")
        if kind == http2.SETTINGS and not flags & http2.ACK:
            if len(payload) % http2.SETTING.size:
                raise Foreign("settings that are cut off")
            for key, value in http2.SETTING.iter_unpack(payload):
                if key == http2.INITIAL_WINDOW:
                    self._stream_window = value
                elif key == http2.LONGEST_FRAME:
                    self._frame_max = min(max(value, http2.FRAME_DEFAULT), http2.FRAME_MAX)
            self._acknowledge(http2.SETTINGS, b"")
        elif kind == http2.PING and not flags & http2.ACK:
            self._acknowledge(http2.PING, payload)
        elif kind == http2.WINDOW_UPDATE and not stream:
            if len(payload) != http2.WINDOW.size:
                raise Foreign("a window that is no number")
            self._window += http2.WINDOW.unpack(payload)[0]
        elif kind in (http2.RST_STREAM, http2.GOAWAY):
            raise Foreign("the caller gives up")

    def _acknowledge(self, kind: int, payload: bytes) -> None:
        if self.unsent:
            raise Foreign("words of somebody who does not read")
        self._send(frame(kind, http2.ACK, 0, payload))

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
        tail = (
            HEAD.pack(0, len(_SUCCESS), http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, stream)
            + _SUCCESS
        )
        prefix = PREFIX.pack(0, len(message))
        most = self._frame_max
        if size <= most:
            data = HEAD.pack(size >> 16, size & 0xFFFF, http2.DATA, 0, stream)
            self._send(b"".join((head, data, prefix, message, tail)))
        else:
            body = prefix + message
            pieces = [body[at : at + most] for at in range(0, size, most)]
            self._send(
                head + b"".join(frame(http2.DATA, 0, stream, piece) for piece in pieces) + tail
            )

    def refuse(self, stream: int, status: int, reason: str) -> None:
        """Answer the call of a stream with a gRPC status.

        Raises:
            OSError: the caller is gone.
        """
        headers, trailers = http2.response_blocks(status, reason)
        flags = http2.END_HEADERS | http2.END_STREAM
        self._send(frame(http2.HEADERS, flags, stream, headers + trailers))

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
