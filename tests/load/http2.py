"""As much of HTTP/2 as it takes to be a rude gRPC client: what a library would not send is the
point.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from milvine.wire.schema import method_path

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM = ACK = 1
END_HEADERS = 4
CANCEL = struct.pack(">I", 8)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return (
        struct.pack(">I", len(payload))[1:]
        + bytes((kind, flags))
        + struct.pack(">I", stream)
        + payload
    )


def call_headers(rpc: str, stream: int = 1, **more: str) -> bytes:
    """The frame that begins a call."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": method_path(rpc),
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
        **{name.replace("_", "-"): value for name, value in more.items()},
    }
    block = b"".join(b"\0" + _text(name) + _text(value) for name, value in fields.items())
    return frame(HEADERS, END_HEADERS, stream, block)


def message_head(length: int, compressed: bool = False) -> bytes:
    """What stands before a message: whether it is compressed, and how long it says it is."""
    return struct.pack(">BI", compressed, length)


def data(payload: bytes, stream: int = 1, end: bool = False) -> bytes:
    """DATA frames of at most 16 KiB."""
    pieces = [payload[at : at + 16384] for at in range(0, len(payload), 16384)] or [b""]
    return b"".join(
        frame(DATA, END_STREAM if end and n == len(pieces) - 1 else 0, stream, piece)
        for n, piece in enumerate(pieces)
    )


@contextmanager
def connection(port: int) -> Iterator[socket.socket]:
    """A connection after its first frames."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as made:
        made.sendall(PREFACE + frame(SETTINGS, 0, 0))
        yield made


def frames(connection: socket.socket) -> Iterator[tuple[int, int, int, bytes]]:
    """(kind, flags, stream, payload) as they come, until the server hangs up."""
    while head := _exactly(connection, 9):
        payload = _exactly(connection, int.from_bytes(head[:3], "big"))
        yield head[3], head[4], int.from_bytes(head[5:9], "big") & 0x7FFFFFFF, payload


def end_of_call(connection: socket.socket) -> bytes:
    """Everything the server says on stream 1, until it ends it or hangs up; pings and settings are
    answered.
    """
    said = b""
    for kind, flags, stream, payload in frames(connection):
        if kind in (SETTINGS, PING) and not flags & ACK:
            connection.sendall(frame(kind, ACK, 0, payload if kind == PING else b""))
        if stream == 1 or kind == GOAWAY:
            said += payload
        if kind == GOAWAY or (stream == 1 and (kind == RESET or flags & END_STREAM)):
            break
    return said


def _exactly(connection: socket.socket, count: int) -> bytes:
    read = b""
    while len(read) < count and (more := connection.recv(count - len(read))):
        read += more
    return read


def _text(text: str) -> bytes:
    return bytes((len(text),)) + text.encode()
