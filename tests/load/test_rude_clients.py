"""Idle by the thousand, silent in the middle of a message, gone, greedy, lying: others are served,
nothing is kept.
"""

from __future__ import annotations

import os
import resource
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest

from milvine.client.milvus import Milvus
from milvine.testing.load.serving import MIB, ServerProcess
from milvine.wire import packed
from milvine.wire.schema import method_path
from tests.load.conftest import BUDGET_BYTES, anonymous, until
from tests.load.http2 import (
    CANCEL,
    RESET,
    call_headers,
    connection,
    data,
    end_of_call,
    frame,
    message_head,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
IDLE = 2000


@contextmanager
def files_allowed(count: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] != resource.RLIM_INFINITY and before[1] < count:
        pytest.skip(f"this user may open {before[1]} files only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(count, before[0]), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def open_files(server: ServerProcess) -> int:
    return len(os.listdir(f"/proc/{server.pid}/fd"))


def insert_of(rows: int, dimension: int = 64) -> bytes:
    return packed.encode_insert("c", np.ones((rows, dimension), np.float32), None, "", "{}")


def in_flight(server: ServerProcess) -> bool:
    """Whether some bytes are still counted: a request of the whole budget tells."""
    channel = grpc.insecure_channel(
        f"127.0.0.1:{server.port}", options=[("grpc.max_send_message_length", -1)]
    )
    with channel:
        request = b"\x0a" + bytes(BUDGET_BYTES - 1)  # no such message: refused after it was counted
        try:
            reply = channel.unary_unary(method_path("Insert"))(request, timeout=60)
        except grpc.RpcError:
            return False
        return b"bytes in flight" in reply


def test_thousands_of_idle_connections(server: ServerProcess, milvus: Milvus) -> None:
    """A call each, then silence."""
    with files_allowed(IDLE + 500), ExitStack() as stack:
        files, memory = open_files(server), anonymous(server)
        idle = [stack.enter_context(connection(server.port)) for _ in range(IDLE)]
        for each in idle[::10]:
            each.sendall(call_headers("Cmd") + data(message_head(9) + b"\x0a\x07version", end=True))
            assert b"1.1.1" in end_of_call(each)
        until(lambda: open_files(server) >= files + IDLE)
        assert milvus.server_version()[1] == "1.1.1"
        each = (anonymous(server) - memory) // IDLE
        assert each < 64 << 10, f"{each} bytes for each connection"
    until(lambda: open_files(server) < files + 50)
    assert milvus.server_version()[1] == "1.1.1"


def test_half_a_message_stores_nothing_and_is_forgotten(
    server: ServerProcess, milvus: Milvus
) -> None:
    milvus.create_collection({"collection_name": "c", "dimension": 64})
    request = insert_of(40_000)
    memory = anonymous(server)
    for _ in range(50):
        with connection(server.port) as gone:
            gone.sendall(
                call_headers("Insert") + data(message_head(len(request)) + request[:60_000])
            )
    assert milvus.count_entities("c")[1] == 0
    assert not in_flight(server)
    until(lambda: anonymous(server) < memory + 64 * MIB)


def test_cancelled_in_mid_call_leaves_the_connection_in_order(
    server: ServerProcess, milvus: Milvus
) -> None:
    milvus.create_collection({"collection_name": "c", "dimension": 64})
    with connection(server.port) as made:
        for stream in range(1, 41, 2):
            made.sendall(
                call_headers("Insert", stream) + data(message_head(5000) + bytes(100), stream)
            )
            made.sendall(frame(RESET, 0, stream, CANCEL))
    assert milvus.count_entities("c")[1] == 0
    assert not in_flight(server)


@pytest.mark.parametrize("length", [300 * MIB, (1 << 31) + 5, (1 << 32) - 1])
def test_a_lying_length_costs_nothing(server: ServerProcess, milvus: Milvus, length: int) -> None:
    before = anonymous(server)
    with connection(server.port) as liar:
        liar.sendall(call_headers("Insert") + data(message_head(length) + bytes(10_000)))
        time.sleep(0.2)
        assert milvus.server_version()[1] == "1.1.1"
        assert anonymous(server) < before + 32 * MIB
    assert not in_flight(server)


def test_more_than_the_budget_is_refused_and_given_back(
    server: ServerProcess, milvus: Milvus
) -> None:
    milvus.create_collection({"collection_name": "c", "dimension": 64})
    before = anonymous(server)
    status, _ = milvus.insert("c", np.ones((BUDGET_BYTES // 256 + 1, 64), np.float32), timeout=60)
    assert not status.OK()
    until(lambda: anonymous(server) < before + 2 * BUDGET_BYTES)
    assert milvus.insert("c", np.ones((1000, 64), np.float32), timeout=60)[0].OK()
    assert milvus.count_entities("c")[1] == 1000


def test_a_bomb_is_not_unpacked(server: ServerProcess, milvus: Milvus) -> None:
    if not grpcs_own(server):
        pytest.skip("the native front unpacks whatever it is sent; docs/operations/load.md says so")
    before = anonymous(server)
    options = [("grpc.max_send_message_length", -1)]
    with (
        grpc.insecure_channel(f"127.0.0.1:{server.port}", options=options) as channel,
        pytest.raises(grpc.RpcError, match="larger than max"),
    ):
        bomb = bytes(8 * BUDGET_BYTES)
        channel.unary_unary(method_path("Insert"))(
            bomb, compression=grpc.Compression.Gzip, timeout=60
        )
    assert anonymous(server) < before + 2 * BUDGET_BYTES
    assert milvus.server_version()[1] == "1.1.1"


def grpcs_own(server: ServerProcess) -> bool:
    """Whether the door is grpcio's: the native front has a thread of its own name."""
    names = [path.read_text() for path in Path(f"/proc/{server.pid}/task").glob("*/comm")]
    return not any("grpc-native" in name for name in names)


def test_who_does_not_read_holds_up_nobody(server: ServerProcess, milvus: Milvus) -> None:
    """Searches of 24 MB of answer each, of which the client reads nothing."""
    milvus.create_collection({"collection_name": "c", "dimension": 4})
    milvus.insert("c", np.random.default_rng(1).random((2000, 4), dtype=np.float32))
    request = packed.encode_search("c", np.zeros((1000, 4), np.float32), 2000, (), "{}")
    before = anonymous(server)
    with ExitStack() as stack:
        for _ in range(2):
            deaf = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))
            deaf.sendall(
                call_headers("Search") + data(message_head(len(request)) + request, end=True)
            )
        for _ in range(20):
            status, hits = milvus.search("c", 3, [[0.0] * 4], timeout=60)
            assert status.OK() and len(hits[0]) == 3
    until(lambda: anonymous(server) < before + 96 * MIB)
    assert not in_flight(server)


def test_slow_bodies_hold_up_nobody(server: ServerProcess, milvus: Milvus) -> None:
    head = b"POST /collections HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
    with ExitStack() as stack:
        for _ in range(200):
            slow = stack.enter_context(socket.create_connection(("127.0.0.1", server.http_port)))
            slow.sendall(head + b"\r\n{" if _ % 2 else head)
        with socket.create_connection(("127.0.0.1", server.http_port), timeout=60) as prompt:
            prompt.sendall(b"GET /state HTTP/1.1\r\nHost: x\r\n\r\n")
            assert prompt.recv(100).startswith(b"HTTP/1.1 200")
    until(lambda: not in_flight(server))


def test_a_server_may_open_as_many_files_as_its_user(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, soft), hard))
    try:
        server = ServerProcess(tmp_path / "data", {}, tmp_path / "server.err", sample=False)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert resource.prlimit(server.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    assert server.stop() == ""
