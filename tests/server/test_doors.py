"""One contract, both doors: what reaches the operations, what comes back, and how the end comes."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from milvine.config import Settings
from milvine.server.app import open_door
from milvine.server.doors.door import WAITING_CALLS_MAX, Door, DoorFailed
from milvine.server.doors.grpc_door import GrpcDoor
from milvine.server.memory import can_promise
from milvine.server.operations import MalformedRequest, Operations, UnknownMethod
from milvine.wire.schema import HYBRID_RPCS, method_path

RPCS = ("Search", "Insert", "CreateIndex", "Cmd", "Flush")
UNLIMITED = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
TIMEOUT = 30


def native(*arguments: Any) -> Door:
    module = pytest.importorskip("milvine.server.doors.native_door", exc_type=ImportError)
    door: Door = module.NativeDoor(*arguments)
    return door


class Script:
    """A `call` whose rpcs the test replaces; it echoes otherwise."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[bytes], bytes]] = {}

    def __call__(self, rpc: str, request: bytes) -> bytes:
        assert type(request) is bytes
        return self.answers.get(rpc, lambda request: rpc.encode() + b":" + request)(request)


@pytest.fixture(params=[GrpcDoor, native], ids=["grpc", "native"])
def make(request: pytest.FixtureRequest) -> Callable[..., Door]:
    maker: Callable[..., Door] = request.param
    return maker


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def door(make: Callable[..., Door], script: Script) -> Iterator[Door]:
    door = make(script, RPCS, "127.0.0.1", 0)
    door.start()
    yield door
    door.stop(1)


@pytest.fixture
def channel(door: Door) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{door.port}", options=UNLIMITED) as channel:
        yield channel


def stub(channel: grpc.Channel, rpc: str) -> Any:
    return channel.unary_unary(method_path(rpc))


def test_bytes_in_bytes_out(channel: grpc.Channel) -> None:
    for rpc in RPCS:
        for request in (b"", b"x", bytes(range(256)) * 1000):
            assert stub(channel, rpc)(request, timeout=TIMEOUT) == rpc.encode() + b":" + request


def test_messages_of_256_mib_both_ways(channel: grpc.Channel, script: Script) -> None:
    script.answers["Insert"] = lambda request: len(request).to_bytes(8, "big")
    script.answers["Search"] = lambda request: bytes(256 << 20)
    assert (
        int.from_bytes(stub(channel, "Insert")(bytes((256 << 20) + 1), timeout=TIMEOUT), "big")
        == (256 << 20) + 1
    )
    assert len(stub(channel, "Search")(b"", timeout=TIMEOUT)) == 256 << 20


def test_gzip_requests(channel: grpc.Channel) -> None:
    answer = stub(channel, "Insert")(
        b"a" * 100_000, compression=grpc.Compression.Gzip, timeout=TIMEOUT
    )
    assert answer == b"Insert:" + b"a" * 100_000


@pytest.mark.parametrize("rpc", ["CreateHybridCollection", "Nonsense"])
def test_unknown_paths_are_unimplemented(channel: grpc.Channel, rpc: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub(channel, rpc)(b"", timeout=TIMEOUT)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["grpc", "native"])
def test_hybrid_calls_are_unimplemented_without_a_word(kind: str) -> None:
    if kind == "native":
        pytest.importorskip("pygrpc_native")
    door = open_door(Operations(None), Settings(door=kind, port=0))  # type: ignore[arg-type]
    door.start()
    with grpc.insecure_channel(f"127.0.0.1:{door.port}") as channel:
        for rpc in HYBRID_RPCS:
            with pytest.raises(grpc.RpcError) as caught:
                stub(channel, rpc)(b"anything", timeout=TIMEOUT)
            status: Any = caught.value
            assert (status.code(), status.details()) == (grpc.StatusCode.UNIMPLEMENTED, "")
    door.stop(1)


def refuse(error: Exception) -> Callable[[bytes], bytes]:
    def answer(request: bytes) -> bytes:
        raise error

    return answer


@pytest.mark.parametrize(
    ("error", "code", "details"),
    [
        (UnknownMethod("Cmd"), grpc.StatusCode.UNIMPLEMENTED, ""),
        (MalformedRequest.bad_json(), grpc.StatusCode.UNKNOWN, "Unexpected error in RPC handling"),
        (
            MalformedRequest.undecodable("x"),
            grpc.StatusCode.INTERNAL,
            "Exception deserializing request: x",
        ),
    ],
)
def test_refusals_are_grpc_statuses(
    channel: grpc.Channel, script: Script, error: Exception, code: grpc.StatusCode, details: str
) -> None:
    script.answers["Cmd"] = script.answers["Insert"] = refuse(error)
    for rpc in ("Cmd", "Insert"):
        with pytest.raises(grpc.RpcError) as caught:
            stub(channel, rpc)(b"", timeout=TIMEOUT)
        status: Any = caught.value
        assert (status.code(), status.details()) == (code, details)
    assert stub(channel, "Search")(b"", timeout=TIMEOUT) == b"Search:"


def request_ids(call: Any) -> list[str]:
    return [value for key, value in call.initial_metadata() if key == "request_id"]


def test_calls_are_numbered_unless_the_client_does(channel: grpc.Channel) -> None:
    for number in ("0", "1", "2"):
        _, call = stub(channel, "Cmd").with_call(b"", timeout=TIMEOUT)
        assert request_ids(call) == [number]
    _, call = stub(channel, "Cmd").with_call(b"", metadata=(("request_id", "77"),), timeout=TIMEOUT)
    assert request_ids(call) == []


