"""Lanes: short calls over a plain socket, and everything that makes them give up in favour of
grpcio.
"""

from __future__ import annotations

import gc
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest

from milvine.client.address import ServerAddress
from milvine.client.transports.remote import RemoteFailed, RemoteTransport
from milvine.config import Settings
from milvine.deadline import Deadline
from milvine.lanes import per_thread
from milvine.lanes.agreement import Endpoint
from milvine.lanes.client import Lane
from milvine.lanes.http2 import ProtocolError
from milvine.lanes.per_thread import Lanes
from milvine.server.app import Server
from milvine.wire import packed, schema
from milvus import Milvus

HEAD = struct.Struct(">BHBBI")
OK, FAILED = b"\x00\x0bgrpc-status\x010", b"\x00\x0bgrpc-status\x015"
Answer = Callable[[int, bytes], bytes | None]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return HEAD.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


def message(text: bytes) -> bytes:
    return struct.pack(">BI", 0, len(text)) + text


def success(stream: int, text: bytes = b"reply", trailers: bytes = OK) -> bytes:
    head = frame(1, 4, stream, b"\x88")
    return head + frame(0, 0, stream, message(text)) + frame(1, 5, stream, trailers)


def endpoint(port: int) -> Endpoint:
    return Endpoint("127.0.0.1", port, f"127.0.0.1:{port}")


