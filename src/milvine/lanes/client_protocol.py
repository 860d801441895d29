"""The client's end of a lane as a protocol: calls in and bytes to send out, bytes that arrived in
and replies out. It opens no socket and starts no thread.

It reads no header fields (RFC 7541): it asks for no dynamic table, so that the trailers of every
success are the same bytes, which it learns from the first call. A reply is a success when it holds
a whole message and has those trailers.
"""

from __future__ import annotations

import struct

from milvine.lanes import http2
from milvine.lanes.agreement import CALLS, REQUEST_BYTES_MAX
from milvine.lanes.http2 import HEAD, PREFIX, WINDOW_DEFAULT, WINDOW_MAX, ProtocolError, frame
from milvine.wire.schema import method_path

_STREAMS_MAX = 1 << 30
_RECEIVED_MAX = 1 << 30  # bytes: the window that is opened at the start is never opened again
_SETTINGS = {  # no dynamic table, no pushes, all that a stream may send at once, and in one frame
    http2.TABLE_SIZE: 0,
    http2.ENABLE_PUSH: 0,
    http2.INITIAL_WINDOW: WINDOW_MAX,
    http2.LONGEST_FRAME: http2.FRAME_MAX,
}
GREETING = (
    http2.PREFACE + http2.settings(_SETTINGS) + http2.window_update(WINDOW_MAX - WINDOW_DEFAULT)
)
"""The first bytes that a client sends."""
_STREAM_AT = 5  # where the number of the stream stands in a frame
_STREAM_BYTES = HEAD.size - _STREAM_AT
_DATA = struct.Struct(">BHBB")  # the head of a frame without the number of the stream


