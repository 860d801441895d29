"""As much of HTTP/2 (RFC 9113) and of header blocks (RFC 7541) as a lane speaks, for both of its
ends.

A lane is a connection with one call on it at a time. Its client asks for no dynamic table and sends
every field as it is, so that a header block means the same whenever it comes, and can be compared
as bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import TypeAlias

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 1, 1, 4, 8, 32
HEAD = struct.Struct(">BHBBI")  # length in two pieces, type, flags, stream
PREFIX = struct.Struct(">BI")  # of a gRPC message: compressed or not, length
SETTING = struct.Struct(">HI")
WINDOW = struct.Struct(">I")
TABLE_SIZE, ENABLE_PUSH, INITIAL_WINDOW, LONGEST_FRAME = 1, 2, 4, 5  # settings
INSTANCE = 0x4D56
"""A setting of ours, which others ignore: the number that tells one run of a server from every
other.
"""
WINDOW_DEFAULT = 65_535
WINDOW_MAX = STREAM_MAX = (1 << 31) - 1
FRAME_DEFAULT = 16_384  # bytes of the longest frame, where nothing else is said
FRAME_MAX = (1 << 24) - 1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# Of literals: the first half of the first byte; the other begins the number of the name.
_KINDS = (0x00, 0x10)
_STATIC = {1: ":authority", 4: ":path", 23: "authorization", 31: "content-type"}
_METHOD_POST, _SCHEME_HTTP = 0x83, 0x86
_REASON_MAX = 1000  # characters, each of which may become a dozen


Frame: TypeAlias = tuple[int, int, int, bytes]
"""Type, flags, stream and payload."""


class ProtocolError(Exception):
    """The other end said what a lane does not go on after: the connection is to be ended."""


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame of at most 16 MiB."""
    return HEAD.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


def frames(data: bytes, longest: int) -> tuple[list[Frame], int]:
    """The whole frames at the beginning of `data`, and how many bytes they take.

    Raises:
        ProtocolError: a frame announces a payload of more than `longest` bytes.
    """
    found: list[Frame] = []
    at, end = 0, len(data)
    while end - at >= HEAD.size:
        high, low, kind, flags, stream = HEAD.unpack_from(data, at)
        size = high << 16 | low
        if size > longest:
            raise ProtocolError("a frame that is too long")
        start = at + HEAD.size
        if start + size > end:
            break
        at = start + size
        found.append((kind, flags, stream & STREAM_MAX, data[start:at]))
    return found, at


def acknowledgement(kind: int, flags: int, payload: bytes) -> bytes:
    """What is answered to settings and to a ping; nothing to other frames."""
    if kind == SETTINGS and not flags & ACK:
        return frame(SETTINGS, ACK, 0, b"")
    if kind == PING and not flags & ACK:
        return frame(PING, ACK, 0, payload)
    return b""


def read_settings(payload: bytes) -> dict[int, int]:
    """Values by key.

    Raises:
        ProtocolError: a setting is cut off.
    """
    if len(payload) % SETTING.size:
        raise ProtocolError("settings that are cut off")
    return dict(SETTING.iter_unpack(payload))


def settings(pairs: Mapping[int, int]) -> bytes:
    """A frame with those settings."""
    return frame(SETTINGS, 0, 0, b"".join(SETTING.pack(*pair) for pair in pairs.items()))


def window_update(more: int) -> bytes:
    """A frame that lets the other end send so many bytes more on this connection."""
    return frame(WINDOW_UPDATE, 0, 0, WINDOW.pack(more))


def text(string: str) -> bytes:
    """A string literal as it is: a length with a prefix of seven bits, then the bytes."""
    raw = string.encode()
    return _number(len(raw), 0x7F) + raw


def request_block(path: str, authority: str, authorization: str) -> bytes:
    """The header block of a call."""
    block = bytes((_METHOD_POST, _SCHEME_HTTP)) + b"\x04" + text(path) + b"\x01" + text(authority)
    block += b"\x0f\x10" + text("application/grpc") + b"\x00" + text("te") + text("trailers")
    return block + (b"\x1f\x08" + text(authorization) if authorization else b"")


def response_blocks(status: int, reason: str = "") -> tuple[bytes, bytes]:
    """(headers, trailers) of a reply with that gRPC status."""
    trailers = b"\x00" + text("grpc-status") + text(str(status))
    if reason:
        trailers += b"\x00" + text("grpc-message") + text(_plain(reason[:_REASON_MAX]))
    return b"\x88\x0f\x10" + text("application/grpc"), trailers


def _plain(reason: str) -> str:
    """As gRPC writes what is not printable, and what says so."""
    return "".join(
        chr(byte) if 32 <= byte < 127 and byte != 0x25 else f"%{byte:02X}"
        for byte in reason.encode()
    )


def read_block(block: bytes) -> dict[str, str]:
    """The fields that tell of a call, by name: `:path`, `authorization` and whatever is spelled
    out.

    Raises:
        ProtocolError: a field that is compressed, stands in a dynamic table, or comes twice.
    """
    fields: dict[str, str] = {}
    try:
        for name, value in _fields(block):
            if name in fields:
                raise ProtocolError("a field that comes twice")
            fields[name] = value
    except (IndexError, UnicodeDecodeError):
        raise ProtocolError("a header block that ends too early, or is no text") from None
    return fields


def _fields(block: bytes) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(block):
        first = block[at]
        if first in (_METHOD_POST, _SCHEME_HTTP):
            at += 1
            continue
        if first & 0xF0 not in _KINDS:
            raise ProtocolError(f"a field that begins with {first}")
        number, at = _read_number(block, at, 0x0F)
        if number:
            name = _STATIC.get(number, "")
        else:
            name, at = _read_text(block, at)
        value, at = _read_text(block, at)
        yield name, value


def _number(value: int, mask: int) -> bytes:
    if value < mask:
        return bytes((value,))
    rest, more = value - mask, bytearray((mask,))
    while rest >= 128:
        more.append(rest & 127 | 128)
        rest >>= 7
    return bytes((*more, rest))


def _read_number(block: bytes, at: int, mask: int) -> tuple[int, int]:
    value, at = block[at] & mask, at + 1
    if value < mask:
        return value, at
    shift = 0
    while True:
        byte, at = block[at], at + 1
        value += (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at
        if shift > 28:
            raise ProtocolError("a number without an end")


def _read_text(block: bytes, at: int) -> tuple[str, int]:
    if block[at] & 0x80:
        raise ProtocolError("a string in a code")
    size, at = _read_number(block, at, 0x7F)
    if at + size > len(block):
        raise ProtocolError("a string that is not all there")
    return block[at : at + size].decode(), at + size
