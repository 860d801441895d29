"""The port for lanes asks for tokens, holds roles and counts requests as the gRPC port does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from milvine.config import Settings
from milvine.events import Event, Events
from milvine.events.server import AccessRefused
from milvine.lanes.agreement import CALLS
from milvine.server.app import Server
from milvine.server.doors.lane_door import LaneDoor
from milvine.server.operations import Refused
from milvine.server.security import tokens
from milvine.server.security.gate import Gate
from milvine.server.security.roles import RPCS, Role
from milvine.server.security.tokens import Tokens
from tests.lanes.caller import Caller, calling
from tests.security.certificates import Authority

UNKNOWN, DENIED, OFTEN, UNAUTHENTICATED = 2, 7, 8, 16
Open = Callable[..., LaneDoor]


@pytest.fixture
def told() -> list[Event]:
    return []


@pytest.fixture
def reached() -> list[str]:
    return []


@pytest.fixture
def open_door(told: list[Event], reached: list[str]) -> Iterator[Open]:
    opened: list[LaneDoor] = []

    def answer(rpc: str, request: bytes) -> bytes:
        reached.append(rpc)
        return rpc.encode()

    def together(requests: Any) -> list[bytes | Refused]:
        return [answer("Search", each) for each in requests]

    def make(file: Path | None, per_second: int = 0) -> LaneDoor:
        tokens = Tokens(file) if file else None
        # The tests fail more often than an attacker may.
        gate = Gate(tokens, per_second, Events(told.append), failures_at_once=10_000)
        opened.append(LaneDoor(answer, together, "127.0.0.1", 0, None, gate))
        opened[-1].start()
        return opened[-1]

    yield make
    for each in opened:
        each.stop(1)


@pytest.fixture
def caller(open_door: Open, tokens_file: Path, known: dict[str, str]) -> Iterator[Caller]:
    with calling(open_door(tokens_file).port) as caller:
        yield caller


def test_every_call_for_every_role_and_nobody(
    caller: Caller, known: dict[str, str], reached: list[str]
) -> None:
    for rpc in sorted(CALLS):
        for role in ("read", "write", "admin"):
            assert caller.ask(rpc, b"", f"Bearer {known[role]}") == rpc.encode()
        reached.clear()
        for shown in (
            "",
            known["read"],
            f"Basic {known['read']}",
            f"Bearer {known['revoked']}",
            "Bearer x",
            "Bearer",
        ):
            assert caller.ask(rpc, b"", shown) == UNAUTHENTICATED
            assert not shown or shown.split()[-1] not in caller.reason.replace("Bearer TOKEN", "")
        assert caller.ask(rpc, b"", f"Bearer {known['expired']}") == UNAUTHENTICATED
        assert caller.reason == "The token has expired"
        assert reached == []


def test_a_role_that_may_not(
    caller: Caller, known: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RPCS, "CountCollection", Role.WRITE)
    assert caller.ask("CountCollection", b"", f"Bearer {known['read']}") == DENIED
    assert caller.ask("CountCollection", b"", f"Bearer {known['write']}") == b"CountCollection"


def test_revoking_acts_on_a_lane_that_is_open(caller: Caller, tokens_file: Path) -> None:
    token = tokens.create(tokens_file, "leaving", "read")
    assert caller.ask("Search", b"", f"Bearer {token}") == b"Search"
    tokens.revoke(tokens_file, "leaving")
    assert caller.ask("Search", b"", f"Bearer {token}") == UNAUTHENTICATED


def test_refusals_are_told_by_address(caller: Caller, told: list[Event]) -> None:
    assert caller.ask("Search", b"", "Bearer nonsense") == UNAUTHENTICATED
    (event,) = told
    assert isinstance(event, AccessRefused) and event.host == "127.0.0.1"
    assert "nonsense" not in repr(event)


def test_one_address_may_call_so_often_by_all_its_lanes(open_door: Open) -> None:
    door = open_door(None, 5)
    with calling(door.port) as first, calling(door.port) as second:
        told = [caller.ask("CountCollection") for _ in range(10) for caller in (first, second)]
    assert told[:5] == [b"CountCollection"] * 5
    assert set(told[15:]) <= {OFTEN, b"CountCollection"} and told.count(OFTEN) >= 5


class Broken(Gate):
    """A gate that fails at every call."""

    def check_call(self, *arguments: Any) -> None:
        raise ZeroDivisionError


@pytest.mark.parametrize("rpc", ["Search", "CountCollection"])
def test_a_gate_that_breaks_lets_nobody_in(
    monkeypatch: pytest.MonkeyPatch, reached: list[str], rpc: str
) -> None:
    def answer(rpc: str, request: bytes) -> bytes:
        reached.append(rpc)
        return b""

    ends: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", ends.append)
    door = LaneDoor(answer, None, "127.0.0.1", 0, None, Broken(None, 0, Events()))
    door.start()
    callers = [Caller(door.port) for _ in range(12)]
    for caller in callers:
        caller.begin(rpc)
    assert [caller.answer() for caller in callers] == [UNKNOWN] * 12
    for caller in callers:
        caller.close()
    door.stop(1)
    assert [each.exc_type for each in ends] == [ZeroDivisionError] * 12
    assert reached == []


def test_no_port_with_tls(tmp_path: Path, authority: Authority) -> None:
    pair = authority.issue("localhost")
    settings = Settings(
        port=0,
        http_enable=False,
        background=False,
        lane_port="30000",
        tls_certificate=pair.certificate,
        tls_key=pair.key,
    )
    server = Server.start(tmp_path / "data", settings)
    assert server.lane_port is None
    server.stop(0)