class ClientProtocol:
    """One connection, from its `GREETING` on. Of no use after an exception. Not thread-safe.

    `instance` is the run of the server that is expected at the other end; None: whoever is there.

    Attributes:
        greeted: whether the other end has said the first words, as a lane does.
        missing: bytes that have to come before anything more can be told; at least 1.
        outgoing: what `data_to_send` is about to give.
    """

    def __init__(self, authority: str, authorization: str, instance: int | None = None) -> None:
        self._heads = {}
        for call in CALLS:
            block = http2.request_block(method_path(call), authority, authorization)
            head = _without_stream(http2.HEADERS, http2.END_HEADERS, block)
            self._heads[call] = head[:_STREAM_AT], head[_STREAM_AT:]
        self._instance, self.greeted = instance, False
        self.outgoing = b""
        # The next stream, and the one of the call that is not answered yet; 0: there is none.
        self._next, self._stream, self._number = 1, 0, b""
        self._window, self._received, self._goaway = WINDOW_DEFAULT, 0, False
        self._pieces: list[bytes] = []  # of frames that are not whole
        self._held, self._needed = 0, HEAD.size
        self.missing = HEAD.size
        self._headers, self._body = b"", list[bytes]()  # of the reply that is under way
        self._success: bytes | None = None
        # Headers and trailers of a success, around the number of the stream.
        self._frames = b"", b"", b"", b""
        # Bytes of a reply beside its message; before the first one, more than any has.
        self._around = 1 << 62

    @property
    def worn(self) -> bool:
        """Whether the connection has carried all that it may: nothing failed, and the next call
        needs another.
        """
        return self._goaway or self._next > _STREAMS_MAX or self._received > _RECEIVED_MAX

    def request(self, method: str, message: bytes) -> bytes:
        """The bytes of a call, once the one before is answered.

        Raises:
            ProtocolError: the other end takes no more on this connection, which is `worn`.
        """
        stream, size = self._next, len(message) + PREFIX.size
        if size > self._window:
            self._goaway = True
            raise ProtocolError("the window is used up")
        self._next, self._stream, self._window = stream + 2, stream, self._window - size
        self._number = number = stream.to_bytes(_STREAM_BYTES, "big")
        before, behind = self._heads[method]
        data = HEAD.pack(0, size, http2.DATA, http2.END_STREAM, stream)
        return b"".join((before, number, behind, data, PREFIX.pack(0, len(message)), message))

    def data_to_send(self) -> bytes:
        """What `receive` has to answer; nothing, mostly. It is told once."""
        outgoing, self.outgoing = self.outgoing, b""
        return outgoing

    def receive(self, data: bytes) -> bytes | None:
        """The reply that is now complete; None while there is more to come.

        Raises:
            ProtocolError: it is no plain success, or the other end is no lane, or another one.
        """
        self._received += len(data)
        if not self._pieces and (reply := self._usual_reply(data)):
            return reply
        self._pieces.append(data)
        self._held += len(data)
        whole = self._read() if self._held >= self._needed else None
        self.missing = max(self._needed - self._held, 1)
        return whole

    def _usual_reply(self, data: bytes) -> bytes:
        """A success that lies there whole, in three frames like those of the first one; nothing if
        it is otherwise.
        """
        size = len(data) - self._around
        if not 0 < size <= http2.FRAME_MAX - PREFIX.size or self._headers or not self._stream:
            return b""
        number, (start, headers, middle, trailers) = self._number, self._frames
        length = size + PREFIX.size
        head = _DATA.pack(length >> 16, length & 0xFFFF, http2.DATA, 0)
        before = b"".join((start, number, headers, head, number, PREFIX.pack(0, size)))
        if not (data.startswith(before) and data.endswith(middle + number + trailers)):
            return b""
        self._stream = 0
        return data[len(before) : len(before) + size]

    def _read(self) -> bytes | None:
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        frames, at = http2.frames(data, http2.FRAME_MAX)
        self._pieces, self._held = [data[at:]] if at < len(data) else [], len(data) - at
        self._needed = HEAD.size
        if self._held >= HEAD.size:
            high, low, *_ = HEAD.unpack_from(data, at)
            self._needed += high << 16 | low
        reply = None
        for each in frames:
            completed = self._take(*each)
            reply = completed if reply is None else reply
        return reply

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> bytes | None:
        if not self.greeted:
            self._greet(kind, flags, payload)
        if not stream or stream != self._stream:
            self._control(kind, flags, stream, payload)
        elif kind == http2.DATA and not flags & (http2.PADDED | http2.END_STREAM):
            self._body.append(payload)
        elif kind == http2.HEADERS and flags & http2.END_HEADERS and not flags & http2.PADDED:
            if flags & http2.END_STREAM:
                return self._message(payload)
            self._headers = payload
        elif kind != http2.WINDOW_UPDATE:
            raise ProtocolError("a reply in a form that lanes do not have")
        return None

    def _greet(self, kind: int, flags: int, payload: bytes) -> None:
        if kind != http2.SETTINGS or flags & http2.ACK:
            raise ProtocolError("no server of lanes")
        instance = http2.read_settings(payload).get(http2.INSTANCE)
        if self._instance not in (None, instance):
            raise ProtocolError("another server of lanes")
        self.greeted = True

    def _message(self, trailers: bytes) -> bytes:
        body, headers = b"".join(self._body), self._headers
        self._body, self._headers, self._stream = [], b"", 0
        if len(body) < PREFIX.size or PREFIX.unpack_from(body) != (0, len(body) - PREFIX.size):
            raise ProtocolError("a message that is packed, or not as long as it says")
        if self._success is None:
            self._learn(headers, trailers)
        if trailers != self._success:
            raise ProtocolError("no success")
        return body[PREFIX.size :]

    def _learn(self, headers: bytes, trailers: bytes) -> None:
        """What stands around the message of a success, of which this is the first."""
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

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """A frame about the connection."""
        if kind == http2.WINDOW_UPDATE and not stream:
            self._window += int.from_bytes(payload, "big")
        elif kind == http2.SETTINGS and not flags & http2.ACK:
            window = http2.read_settings(payload).get(http2.INITIAL_WINDOW, WINDOW_DEFAULT)
            if window <= REQUEST_BYTES_MAX:
                raise ProtocolError("hardly any window")
        elif kind == http2.GOAWAY:
            self._goaway = True  # calls that the server has taken it still answers
        self.outgoing += http2.acknowledgement(kind, flags, payload)


def _without_stream(kind: int, flags: int, payload: bytes) -> bytes:
    whole = frame(kind, flags, 0, payload)
    return whole[:_STREAM_AT] + whole[HEAD.size :]
