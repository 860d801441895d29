"""What no lane says, by what is wrong with it."""

from __future__ import annotations

from milvine.lanes import http2
from milvine.lanes.agreement import REQUEST_BYTES_MAX
from milvine.lanes.http2 import PREFIX, frame
from tests.lanes.caller import HELLO, PING, asking, headers, message

FOREIGN = {
    "HTTP/1": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "TLS": bytes.fromhex("160301020001000001fc0303") + bytes(100),
    "half a preface, then something else": http2.PREFACE[:10] + b"x" * 20,
    "an unknown path": HELLO + asking("DropCollection", b""),
    "a header in a code": HELLO + frame(1, 4, 1, b"\x83\x86\x04\x85" + bytes(5)) + message(b""),
    "a dynamic table": HELLO + frame(1, 4, 1, b"\x83\x86\x44\x01/") + message(b""),
    "a header block that is cut off": HELLO + frame(1, 4, 1, b"\x83\x86\x04\x20/") + message(b""),
    "a number without an end": HELLO + frame(1, 4, 1, b"\x0f" + b"\xff" * 20) + message(b""),
    "no text": HELLO + frame(1, 4, 1, b"\x04\x01\xff") + message(b""),
    "a header block of 10 KB": HELLO
    + frame(1, 4, 1, headers("Search")[9:] + b"\x00\x01x" + http2.text("y" * 10_000))
    + message(b""),
    "two paths": HELLO
    + frame(1, 4, 1, headers("Search")[9:] + headers("Search")[11:])
    + message(b""),
    "no header block": HELLO + message(b""),
    "an empty header block": HELLO + frame(1, 4, 1, b"") + message(b""),
    "two header blocks": HELLO + headers("Search") + asking("Search", b"", 3),
    "headers in two frames": HELLO + headers("Search").replace(b"\x01\x04", b"\x01\x00", 1),
    "padded headers": HELLO + headers("Search").replace(b"\x01\x04", b"\x01\x0c", 1),
    "headers that end the stream": HELLO + headers("Search").replace(b"\x01\x04", b"\x01\x05", 1),
    "an even stream": HELLO + asking("Search", b"", 2),
    "stream 0": HELLO + asking("Search", b"", 0),
    "another stream's message": HELLO + headers("Search", 1) + message(b"", 3),
    "a message that goes on": HELLO + headers("Search") + frame(0, 0, 1, PREFIX.pack(0, 0)),
    "a padded message": HELLO + headers("Search") + frame(0, 9, 1, b"\0" + PREFIX.pack(0, 0)),
    "a compressed message": HELLO + headers("Search") + frame(0, 1, 1, PREFIX.pack(1, 1) + b"x"),
    "a message that is longer than it says": HELLO
    + headers("Search")
    + frame(0, 1, 1, PREFIX.pack(0, 0) + b"x"),
    "a message that is shorter than it says": HELLO
    + headers("Search")
    + frame(0, 1, 1, PREFIX.pack(0, 9) + b"x"),
    "no message": HELLO + headers("Search") + frame(0, 1, 1, b""),
    "a frame of 16 MiB": HELLO + b"\xff\xff\xff\0\0\0\0\0\1",
    "a message that is too long": HELLO
    + headers("Search")
    + message(bytes(REQUEST_BYTES_MAX + 1))[:100],
    "settings that are cut off": HELLO + frame(http2.SETTINGS, 0, 0, b"12345"),
    "a window of a kilobyte": HELLO + frame(http2.WINDOW_UPDATE, 0, 0, b"\xff" * 1000),
    "a stream that is reset": HELLO + frame(http2.RST_STREAM, 0, 1, bytes(4)),
    "goodbye": HELLO + frame(http2.GOAWAY, 0, 0, bytes(8)),
    "pings without an end": HELLO + PING * 70,
    "frames of no kind without an end": HELLO + frame(77, 0, 0, b"") * 70,
    "two calls at once": HELLO + asking("Search", b"", 1) + asking("Search", b"", 3),
}
