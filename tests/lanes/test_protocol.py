"""Both ends of a lane as protocols, without a socket: what they say to each other, and what ends
the conversation.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milvine.lanes import http2
from milvine.lanes.agreement import CALLS, REQUEST_BYTES_MAX, LaneAddress, address_of, answer_with
from milvine.lanes.client_protocol import GREETING, ClientProtocol
from milvine.lanes.http2 import PREFIX, ProtocolError, frame
from milvine.lanes.server_protocol import Refusal, Request, ServerProtocol, greeting
from tests.lanes.caller import PING, asking
from tests.lanes.foreign import FOREIGN

HEADERS, OK = http2.response_blocks(0)
FAILED = http2.response_blocks(5)[1]


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def heard(protocol: ServerProtocol, data: bytes, size: int = 1 << 20) -> Request | None:
    """The request in what arrives in pieces of that size."""
    found = [request for piece in pieces(data, size) if (request := protocol.receive(piece))]
    return found[0] if found else None


def told(protocol: ClientProtocol, data: bytes, size: int = 1 << 20) -> bytes | None:
    """The reply in what arrives in pieces of that size."""
    found = [
        reply for piece in pieces(data, size) if (reply := protocol.receive(piece)) is not None
    ]
    return found[0] if found else None


def client(instance: int | None = None) -> ClientProtocol:
    """One that has heard the first words of a server."""
    made = ClientProtocol("localhost:1", "", instance)
    assert made.receive(greeting(7)) is None and made.greeted
    return made


def server() -> ServerProtocol:
    """One that has heard the first words of a client."""
    made = ServerProtocol()
    assert made.receive(GREETING) is None and made.greeted
    return made


def success(stream: int, text: bytes = b"reply", trailers: bytes = OK) -> bytes:
    data = frame(http2.DATA, 0, stream, PREFIX.pack(0, len(text)) + text)
    return frame(1, 4, stream, HEADERS) + data + frame(1, 5, stream, trailers)


# both


@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(CALLS)), st.binary(max_size=300), st.binary(max_size=300)),
        min_size=1,
        max_size=6,
    ),
    st.integers(1, 400),
    st.text(max_size=30),
)
def test_what_one_end_says_the_other_hears(
    calls: list[tuple[str, bytes, bytes]], size: int, token: str
) -> None:
    here, there = ClientProtocol("localhost:1", token, 7), ServerProtocol()
    assert heard(there, GREETING, size) is None
    assert told(here, greeting(7), size) is None
    assert told(here, there.data_to_send(), size) is None
    for rpc, message, answer in calls:
        request = heard(there, here.request(rpc, message), size)
        assert request is not None and there.busy
        assert (request.rpc, request.authorization, request.message) == (rpc, token, message)
        assert told(here, there.reply(request, answer), size) == answer
        assert not there.busy and not here.worn
    assert heard(there, here.data_to_send(), size) is None


@pytest.mark.parametrize("size", [0, 16_379, 16_380, 100_000, 5_000_000])
@pytest.mark.parametrize("piece", [1 << 14, 1 << 30])
def test_replies_of_any_length(size: int, piece: int) -> None:
    here, there = client(), server()
    for _ in range(2):
        request = heard(there, here.request("Search", b""))
        assert request is not None
        assert told(here, there.reply(request, bytes(size)), piece) == bytes(size)


@pytest.mark.parametrize("longest", [100, 1 << 15])
def test_frames_are_as_long_as_a_client_takes(longest: int) -> None:
    there = ServerProtocol()
    there.receive(
        http2.PREFACE
        + http2.settings({http2.LONGEST_FRAME: longest, http2.INITIAL_WINDOW: 1 << 20})
        + http2.window_update(1 << 20)
    )
    request = heard(there, asking("Search", b""))
    assert request is not None
    found, _ = http2.frames(there.reply(request, bytes(100_000)), http2.FRAME_MAX)
    sizes = [len(payload) for kind, _, _, payload in found if kind == http2.DATA]
    assert max(sizes) == max(longest, http2.FRAME_DEFAULT)
    assert sum(sizes) == 100_000 + PREFIX.size


def test_a_refusal_is_for_grpc() -> None:
    here, there = client(), server()
    request = heard(there, here.request("Search", b""))
    assert request is not None
    said = there.refuse(request, Refusal(5, "not there"))
    assert not there.busy
    with pytest.raises(ProtocolError):
        here.receive(said)


def test_both_acknowledge_settings_and_pings() -> None:
    for protocol in (client(), server()):
        protocol.data_to_send()
        assert protocol.receive(PING + http2.settings({99: 7})) is None
        assert protocol.data_to_send() == frame(http2.PING, http2.ACK, 0, b"8 bytes!") + frame(
            http2.SETTINGS, http2.ACK, 0, b""
        )
        assert protocol.data_to_send() == b""


# the server's end


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
@pytest.mark.parametrize("words", FOREIGN.values(), ids=FOREIGN)
def test_whoever_is_no_lane_ends_the_connection(words: bytes, piece: int) -> None:
    with pytest.raises(ProtocolError):
        heard(ServerProtocol(), words, piece)


def test_a_reply_that_is_larger_than_the_window() -> None:
    there = ServerProtocol()
    request = heard(there, http2.PREFACE + http2.settings({}) + asking("Search", b""))
    assert request is not None
    with pytest.raises(ProtocolError):
        there.reply(request, bytes(100_000))
    assert not there.busy


def test_the_window_is_used_up_by_replies_and_opened_again() -> None:
    there = ServerProtocol()
    there.receive(http2.PREFACE + http2.settings({}))
    for stream in range(1, 9, 2):
        request = heard(there, http2.window_update(40_005) + asking("Search", b"", stream))
        assert request is not None and there.reply(request, bytes(40_000))
    request = heard(there, asking("Search", b"", 9))
    assert request is not None and there.reply(request, bytes(40_000))
    request = heard(there, asking("Search", b"", 11))
    assert request is not None
    with pytest.raises(ProtocolError):
        there.reply(request, bytes(40_000))


def test_a_call_is_of_a_kind_by_rpc_collection_and_size() -> None:
    def of(rpc: str, collection: bytes, more: int) -> object:
        message = b"\x0a" + bytes((len(collection),)) + collection + bytes(more)
        return Request(rpc, "", message).kind

    assert of("Search", b"one", 600) == of("Search", b"one", 700)
    assert len({of("Search", b"one", n) for n in (600, 6000)}) == 2
    assert of("Search", b"one", 600) != of("Search", b"two", 600) != of("SearchByID", b"two", 600)
    assert Request("Search", "", b"").kind == ("Search", b"", 0)


def test_no_connection_keeps_much() -> None:
    """Header blocks that are all different, each with a call, then a frame that is not whole."""
    there = server()
    for stream in range(1, 121, 2):
        request = heard(there, asking("Search", b"", stream, f"{stream:01500}"))
        assert request is not None
        there.reply(request, b"")
    assert there.buffered < 32 << 10
    fresh = server()
    fresh.receive(
        struct.pack(">BHBBI", 0, REQUEST_BYTES_MAX, 0, 1, 1) + bytes(REQUEST_BYTES_MAX - 1)
    )
    assert fresh.buffered == REQUEST_BYTES_MAX + 8


# the client's end

NO_SUCCESS = {
    "an error has no message": frame(1, 5, 1, FAILED),
    "the stream is reset": frame(3, 0, 1, struct.pack(">I", 2)),
    "no trailers": frame(1, 4, 1, b"") + frame(0, 1, 1, PREFIX.pack(0, 1) + b"x"),
    "headers in two frames": frame(1, 0, 1, b"\x88") + success(1),
    "padded": frame(1, 4, 1, b"") + frame(0, 8, 1, b"\x01" + PREFIX.pack(0, 1) + b"x"),
    "compressed": success(1).replace(PREFIX.pack(0, 5), PREFIX.pack(1, 5)),
    "of another length": success(1).replace(PREFIX.pack(0, 5), PREFIX.pack(0, 9)),
    "hardly any window": http2.settings({http2.INITIAL_WINDOW: 100}) + success(1),
    "half a setting": frame(4, 0, 0, b"settings") + success(1),
}


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
@pytest.mark.parametrize("reply", NO_SUCCESS.values(), ids=NO_SUCCESS)
def test_whatever_is_no_plain_success_is_for_grpc(reply: bytes, piece: int) -> None:
    here = client()
    here.request("Search", b"")
    with pytest.raises(ProtocolError):
        told(here, reply, piece)


def test_other_trailers_than_those_of_the_first_success_are_an_error() -> None:
    here = client()
    for stream in (1, 3):
        here.request("Search", b"")
        assert told(here, success(stream)) == b"reply"
    here.request("Search", b"")
    with pytest.raises(ProtocolError):
        told(here, success(5, trailers=FAILED))


def test_a_reply_comes_late_and_is_no_other_calls() -> None:
    here = client()
    here.request("Search", b"")
    assert told(here, success(1)) == b"reply"
    assert told(here, success(1, b"again")) is None  # nobody asked
    here.request("Search", b"")
    assert told(here, success(1, b"again")) is None
    assert told(here, success(3, b"right")) == b"right"


def test_who_is_told_of_one_run_of_a_server_talks_to_no_other() -> None:
    assert client(7).greeted
    for words in (greeting(8), http2.settings({}), PING):
        with pytest.raises(ProtocolError):
            ClientProtocol("localhost:1", "", 7).receive(words)


def test_a_window_that_is_used_up_wears_the_connection_out() -> None:
    here = ClientProtocol("localhost:1", "")
    here.receive(http2.settings({}))  # 64 KB, of which the server gives none back
    for stream in range(1, 11, 2):
        here.request("Search", bytes(12_000))
        assert told(here, success(stream)) == b"reply" and not here.worn
    with pytest.raises(ProtocolError):
        here.request("Search", bytes(12_000))
    assert here.worn


def test_a_server_that_says_goodbye_still_answers() -> None:
    here = client()
    here.request("Search", b"")
    goodbye = frame(http2.GOAWAY, 0, 0, struct.pack(">II", 1, 0))
    assert told(here, goodbye + success(1)) == b"reply"
    assert here.worn


# the address


def test_what_is_told_of_a_port() -> None:
    assert address_of(answer_with(LaneAddress(4711, 17))) == (4711, 17)
    for other in (
        "",
        "Unknown command",
        "lane",
        "lane 1",
        "lane 70000 1",
        "lane 1 4294967296",
        "lane 1 2 3",
        " lane 1 2",
    ):
        assert address_of(other) is None
