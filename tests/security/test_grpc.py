"""Every rpc for every role, through both gRPC doors, with real clients."""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import grpc
import pytest

from milvine.config import Settings
from milvine.events import Event, Events
from milvine.events.server import AccessRefused, TokensRefused
from milvine.server import operations
from milvine.server.doors.grpc_door import GrpcDoor
from milvine.server.security import tokens
from milvine.server.security.doors import DoorSecurity
from milvine.server.security.gate import Gate
from milvine.server.security.roles import RPCS, Role
from milvine.server.security.tokens import Tokens
from milvine.wire.health import CHECK
from milvine.wire.schema import HYBRID_RPCS, Command, method_path

OK, TIMEOUT = grpc.StatusCode.OK, 30
SERVED = (*operations.SERVED, *HYBRID_RPCS, CHECK)
FAILURES = 10_000
"""The tests fail more often than an attacker may."""


class Door:
    """A door whose operations answer with the name of the rpc, and what its clients see."""

    def __init__(self, make: Any, gate: Gate) -> None:
        self.reached: list[str] = []
        self._door = make(self._answer, SERVED, "127.0.0.1", 0, None, (), None, DoorSecurity(gate))
        self._door.start()
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self._door.port}")

    def _answer(self, rpc: str, request: bytes) -> bytes:
        self.reached.append(rpc)
        return rpc.encode()

    def ask(
        self, rpc: str, token: str | None, request: bytes = b"", *more: tuple[str, str]
    ) -> tuple[Any, str]:
        """Status and its text of a call; what is answered must be the answer."""
        shown = () if token is None else (("authorization", f"Bearer {token}"),)
        before = len(self.reached)
        try:
            reply = self.channel.unary_unary(method_path(rpc))(
                request, metadata=(*shown, *more), timeout=TIMEOUT
            )
        except grpc.RpcError as error:
            assert len(self.reached) == before, "refused, and done all the same"
            return error.code(), error.details()
        assert reply == rpc.encode()
        return OK, ""

    def close(self) -> None:
        self.channel.close()
        self._door.stop(0)


@pytest.fixture(scope="module")
def told() -> list[Event]:
    return []


@pytest.fixture(scope="module", params=["grpc", "native"])
def door(
    request: Any, tokens_file: Path, known: dict[str, str], told: list[Event]
) -> Iterator[Door]:
    make: Any = GrpcDoor
    if request.param == "native":
        pytest.importorskip("pygrpc_native")
        make = import_module("milvine.server.doors.native_door").NativeDoor
    gate = Gate(Tokens(tokens_file), 0, Events(told.append), FAILURES)
    made = Door(make, gate)
    yield made
    made.close()


@pytest.mark.parametrize("rpc", SERVED)
def test_every_rpc_for_every_role(door: Door, known: dict[str, str], rpc: str) -> None:
    assert rpc in RPCS, (
        "an rpc without a role: decide, and add it to the table and to docs/security.md"
    )
    least = RPCS[rpc]
    for role in ("read", "write", "admin"):
        status, text = door.ask(rpc, known[role])
        if Role[role.upper()] >= least:
            assert status is OK, (role, text)
        else:
            assert status is grpc.StatusCode.PERMISSION_DENIED
            assert text == f"{rpc} needs a token of role {least.word}; this one has role {role}"
    for token in (None, known["expired"], known["revoked"], "nonsense"):
        status, _ = door.ask(rpc, token)
        assert status is (OK if least is Role.OPEN else grpc.StatusCode.UNAUTHENTICATED), token


@pytest.mark.parametrize(
    "command", ["get_config *", "get_config cache.cache_size", "set_config cache.cache_size 1"]
)
def test_commands_about_the_configuration_are_an_administrators(
    door: Door, known: dict[str, str], command: str
) -> None:
    request = Command(cmd=command).SerializeToString()
    for role in ("read", "write"):
        assert door.ask("Cmd", known[role], request)[0] is grpc.StatusCode.PERMISSION_DENIED
    assert door.ask("Cmd", known["admin"], request)[0] is OK
    assert door.ask("Cmd", known["read"], Command(cmd="version").SerializeToString())[0] is OK


def test_the_texts_tell_what_is_wrong(door: Door, known: dict[str, str]) -> None:
    denied = grpc.StatusCode.UNAUTHENTICATED
    assert door.ask("Search", None) == (
        denied,
        "A token is needed: send it as `authorization: Bearer TOKEN`",
    )
    assert door.ask("Search", known["expired"]) == (denied, "The token has expired")
    assert door.ask("Search", known["revoked"]) == (denied, "The token is not valid")
    assert (
        door.ask("Search", known["read"], b"", ("authorization", f"Bearer {known['read']}"))[0]
        is denied
    )
    assert door.ask("Search", "x" * 2000)[0] is denied


