"""The server's end of a lane as a protocol: bytes that arrived in and requests out, replies in and
bytes to send out. It opens no socket and starts no thread.

Whatever is out of the ordinary raises `ProtocolError`, and ends the connection: clients make the
call again by gRPC.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from milvine.lanes import http2
from milvine.lanes.agreement import CALLS, REQUEST_BYTES_MAX
from milvine.lanes.http2 import HEAD, PREFIX, ProtocolError, frame
from milvine.wire.schema import method_path

_RPCS = {method_path(rpc): rpc for rpc in CALLS}
_HEADERS, _SUCCESS = http2.response_blocks(0)
_BLOCKS_MAX = 2 * len(CALLS)  # header blocks remembered; a client sends one for each rpc
_BLOCK_BYTES_MAX = 2048  # a token has at most 512
# Frames about the connection between two calls; a client sends three at the beginning.
_CONTROLS_MAX = 64

Kind: TypeAlias = tuple[str, bytes, int]
"""Rpc, collection and about the size of a call: calls of a kind take about the same time."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A gRPC status in place of a reply, and why."""

    status: int
    reason: str


@dataclass(eq=False, slots=True)
class Request:
    """A call that arrived whole: the rpc, the header `authorization`, the message, and the stream
    it came on.
    """

    rpc: str
    authorization: str
    message: bytes
    stream: int = 1
    kind: Kind = field(init=False)

    def __post_init__(self) -> None:
        # The collection comes first in each of these messages, as our client writes them.
        message = self.message
        named = message[: 2 + message[1]] if len(message) > 1 else b""
        self.kind = self.rpc, named, len(message).bit_length()


def greeting(instance: int) -> bytes:
    """The first bytes that a server sends: the number of its run, and room for all that comes."""
    more = http2.WINDOW_MAX - http2.WINDOW_DEFAULT
    return http2.settings({http2.INSTANCE: instance}) + http2.window_update(more)


