"""grpcio's door where memory is short: few inserts are read at a time, and nothing else waits for
them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from milvine.server.doors import grpc_door
from milvine.server.doors.grpc_door import GrpcDoor
from milvine.server.operations import MalformedRequest
from milvine.server.security.doors import DoorSecurity
from milvine.wire.schema import method_path

TIMEOUT = 30


class Counting:
    """A `call` that notes how many inserts are under way at most."""

    def __init__(self) -> None:
        self._lock, self.now, self.most = threading.Lock(), 0, 0

    def __call__(self, rpc: str, request: bytes) -> bytes:
        if rpc != "Insert":
            return b"other"
        if request == b"bad":
            raise MalformedRequest.undecodable("no insert")
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.05)
        with self._lock:
            self.now -= 1
        return b"done " + request[:4]


@pytest.fixture
def counting() -> Counting:
    return Counting()


@pytest.fixture
def channel(counting: Counting) -> Iterator[grpc.Channel]:
    door = GrpcDoor(
        counting, ("Insert", "Cmd"), "127.0.0.1", 0, security=DoorSecurity(inserts_max=3)
    )
    door.start()
    with grpc.insecure_channel(f"127.0.0.1:{door.port}") as channel:
        yield channel
    door.stop(1)


def test_inserts_take_turns(counting: Counting, channel: grpc.Channel) -> None:
    insert: Any = channel.unary_unary(method_path("Insert"))
    other: Any = channel.unary_unary(method_path("Cmd"))
    with ThreadPoolExecutor(12) as threads:
        answers = [threads.submit(insert, b"%04d" % n + bytes(1 << 20), TIMEOUT) for n in range(12)]
        assert other(b"", TIMEOUT) == b"other"
        assert [each.result() for each in answers] == [b"done %04d" % n for n in range(12)]
    assert counting.most == 3


def test_a_refused_insert_gives_its_turn_back(channel: grpc.Channel) -> None:
    insert: Any = channel.unary_unary(method_path("Insert"))
    for _ in range(5):
        with pytest.raises(grpc.RpcError, match="no insert"):
            insert(b"bad", TIMEOUT)
    assert insert(b"good", TIMEOUT) == b"done good"


def test_a_call_without_a_message_is_refused(channel: grpc.Channel) -> None:
    nothing: Any = channel.stream_unary(method_path("Insert"))
    with pytest.raises(grpc.RpcError, match="no message"):
        nothing(iter(()), TIMEOUT)


def test_who_does_not_send_loses_the_turn(
    channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpc_door, "SENDING_SECONDS", 0.3)
    never = threading.Event()

    def silent() -> Iterator[bytes]:
        never.wait(TIMEOUT)
        yield from ()

    calls = [
        channel.stream_unary(method_path("Insert")).future(silent(), TIMEOUT) for _ in range(6)
    ]
    try:
        insert: Any = channel.unary_unary(method_path("Insert"))
        assert insert(b"good", TIMEOUT) == b"done good"
        for call in calls:
            assert call.code() is grpc.StatusCode.CANCELLED
    finally:
        never.set()