def test_waiting_calls_do_not_hold_up_short_ones(channel: grpc.Channel, script: Script) -> None:
    release = threading.Event()
    script.answers["CreateIndex"] = lambda request: b"built" if release.wait(TIMEOUT) else b"late"
    waiting = [stub(channel, "CreateIndex").future(b"", timeout=TIMEOUT) for _ in range(20)]
    began = time.monotonic()
    for _ in range(20):
        stub(channel, "Search")(b"", timeout=TIMEOUT)
    assert time.monotonic() - began < 5
    release.set()
    assert {each.result() for each in waiting} == {b"built"}


def test_many_calls_at_once(channel: grpc.Channel) -> None:
    with ThreadPoolExecutor(16) as pool:
        replies = pool.map(
            lambda n: stub(channel, "Search")(str(n).encode(), timeout=TIMEOUT), range(500)
        )
        assert list(replies) == [f"Search:{n}".encode() for n in range(500)]


@pytest.mark.parametrize("rpc", ["Search", "CreateIndex"])
def test_stopping_lets_calls_in_flight_finish(
    make: Callable[..., Door], script: Script, rpc: str
) -> None:
    begun, release = threading.Event(), threading.Event()

    def slow(request: bytes) -> bytes:
        begun.set()
        release.wait(TIMEOUT)
        return b"done"

    script.answers[rpc] = slow
    door = make(script, RPCS, "127.0.0.1", 0)
    door.start()
    with grpc.insecure_channel(f"127.0.0.1:{door.port}") as channel:
        call = stub(channel, rpc).future(b"", timeout=TIMEOUT)
        assert begun.wait(TIMEOUT)
        stopper = threading.Thread(target=door.stop, args=(None,))
        stopper.start()
        time.sleep(0.2)
        assert stopper.is_alive()
        with pytest.raises(grpc.RpcError):
            stub(channel, "Cmd")(b"", timeout=TIMEOUT)
        release.set()
        assert call.result() == b"done"
        stopper.join(TIMEOUT)
        assert not stopper.is_alive()


def test_stopping_waits_no_longer_than_its_grace(make: Callable[..., Door], script: Script) -> None:
    begun, release = threading.Event(), threading.Event()

    def stuck(request: bytes) -> bytes:
        begun.set()
        release.wait(TIMEOUT)
        return b""

    script.answers["Search"] = stuck
    door = make(script, RPCS, "127.0.0.1", 0)
    door.start()
    with grpc.insecure_channel(f"127.0.0.1:{door.port}") as channel:
        call = stub(channel, "Search").future(b"", timeout=TIMEOUT)
        assert begun.wait(TIMEOUT)
        began = time.monotonic()
        door.stop(0.3)
        assert time.monotonic() - began < 10
        assert call.exception() is not None
    release.set()


def test_a_taken_port_is_refused(make: Callable[..., Door], door: Door, script: Script) -> None:
    with pytest.raises(
        DoorFailed, match=rf"^Cannot listen on 127\.0\.0\.1:{door.port}: the address is in use"
    ):
        make(script, RPCS, "127.0.0.1", door.port)


def test_the_port_is_free_again_after_the_end(make: Callable[..., Door], script: Script) -> None:
    first = make(script, RPCS, "127.0.0.1", 0)
    first.start()
    first.stop(1)
    second = make(script, RPCS, "127.0.0.1", first.port)
    second.start()
    second.stop(1)


def test_ipv6(make: Callable[..., Door], script: Script) -> None:
    try:
        door = make(script, RPCS, "::1", 0)
    except DoorFailed:
        pytest.skip("no IPv6 here")
    door.start()
    with grpc.insecure_channel(f"[::1]:{door.port}") as channel:
        assert stub(channel, "Cmd")(b"", timeout=TIMEOUT) == b"Cmd:"
    door.stop(1)


@pytest.mark.parametrize("untrusted", ["can_promise", "is_loopback"])
def test_auto_takes_grpcio_where_strangers_or_a_lying_length_could_take_the_memory(
    untrusted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pygrpc_native")
    monkeypatch.setattr(f"milvine.server.app.{untrusted}", lambda value: False)
    for kind, name in (("auto", "grpc"), ("native", "native")):
        door = open_door(Operations(None), Settings(door=kind, port=0))  # type: ignore[arg-type]
        assert door.name == name
        door.start()
        door.stop(0)


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
def test_what_the_system_promises() -> None:
    assert not can_promise(1 << 60)
    assert can_promise(1 << 20) or Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "2"


def test_calls_given_up_while_they_wait_for_a_thread_do_not_begin(
    script: Script, channel: grpc.Channel
) -> None:
    free, begun = threading.Event(), list[bytes]()

    def wait(request: bytes) -> bytes:
        begun.append(request)
        free.wait(TIMEOUT)
        return request

    script.answers["CreateIndex"] = wait
    busy = [
        stub(channel, "CreateIndex").future(b"busy", timeout=TIMEOUT)
        for _ in range(WAITING_CALLS_MAX)
    ]
    end = time.monotonic() + TIMEOUT
    while len(begun) < WAITING_CALLS_MAX and time.monotonic() < end:
        time.sleep(0.01)
    late = stub(channel, "CreateIndex").future(b"late", timeout=TIMEOUT)
    time.sleep(0.2)
    late.cancel()
    time.sleep(0.2)
    free.set()
    assert [call.result(TIMEOUT) for call in busy] == [b"busy"] * WAITING_CALLS_MAX
    assert stub(channel, "CreateIndex")(b"next", timeout=TIMEOUT) == b"next"
    assert b"late" not in begun
