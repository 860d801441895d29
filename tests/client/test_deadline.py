"""A call's timeout is one for all that it tries, at whatever place a server hangs (no clock is
measured here).
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from milvine import deadline as deadlines
from milvine.client.address import HttpAddress, ServerAddress
from milvine.client.aio import AsyncMilvus
from milvine.client.transports import base, remote
from milvine.client.transports.base import TransportFailed, attempts
from milvine.client.transports.http import HttpTransport
from milvine.client.transports.remote import RemoteTransport
from milvine.deadline import Deadline
from milvine.lanes import client as lane
from milvine.lanes.agreement import Endpoint
from milvine.lanes.per_thread import Lanes
from milvus import Milvus, NotConnectError
from tests.client.fakes import FakeTransport, reply_of

WATCHDOG = 60.0


class Clock:
    """Time that passes where somebody waits, and nowhere else."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in (deadlines, base):
        monkeypatch.setattr(module, "time", made)
    return made


@pytest.fixture
def silent() -> Iterator[int]:
    """A port where connections are taken, and nobody ever says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_deadline(clock: Clock) -> None:
    some, never = Deadline(8.0), Deadline(None)
    assert (some.left(), some.within(3.0), some.within(3.0, 4), some.over()) == (
        8.0,
        3.0,
        2.0,
        False,
    )
    clock.sleep(9.0)
    assert (some.left(), some.within(3.0), some.over()) == (0.0, 0.0, True)
    assert (never.left(), never.within(3.0, 4), never.over()) == (None, 3.0, False)


@pytest.mark.parametrize("timeout", [0.5, 30.0])
@pytest.mark.parametrize("refuses", [False, True])
def test_all_places_of_a_grpc_call_together(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, timeout: float, refuses: bool
) -> None:
    """Every place takes all the time that it is given, or refuses at once."""
    began = clock.now

    def hangs(request: bytes, timeout: float, metadata: Any) -> bytes:
        if not refuses:
            clock.sleep(timeout)
        unsent = "failed to connect to all addresses" if refuses else "Deadline Exceeded"
        raise Failed(
            grpc.StatusCode.UNAVAILABLE if refuses else grpc.StatusCode.DEADLINE_EXCEEDED, unsent
        )

    def unreachable(address: Any, seconds: float) -> None:
        clock.sleep(seconds)
        raise TimeoutError

    monkeypatch.setattr(lane.socket, "create_connection", unreachable)
    with over_a_channel(hangs, 10.0, 3) as transport:
        with pytest.raises((TransportFailed, ValueError)):
            transport.call("HasCollection", b"", timeout)
        assert 0 < clock.now - began <= timeout + 1e-6


@contextmanager
def over_a_channel(
    call: Callable[..., bytes], wait_timeout: float, max_retry: int
) -> Iterator[RemoteTransport]:
    """A transport whose grpc answers every rpc with `call`."""
    channel = SimpleNamespace(unary_unary=lambda path: call, close=lambda: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grpc, "insecure_channel", lambda *args, **named: channel)
        transport = RemoteTransport(ServerAddress("127.0.0.1", 1), wait_timeout, max_retry, True)
    yield transport
    transport.close()


class Failed(grpc.RpcError):  # type: ignore[misc]  # grpc ships no types
    def __init__(self, code: Any, details: str) -> None:
        self.code, self.details = lambda: code, lambda: details


@pytest.mark.parametrize("timeout", [0.5, 30.0])
def test_all_requests_of_an_http_call_together(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, timeout: float
) -> None:
    transport = HttpTransport(HttpAddress("127.0.0.1", 1), 10.0, 3, True)
    began = clock.now

    def unreachable(address: Any, seconds: float, source: Any = None) -> None:
        clock.sleep(min(seconds, 0.3))
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", unreachable)
    with pytest.raises((TransportFailed, ValueError)):
        transport.call("HasCollection", b"", timeout)
    assert 0 < clock.now - began <= timeout + 1e-6


def test_a_server_that_sends_one_byte_after_the_other(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket's own timeout would begin anew with each."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport = HttpTransport(HttpAddress("127.0.0.1", 1), 10.0, 1, False)
        theirs.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1")

        def trickle() -> None:
            clock.sleep(1.0)
            theirs.sendall(b"1")

        read = ours.settimeout
        sock = SimpleNamespace(  # each wait for more is a second, and brings a byte
            makefile=ours.makefile,
            sendall=lambda data: None,
            settimeout=lambda seconds: (trickle(), read(seconds)),
            setsockopt=lambda *option: None,
            close=lambda: None,
        )
        monkeypatch.setattr(socket, "create_connection", lambda *args: sock)
        began = clock.now
        with pytest.raises(TransportFailed) as failed:
            transport.call("HasCollection", b"", 3.5)
        assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert clock.now - began <= 5.0


def test_no_attempt_after_the_deadline(clock: Clock) -> None:
    made = [clock.now - 100.0 for _ in attempts(50, 1000.0, Deadline(2.0))]
    assert made[0] == 0.0 and made[-1] < 2.0 and clock.now <= 102.0


def test_a_hurried_call_does_not_condemn_the_lanes(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def unreachable(address: Any, seconds: float) -> None:
        clock.sleep(seconds)
        raise TimeoutError

    monkeypatch.setattr(lane.socket, "create_connection", unreachable)
    own = Lanes(
        Endpoint("127.0.0.1", 1, "localhost:1"), lambda seconds: asked.append(seconds) or ""
    )
    assert (
        own.call("Search", b"", Deadline(0.4)) is None
        and own.call("Search", b"", Deadline(0.4)) is None
    )
    assert asked == pytest.approx([0.1, 0.1])  # the second did not find the lanes given up


def test_those_that_connect_do_not_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2)

    def together(address: Any, seconds: float) -> None:
        both.wait(WATCHDOG)
        raise ConnectionRefusedError

    monkeypatch.setattr(lane.socket, "create_connection", together)
    own = Lanes(Endpoint("127.0.0.1", 1, "localhost:1"))
    threads = [
        threading.Thread(target=own.call, args=("Search", b"", Deadline(None))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WATCHDOG)
    assert not any(thread.is_alive() for thread in threads) and not both.broken


@pytest.mark.parametrize("handler", ["GRPC", "HTTP"])
@pytest.mark.parametrize(
    ("attempts", "timeout", "waited"), [(1, None, 0.3), (4, None, 1.2), (4, 0.5, 0.5)]
)
def test_how_long_connecting_to_a_silent_server_takes(
    silent: int, handler: str, attempts: int, timeout: float | None, waited: float
) -> None:
    """All attempts, and what is left of a call that connects."""

    async def calls() -> None:
        await AsyncMilvus(**address).list_collections(timeout=timeout)

    address: dict[str, Any] = {"host": "127.0.0.1", "port": silent, "handler": handler}
    address |= {"wait_timeout": 0.3, "max_retry": attempts}
    began = time.monotonic()
    with pytest.raises(NotConnectError):
        asyncio.run(calls()) if timeout else Milvus(**address)
    # What it takes beyond that is the machine's; half a minute is what it took by default.
    assert waited - 0.05 <= time.monotonic() - began < 10


def test_a_call_that_meets_a_silent_server_has_one_deadline(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often grpc gives the connection up meanwhile."""
    monkeypatch.setattr(remote, "time", clock)
    silence = "failed to connect to all addresses; last error: connection attempt timed out"

    def gives_up(request: bytes, timeout: float, metadata: Any) -> bytes:
        clock.sleep(min(timeout, 0.1))
        raise Failed(grpc.StatusCode.UNAVAILABLE, silence)

    with over_a_channel(gives_up, 1.0, 5) as transport:
        for timeout, waited in ((0.5, 0.5), (3.0, 3.0), (60.0, 6.6)):  # 5 attempts, and the pauses
            began = clock.now
            with pytest.raises(NotConnectError):
                transport.call("HasCollection", b"", timeout)
            assert clock.now - began == pytest.approx(waited, abs=0.2)


