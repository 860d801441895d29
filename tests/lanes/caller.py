"""The caller's end of a lane, frame by frame: what a client would not send is half of the point."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import unquote

from milvine.lanes import http2
from milvine.lanes.http2 import HEAD, PREFIX, frame
from milvine.wire.schema import method_path

HELLO = (
    http2.PREFACE
    + http2.settings(
        {http2.TABLE_SIZE: 0, http2.ENABLE_PUSH: 0, http2.INITIAL_WINDOW: http2.WINDOW_MAX}
    )
    + http2.window_update(http2.WINDOW_MAX - http2.WINDOW_DEFAULT)
)
PING = frame(http2.PING, 0, 0, b"8 bytes!")


def headers(rpc: str, stream: int = 1, authorization: str = "") -> bytes:
    return frame(
        http2.HEADERS,
        http2.END_HEADERS,
        stream,
        http2.request_block(method_path(rpc), "localhost:1", authorization),
    )


def message(text: bytes, stream: int = 1) -> bytes:
    return frame(http2.DATA, http2.END_STREAM, stream, PREFIX.pack(0, len(text)) + text)


def asking(rpc: str, text: bytes, stream: int = 1, authorization: str = "") -> bytes:
    """The two frames of a call."""
    return headers(rpc, stream, authorization) + message(text, stream)


class Caller:
    """One connection; it has said hello, unless told to say something else."""

    def __init__(self, port: int, hello: bytes = HELLO, host: str = "127.0.0.1") -> None:
        self.socket = socket.create_connection((host, port), timeout=30)
        try:
            self.say(hello)
        except OSError:
            self.socket.close()
            raise
        self._heard = self.socket.makefile("rb", 1 << 20)
        self.stream = -1
        self.acknowledged = 0  # settings and pings
        self.reason = ""  # of the last refusal

    def say(self, words: bytes) -> None:
        self.socket.sendall(words)

    def begin(self, rpc: str, text: bytes = b"", authorization: str = "") -> None:
        self.stream += 2
        self.say(asking(rpc, text, self.stream, authorization))

    def ask(self, rpc: str, text: bytes = b"", authorization: str = "") -> Any:
        """The reply; the number of a gRPC status for a refusal; None when the server hangs up."""
        self.begin(rpc, text, authorization)
        return self.answer()

    def answer(self) -> Any:
        """As `ask`, for what was begun."""
        body = bytearray()
        while got := self.frame():
            kind, flags, stream, payload = got
            if stream != self.stream:
                self.acknowledged += bool(flags & http2.ACK)
            elif kind == http2.DATA:
                assert len(payload) <= http2.FRAME_DEFAULT
                body += payload
            elif flags & http2.END_STREAM:
                told = http2.read_block(payload.removeprefix(b"\x88"))
                status, self.reason = (
                    int(told["grpc-status"]),
                    unquote(told.get("grpc-message", "")),
                )
                assert status or PREFIX.unpack_from(body) == (0, len(body) - PREFIX.size)
                return status or bytes(body[PREFIX.size :])
        return None

    def frame(self) -> tuple[int, int, int, bytes] | None:
        head = self._exactly(HEAD.size)
        if len(head) < HEAD.size:
            return None
        high, low, kind, flags, stream = HEAD.unpack(head)
        payload = self._exactly(high << 16 | low)
        return (kind, flags, stream, payload) if len(payload) == high << 16 | low else None

    def hung_up(self) -> bool:
        """Whether the server ends the connection; whatever it says before is thrown away."""
        try:
            while self.socket.recv(1 << 16):
                pass
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        self._heard.close()
        self.socket.close()

    def _exactly(self, count: int) -> bytes:
        """Less at the end."""
        try:
            return bytes(self._heard.read(count))
        except ConnectionError:
            return b""


@contextmanager
def calling(port: int, hello: bytes = HELLO, **more: Any) -> Iterator[Caller]:
    with closing(Caller(port, hello, **more)) as caller:
        yield caller