class Scripted:
    """A server that answers each call with the bytes that `answer(stream, request)` makes.

    It hangs up after less than a frame, and instead of an answer that is None.
    """

    def __init__(self, answer: Answer, piece: int = 1 << 20) -> None:
        self._answer, self._piece = answer, piece
        # (kind, flags, payload) of frames about the connection.
        self.seen: list[tuple[int, int, bytes]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = endpoint(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(caller,), daemon=True).start()

    def _serve(self, caller: socket.socket) -> None:
        with caller, caller.makefile("rb") as stream:
            assert stream.read(24) == b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            caller.sendall(frame(4, 0, 0))
            while head := stream.read(9):
                high, low, kind, flags, number = HEAD.unpack(head)
                payload = stream.read(high << 16 | low)
                if kind != 0:
                    if number == 0:
                        self.seen.append((kind, flags, payload))
                    continue
                reply = self._answer(number, payload[5:])
                if reply is None:
                    return
                for at in range(0, len(reply), self._piece):
                    caller.sendall(reply[at : at + self._piece])
                if 0 < len(reply) < HEAD.size:
                    return

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def scripted() -> Iterator[Callable[..., Scripted]]:
    made: list[Scripted] = []

    def make(answer: Answer, piece: int = 1 << 20) -> Scripted:
        made.append(Scripted(answer, piece))
        return made[-1]

    yield make
    for each in made:
        each.close()


def call(server: Scripted, text: bytes = b"request", timeout: float | None = 20) -> bytes:
    lane = Lane(server.endpoint)
    try:
        return lane.call("Search", text, Deadline(timeout))
    finally:
        lane.close()


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_frames_of_every_kind_in_pieces_of_any_size(scripted: Any, piece: int) -> None:
    def answer(stream: int, request: bytes) -> bytes:
        around = (
            frame(6, 0, 0, b"8 bytes!")
            + frame(4, 0, 0, struct.pack(">HI", 4, 1 << 20))
            + frame(4, 1, 0)
        )
        around += frame(8, 0, 0, struct.pack(">I", 100)) + frame(
            8, 0, stream, struct.pack(">I", 100)
        )
        body = message(b"<" + request + b">")
        data = b"".join(
            around + frame(0, 0, stream, body[at : at + 5]) for at in range(0, len(body), 5)
        )
        return around + frame(1, 4, stream, b"\x88") + data + frame(1, 5, stream, OK)

    server = scripted(answer, piece)
    lane = Lane(server.endpoint)
    assert [lane.call("Search", text, Deadline(20)) for text in (b"one", b"", b"three" * 300)] == [
        b"<one>", b"<>", b"<" + b"three" * 300 + b">",
    ]  # fmt: skip
    lane.close()
    # Both were acknowledged.
    assert (6, 1, b"8 bytes!") in server.seen and (4, 1, b"") in server.seen


@pytest.mark.parametrize(
    "reply",
    [
        lambda stream: frame(1, 5, stream, FAILED),
        lambda stream: frame(0, 0, stream, b"")[:7],  # half a frame
        lambda stream: None,
    ],
)
def test_whatever_is_no_plain_success_is_for_grpcio(scripted: Any, reply: Any) -> None:
    server = scripted(lambda stream, request: reply(stream))
    with pytest.raises((ProtocolError, OSError)):
        call(server, timeout=5)


def test_a_lane_that_gives_up_is_not_tried_again_at_once_and_comes_back(
    scripted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def answer(stream: int, request: bytes) -> bytes | None:
        nonlocal calls
        calls += 1
        return None if calls == 2 else success(stream)

    clock = [100.0]
    monkeypatch.setattr(per_thread, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    own = Lanes(scripted(answer).endpoint)
    told = [own.call("Search", b"", Deadline(None)) for _ in range(4)]
    assert told == [b"reply", None, None, None] and calls == 2
    clock[0] += 1.5
    assert own.call("Search", b"", Deadline(None)) == b"reply"
    own.close()
    assert own.call("Search", b"", Deadline(None)) is None


def test_a_connection_that_is_to_end_is_replaced_without_a_loss(scripted: Any) -> None:
    server = scripted(
        lambda stream, request: frame(7, 0, 0, struct.pack(">II", stream, 0)) + success(stream)
    )
    own = Lanes(server.endpoint)
    assert [own.call("Search", b"", Deadline(20)) for _ in range(3)] == [b"reply"] * 3
    own.close()


def test_a_window_that_is_used_up_is_no_failure(scripted: Any) -> None:
    own = Lanes(scripted(lambda stream, request: success(stream)).endpoint)
    # Of 64 KB, of which the server gives none back.
    told = [own.call("Search", bytes(12_000), Deadline(20)) for _ in range(14)]
    assert told == ([b"reply"] * 5 + [None]) * 2 + [b"reply"] * 2
    own.close()


def test_a_reply_that_does_not_come_in_time(scripted: Any) -> None:
    own = Lanes(scripted(lambda stream, request: b"").endpoint)
    with pytest.raises(TimeoutError):
        own.call("Search", b"", Deadline(0.2))
    own.close()


@pytest.mark.parametrize("words", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_who_does_not_greet_as_http2_carries_no_call(
    words: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(per_thread, "CONNECT_SECONDS", 0.2)
    # The first is never accepted: a server out of files.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        if words:
            threading.Thread(target=_say, args=(listener, words), daemon=True).start()
        own = Lanes(endpoint(listener.getsockname()[1]))
        assert own.call("Search", b"", Deadline(None)) is None
        own.close()


def _say(listener: socket.socket, words: bytes) -> None:
    caller, _ = listener.accept()
    with caller:
        caller.sendall(words)
        caller.recv(1 << 16)


def test_more_threads_than_lanes_and_lanes_of_ended_threads(scripted: Any) -> None:
    own = Lanes(scripted(lambda stream, request: success(stream)).endpoint)
    together = threading.Barrier(20)
    told: list[bytes | None] = []

    def one() -> None:
        told.append(own.call("Search", b"", Deadline(20)))
        together.wait(20)

    for _ in range(2):  # the first twenty threads are gone when the second come
        told.clear()
        threads = [threading.Thread(target=one) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert told.count(b"reply") == 16 and told.count(None) == 4
    own.close()


def by_grpc(server: Server, rpc: str, request: bytes) -> bytes:
    """The reply to a call that no lane carries."""
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        reply: bytes = channel.unary_unary(schema.method_path(rpc))(request, timeout=30)
        return reply


@pytest.fixture(scope="module", params=["grpc", "native"])
def server(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if request.param == "native":
        pytest.importorskip("pygrpc_native")
    settings = Settings(port=0, door=request.param, http_enable=False)
    running = Server.start(Path(tmp_path_factory.mktemp("lane")) / "db", settings)
    yield running
    running.stop(5)


@pytest.fixture
def transport(server: Server) -> Iterator[RemoteTransport]:
    opened = RemoteTransport(ServerAddress("127.0.0.1", server.port), 5, 3, True)
    opened.wait(Deadline(30))
    yield opened
    opened.close()


def test_real_servers_answer_on_a_lane_what_they_answer_to_grpcio(
    server: Server, transport: RemoteTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Milvus("127.0.0.1", server.port)
    client.create_collection({"collection_name": "lane", "dimension": 8})
    rows = np.random.default_rng(3).random((300, 8), np.float32)
    client.insert("lane", rows, list(range(300)))
    requests = [
        packed.encode_search(name, rows[:n], 300, (), "{}")
        for name in ("lane", "none")
        for n in (1, 30)
    ]
    own = Lanes(endpoint(server.port))
    for request in requests:
        assert own.call("Search", request, Deadline(30)) == by_grpc(server, "Search", request)
    unheard = own.call(
        "CountCollection", b"\xff\xff", Deadline(30)
    )  # no message at all: the status is grpcio's to tell
    assert unheard is None
    with pytest.raises(RemoteFailed) as failed:
        transport.call("CountCollection", b"\xff\xff", 30)
    assert failed.value.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
    own.close()
    client.drop_collection("lane")
    client.close()


def test_a_forked_child_leaves_its_parents_lane_alone(server: Server) -> None:
    request = bytes(schema.CollectionName(collection_name="nothing").SerializeToString())
    own = Lanes(endpoint(server.port))
    before = own.call("HasCollection", request, Deadline(20))
    child = os.fork()
    if not child:
        del own  # what a child does first: its copy of the lane goes
        gc.collect()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert before is not None
    assert own.call("HasCollection", request, Deadline(20)) == before
    assert own.port == server.port
    own.close()