def test_parts_of_an_insert_have_one_deadline(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = FakeTransport(Insert=reply_of("Insert"))
    call = transport.call

    def slow(method: str, request: bytes, timeout: float | None) -> bytes:
        clock.sleep(2.0)
        return call(method, request, timeout)

    monkeypatch.setattr(transport, "call", slow)
    monkeypatch.setattr("milvine.client.requests.INSERT_BYTES_MAX", 64)
    milvus = Milvus(transport=transport, try_connect=False)
    assert milvus.insert("a", [[1.0] * 16] * 3, split=True, timeout=5)[0].OK()
    assert [timeout for *_, timeout in transport.sent] == [5.0, 3.0, 1.0]


def test_an_asynchronous_call_counts_from_its_start(clock: Clock) -> None:
    gate, transport = (
        threading.Event(),
        FakeTransport(Compact=reply_of("Compact"), Flush=reply_of("Flush")),
    )
    call = transport.call

    def held(method: str, request: bytes, timeout: float | None) -> bytes:
        assert gate.wait(WATCHDOG)
        return call(method, request, timeout)

    transport.call = held  # type: ignore[method-assign]
    milvus = Milvus(transport=transport, try_connect=False)
    busy = [milvus.compact("a", _async=True) for _ in range(8)]
    last = milvus.flush(["a"], timeout=5, _async=True)
    clock.sleep(2.0)
    gate.set()
    assert all(each.result(WATCHDOG).OK() for each in busy) and last.result(WATCHDOG).OK()
    assert [timeout for method, _, timeout in transport.sent if method == "Flush"] == [3.0]


class SlowToConnect(FakeTransport):
    """The check of the server's version takes two seconds."""

    def __init__(self, clock: Clock, *rpcs: str) -> None:
        replies = {"Cmd": reply_of("Cmd", string_reply="1.1.1")}
        super().__init__(**replies, **{rpc: reply_of(rpc) for rpc in rpcs})
        self._clock = clock

    def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        if not self.sent:
            self._clock.sleep(2.0)
        return super().call(method, request, timeout)

    def timeouts(self, method: str) -> list[float | None]:
        return [timeout for sent, _, timeout in self.sent if sent == method]


def test_so_does_one_that_is_awaited(clock: Clock) -> None:
    transport = SlowToConnect(clock, "CountCollection", "DropIndex")

    async def scene() -> None:
        milvus = AsyncMilvus(transport=transport)
        await milvus.count_entities("a")
        await milvus.drop_index("a", 7)
        await milvus.close()

    asyncio.run(scene())
    assert transport.timeouts("CountCollection") == [28.0]
    assert transport.timeouts("DropIndex") == [7.0]


ROW = [[1.0]]


@pytest.mark.parametrize(
    ("rpc", "call"),
    [
        ("CountCollection", lambda m: m.count_entities("a", 3)),
        ("CountCollection", lambda m: m.count_entities("a", timeout="3")),
        ("Insert", lambda m: m.insert("a", ROW, [1], "t", None, 3)),
        ("Insert", lambda m: m.insert("a", ROW, ids=[1], timeout=3)),
        ("Search", lambda m: m.search("a", 1, ROW, None, None, 3)),
        ("Search", lambda m: m.search("a", 1, ROW, timeout="3", params={})),
        ("Flush", lambda m: m.flush(["a"], 3)),
        ("Flush", lambda m: m.flush(timeout=3)),
    ],
)
def test_where_a_method_has_its_timeout(
    clock: Clock, rpc: str, call: Callable[[AsyncMilvus], Any]
) -> None:
    """By whichever way it is given: what is left of it after two seconds is the call's."""
    transport = SlowToConnect(clock, rpc)

    async def scene() -> None:
        milvus = AsyncMilvus(transport=transport)
        await call(milvus)
        await milvus.close()

    asyncio.run(scene())
    assert transport.timeouts(rpc) == [1.0]


def test_a_method_without_a_timeout_has_none(clock: Clock) -> None:
    """That of the command which it sends begins when it is sent."""
    transport = SlowToConnect(clock)

    async def scene() -> None:
        milvus = AsyncMilvus(transport=transport)
        await milvus.get_config("a", "b")
        await milvus.close()

    asyncio.run(scene())
    assert transport.timeouts("Cmd")[1:] == [30.0]
