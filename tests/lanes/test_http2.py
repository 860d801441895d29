"""Frames and header blocks of lanes, against hpack's own rules and whatever is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milvine.lanes import http2
from milvine.lanes.http2 import ProtocolError, frame, read_block, request_block, response_blocks


def test_a_frame_as_the_rfc_draws_it() -> None:
    assert (
        frame(http2.DATA, http2.END_STREAM, 0x01020304, b"abc")
        == bytes.fromhex("000003 00 01 01020304") + b"abc"
    )
    assert frame(http2.PING, 0, 0, bytes(70_000))[:9] == bytes.fromhex("011170 06 00 00000000")
    assert http2.settings({http2.INITIAL_WINDOW: 1, http2.INSTANCE: 2})[9:] == bytes.fromhex(
        "000400000001 4d5600000002"
    )
    assert http2.window_update(258) == bytes.fromhex("000004 08 00 00000000 00000102")


@given(st.text(max_size=300), st.text(max_size=300), st.text(min_size=1, max_size=300))
def test_what_a_client_says_is_understood(path: str, authority: str, authorization: str) -> None:
    fields = read_block(request_block(path, authority, authorization))
    assert fields == {
        ":path": path,
        ":authority": authority,
        "authorization": authorization,
        "content-type": "application/grpc",
        "te": "trailers",
    }
    assert "authorization" not in read_block(request_block(path, authority, ""))


@pytest.mark.parametrize("size", [0, 126, 127, 128, 254, 255, 16_510])
def test_lengths_of_one_byte_and_of_more(size: int) -> None:
    assert read_block(b"\x04" + http2.text("x" * size)) == {":path": "x" * size}


@given(st.integers(0, 16), st.text(max_size=3000))
def test_a_status_is_text_that_any_client_can_read(status: int, reason: str) -> None:
    headers, trailers = response_blocks(status, reason)
    told = read_block(trailers)
    assert headers.startswith(b"\x88") and told["grpc-status"] == str(status)
    assert all(" " <= letter <= "~" for letter in told.get("grpc-message", ""))
    assert len(trailers) < http2.FRAME_DEFAULT
    assert ("grpc-message" in told) == bool(reason)


def test_a_reason_is_encoded_as_grpc_does() -> None:
    assert (
        read_block(response_blocks(2, "100% \n é <a>")[1])["grpc-message"]
        == "100%25 %0A %C3%A9 <a>"
    )


@pytest.mark.parametrize(
    "block",
    [
        b"\x82",  # GET
        b"\x87",  # https
        b"\xbe",  # of a dynamic table
        b"\x44\x01/",  # to be put into one
        b"\x3f\xe1\x1f",  # the size of one
        b"\x04",  # nothing behind the name
        b"\x04\x05/",  # less than it says
        b"\x04\x81\x63",  # in Huffman's code
        b"\x00\x81\x63\x01x",  # a name in it
        b"\x04\x01\xff",  # no UTF-8
        b"\x0f",  # half a number
        b"\x04\x7f\xff\xff\xff\xff\xff\xff\x01",  # a number without an end
        b"\x04\x01/\x04\x01/",  # twice
        b"\x1f\x08\x01a\x00\x0dauthorization\x01b",  # twice, spelled out
    ],
)
def test_what_no_lane_says(block: bytes) -> None:
    with pytest.raises(ProtocolError):
        read_block(block)


@given(st.binary(max_size=200))
def test_anything_is_understood_or_foreign(block: bytes) -> None:
    try:
        fields = read_block(block)
    except ProtocolError:
        return
    assert sum(len(value) for value in fields.values()) <= len(block)
