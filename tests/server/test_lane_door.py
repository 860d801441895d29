"""The door of lanes: what the operations answer, refuse and fail at, as lanes tell it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from milvine.lanes.server_protocol import Refusal, Request
from milvine.server.doors.door import DoorFailed
from milvine.server.doors.lane_door import LaneDoor, OperationsOfLanes
from milvine.server.operations import MalformedRequest, Refused
from tests.lanes.caller import calling


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Errors that were told as those of a thread."""
    seen: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", seen.append)
    return seen


def echo(rpc: str, request: bytes) -> bytes:
    return rpc.encode() + b":" + request


def test_what_an_operation_refuses_is_a_grpc_status() -> None:
    def refuse(rpc: str, request: bytes) -> bytes:
        raise MalformedRequest.undecodable("x")

    door = LaneDoor(refuse, None, "127.0.0.1", 0)
    door.start()
    with calling(door.port) as caller:
        assert caller.ask("Search") == 13
        assert caller.reason == "Exception deserializing request: x"
    door.stop(1)


def test_a_call_that_breaks_is_told_of_and_the_door_goes_on(ends: list[Any]) -> None:
    def answer(rpc: str, request: bytes) -> bytes:
        return bytes(1 // 0) if rpc == "Search" else echo(rpc, request)

    door = LaneDoor(answer, None, "127.0.0.1", 0)
    door.start()
    with calling(door.port) as caller:
        assert [caller.ask("Search") for _ in range(6)] == [2] * 6
        assert caller.ask("CountCollection") == b"CountCollection:"
    assert door.ended == ""
    door.stop(1)
    assert [each.exc_type for each in ends] == [ZeroDivisionError] * 6


@pytest.mark.parametrize("breaks", [False, True])
def test_searches_that_share_a_pass(ends: list[Any], breaks: bool) -> None:
    def together(requests: Sequence[bytes]) -> list[bytes | Refused]:
        return [
            bytes(1 // 0) if breaks else MalformedRequest.bad_json() if each == b"1" else each
            for each in requests
        ]

    service = OperationsOfLanes(echo, together, None, None)
    answers = service.answer_batch([Request("Search", "", b"%d" % n) for n in range(3)])
    if breaks:
        assert [each.status for each in answers if isinstance(each, Refusal)] == [2] * 3
    else:
        assert answers == [b"0", Refusal(2, "Unexpected error in RPC handling"), b"2"]
    assert [each.exc_type for each in ends] == [ZeroDivisionError] * breaks


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "[::1]"])
def test_an_address_and_one_that_is_taken(address: str) -> None:
    try:
        door = LaneDoor(echo, None, address, 0)
    except DoorFailed:
        pytest.skip("no IPv6 here")
    door.start()
    with calling(door.port, host=address.strip("[]")) as caller:
        assert caller.ask("Search", b"x") == b"Search:x"
    with pytest.raises(DoorFailed, match=rf"^Cannot listen on .*:{door.port}: the address is in"):
        LaneDoor(echo, None, address, door.port)
    door.stop(1)