def test_other_ways_to_write_the_header(door: Door, known: dict[str, str]) -> None:
    assert door.ask("Search", None, b"", ("authorization", f"bearer  {known['read']} "))[0] is OK
    for wrong in (
        known["read"],
        f"Basic {known['read']}",
        f"Bearer{known['read']}",
        "Bearer",
        "Bearer ",
        "",
    ):
        assert (
            door.ask("Search", None, b"", ("authorization", wrong))[0]
            is grpc.StatusCode.UNAUTHENTICATED
        )


def test_a_large_request_of_nobody_is_refused_and_of_somebody_taken(
    door: Door, known: dict[str, str]
) -> None:
    large = bytes(3 << 20)
    assert door.ask("Insert", None, large)[0] is grpc.StatusCode.UNAUTHENTICATED
    assert door.ask("Insert", known["write"], large)[0] is OK


def test_revoking_acts_at_once(door: Door, tokens_file: Path) -> None:
    token = tokens.create(tokens_file, "leaving", "read")
    assert door.ask("Search", token)[0] is OK
    tokens.revoke(tokens_file, "leaving")
    assert door.ask("Search", token)[0] is grpc.StatusCode.UNAUTHENTICATED


def test_a_damaged_file_lets_nobody_in_and_is_told(
    door: Door, tokens_file: Path, known: dict[str, str], told: list[Event]
) -> None:
    whole = tokens_file.read_bytes()
    told.clear()
    try:
        tokens_file.write_bytes(b"{")
        assert door.ask("Search", known["admin"])[0] is grpc.StatusCode.UNAUTHENTICATED
        assert door.ask("Search", known["admin"])[0] is grpc.StatusCode.UNAUTHENTICATED
    finally:
        tokens_file.write_bytes(whole)
    assert door.ask("Search", known["admin"])[0] is OK
    assert [type(event) for event in told].count(TokensRefused) == 1


def test_events_tell_who_and_why_and_no_token(
    door: Door, known: dict[str, str], told: list[Event]
) -> None:
    gate_told = [event for event in told if isinstance(event, AccessRefused)]
    for token in known.values():
        assert token[17:] not in repr(told)
    assert all(event.host == "127.0.0.1" for event in gate_told)


@pytest.mark.parametrize("kind", ["grpc", "native"])
def test_who_fails_often_is_answered_at_once_and_a_good_token_passes(
    kind: str, tokens_file: Path, known: dict[str, str]
) -> None:
    told: list[Event] = []
    if kind == "native":
        pytest.importorskip("pygrpc_native")
    make = (
        GrpcDoor if kind == "grpc" else import_module("milvine.server.doors.native_door").NativeDoor
    )
    door = Door(make, Gate(Tokens(tokens_file), 0, Events(told.append)))
    try:
        statuses = [door.ask("Search", "nonsense")[0] for _ in range(60)]
        assert statuses[:20] == [grpc.StatusCode.UNAUTHENTICATED] * 20
        assert statuses.count(grpc.StatusCode.RESOURCE_EXHAUSTED) > 10
        assert door.ask("Search", known["read"])[0] is OK
        assert 5 <= len(told) < 12
    finally:
        door.close()


def test_requests_per_second(tokens_file: Path) -> None:
    door = Door(GrpcDoor, Gate(None, 10, Events()))
    try:
        statuses = [door.ask("Search", None)[0] for _ in range(60)]
        assert statuses[:10] == [OK] * 10 and grpc.StatusCode.RESOURCE_EXHAUSTED in statuses
        assert door.ask(CHECK, None)[0] is OK
    finally:
        door.close()


def test_without_settings_a_door_has_no_gate() -> None:
    assert Settings().tokens_file == "" and Settings().requests_per_second == 0
    assert DoorSecurity().gate is None


def test_searches_that_share_a_pass_are_looked_at_one_by_one(
    tokens_file: Path, known: dict[str, str]
) -> None:
    module = pytest.importorskip("milvine.server.doors.native_door", exc_type=ImportError)
    shared: list[int] = []

    def together(requests: list[bytes]) -> list[bytes]:
        shared.append(len(requests))
        return [b"shared:" + request for request in requests]

    def alone(rpc: str, request: bytes) -> bytes:
        time.sleep(0.001)  # the next ones queue up meanwhile
        return b"alone:" + request

    gate = Gate(Tokens(tokens_file), 0, Events(), FAILURES)
    door = module.NativeDoor(
        alone, SERVED, "127.0.0.1", 0, None, (), None, DoorSecurity(gate), together
    )
    door.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{door.port}") as channel:
            search = channel.unary_unary(method_path("Search"))
            until = time.monotonic() + 60
            while not any(count > 1 for count in shared) and time.monotonic() < until:
                calls = []
                for n in range(200):
                    token = known["read"] if n % 3 else known["revoked"]
                    shown = (("authorization", f"Bearer {token}"),)
                    calls.append((n, search.future(b"%d" % n, metadata=shown, timeout=TIMEOUT)))
                for n, call in calls:
                    if n % 3:
                        assert call.result().partition(b":")[2] == b"%d" % n
                    else:
                        assert call.code() is grpc.StatusCode.UNAUTHENTICATED
            assert any(count > 1 for count in shared)
    finally:
        door.stop(0)