class ServerProtocol:
    """One connection, with one call on it at a time. Of no use after an exception of `receive`.

    One thread receives; the one that answers may be another.

    Attributes:
        greeted: whether the other end has said that it speaks HTTP/2.
        busy: whether a request is being carried out.
    """

    def __init__(self) -> None:
        self.greeted = self.busy = False
        self._data, self._controls, self._outgoing = b"", 0, b""
        self._stream, self._block = 0, b""  # of the call whose message is to come
        # Who receives counts what the caller lets through, who answers what went through.
        self._window, self._sent = http2.WINDOW_DEFAULT, 0
        self._stream_window = http2.WINDOW_DEFAULT
        self._frame_max = http2.FRAME_DEFAULT
        self._blocks: dict[bytes, tuple[str, str]] = {}

    @property
    def buffered(self) -> int:
        """Bytes that are kept: of a frame that is not whole, and of header blocks."""
        return len(self._data) + sum(map(len, self._blocks))

    def data_to_send(self) -> bytes:
        """What `receive` has to acknowledge; nothing, mostly. It is told once."""
        outgoing, self._outgoing = self._outgoing, b""
        return outgoing

    def receive(self, data: bytes) -> Request | None:
        """The request that is now complete, if any.

        Raises:
            ProtocolError: the other end is no lane.
        """
        data = self._data + data if self._data else data
        if not self.greeted:
            self._data = data
            if not self._greet():
                return None
            data = self._data
        frames, at = http2.frames(data, REQUEST_BYTES_MAX + PREFIX.size)
        self._data = data[at:]
        found = None
        for kind, flags, stream, payload in frames:
            if kind == http2.HEADERS:
                self._begin(flags, stream, payload)
            elif kind != http2.DATA:
                self._control(kind, flags, stream, payload)
            elif self.busy:
                raise ProtocolError("a second call before the first was answered")
            else:
                found, self.busy = self._request(flags, stream, payload), True
        return found

    def _greet(self) -> bool:
        preface = http2.PREFACE
        if self._data[: len(preface)] != preface[: len(self._data)]:
            raise ProtocolError("no HTTP/2")
        if len(self._data) < len(preface):
            return False
        self.greeted, self._data = True, self._data[len(preface) :]
        return True

    def _begin(self, flags: int, stream: int, block: bytes) -> None:
        """The header block of a call."""
        if (
            flags != http2.END_HEADERS
            or not stream & 1
            or stream <= self._stream
            or self._block
            or not block
        ):
            raise ProtocolError("a call in a form that lanes do not have")
        self._stream, self._block = stream, block

    def _request(self, flags: int, stream: int, payload: bytes) -> Request:
        block, self._block, self._controls = self._block, b"", 0
        if (
            flags != http2.END_STREAM
            or stream != self._stream
            or not block
            or len(payload) < PREFIX.size
        ):
            raise ProtocolError("a message in a form that lanes do not have")
        if PREFIX.unpack_from(payload) != (0, len(payload) - PREFIX.size):
            raise ProtocolError("a message that is packed, or not as long as it says")
        rpc, authorization = self._blocks.get(block) or self._read_block(block)
        return Request(rpc, authorization, payload[PREFIX.size :], stream)

    def _read_block(self, block: bytes) -> tuple[str, str]:
        if len(block) > _BLOCK_BYTES_MAX:
            raise ProtocolError("a header block that is too long")
        fields = http2.read_block(block)
        rpc = _RPCS.get(fields.get(":path", ""))
        if rpc is None:
            raise ProtocolError("a call that lanes do not carry")
        if len(self._blocks) >= _BLOCKS_MAX:
            self._blocks.clear()
        read = self._blocks[block] = rpc, fields.get("authorization", "")
        return read

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """A frame about the connection."""
        self._controls += 1
        if self._controls > _CONTROLS_MAX:
            raise ProtocolError("much talk and no call")
        if kind == http2.SETTINGS and not flags & http2.ACK:
            settings = http2.read_settings(payload)
            self._stream_window = settings.get(http2.INITIAL_WINDOW, self._stream_window)
            longest = settings.get(http2.LONGEST_FRAME, self._frame_max)
            self._frame_max = min(max(longest, http2.FRAME_DEFAULT), http2.FRAME_MAX)
        elif kind == http2.WINDOW_UPDATE and not stream:
            if len(payload) != http2.WINDOW.size:
                raise ProtocolError("a window that is no number")
            self._window += http2.WINDOW.unpack(payload)[0]
        elif kind in (http2.RST_STREAM, http2.GOAWAY):
            raise ProtocolError("the caller gives up")
        self._outgoing += http2.acknowledgement(kind, flags, payload)

    def reply(self, request: Request, message: bytes) -> bytes:
        """The bytes of a success. From now on the next request may come.

        Raises:
            ProtocolError: the caller takes no reply of this length.
        """
        self.busy = False
        stream, size, most = request.stream, PREFIX.size + len(message), self._frame_max
        if size > min(self._window - self._sent, self._stream_window):
            raise ProtocolError("a window too small for the reply")
        self._sent += size
        head = HEAD.pack(0, len(_HEADERS), http2.HEADERS, http2.END_HEADERS, stream)
        last = http2.END_HEADERS | http2.END_STREAM
        tail = HEAD.pack(0, len(_SUCCESS), http2.HEADERS, last, stream)
        prefix = PREFIX.pack(0, len(message))
        if size <= most:
            data = HEAD.pack(size >> 16, size & 0xFFFF, http2.DATA, 0, stream)
            return b"".join((head, _HEADERS, data, prefix, message, tail, _SUCCESS))
        body = prefix + message
        pieces = (body[at : at + most] for at in range(0, size, most))
        data = b"".join(frame(http2.DATA, 0, stream, piece) for piece in pieces)
        return b"".join((head, _HEADERS, data, tail, _SUCCESS))

    def refuse(self, request: Request, refusal: Refusal) -> bytes:
        """The bytes of a gRPC status. From now on the next request may come."""
        self.busy = False
        headers, trailers = http2.response_blocks(refusal.status, refusal.reason)
        flags = http2.END_HEADERS | http2.END_STREAM
        return frame(http2.HEADERS, flags, request.stream, headers + trailers)
