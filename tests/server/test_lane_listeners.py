"""The Unix socket beside the port for lanes: when there is one, whom it takes for whom, and that
nothing is left.
"""

from __future__ import annotations

import errno
import socket
import sys
from typing import Any

import pytest

from milvine.server.doors.door import DoorFailed
from milvine.server.lanes import callers, listeners
from milvine.server.lanes.port import LaneDoor
from milvine.wire import lanes
from tests.server.lanes import Caller, calling

linux = pytest.mark.skipif(sys.platform != "linux", reason="no abstract names here")


def open_door(address: str = "127.0.0.1", local: bool = True) -> LaneDoor:
    door = LaneDoor(lambda rpc, request: rpc.encode(), None, address, 0, local=local)
    door.start()
    return door


@linux
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_caller_of_this_machine_counts_as_one_at_the_loopback_address(address: str) -> None:
    try:
        door = open_door(address)
    except DoorFailed:
        pytest.skip("no IPv6 here")
    with calling(door.place.unix) as caller:
        assert caller.ask("Search") == b"Search"
        assert next(iter(door._callers.connections)).peer == address
    door.stop(1)


@linux
def test_both_kinds_of_callers_count_towards_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "CONNECTIONS_MAX", 2)
    door = open_door()
    with calling(door.place.unix) as first, calling(door.port) as second:
        assert first.ask("Search") == second.ask("Search") == b"Search"
        for each in (door.place.unix, door.port):
            with calling(each, b"") as late:
                assert late.hung_up()
    door.stop(1)


@linux
def test_a_name_is_new_each_time_and_gone_with_its_door() -> None:
    door, other = open_door(), open_door()
    assert door.place.unix != other.place.unix
    door.stop(1)
    other.stop(1)
    for each in (door, other):
        with pytest.raises(ConnectionError):
            Caller(each.place.unix)


def test_no_name_where_none_is_wanted() -> None:
    door = open_door(local=False)
    assert door.place.unix == "" and len(door._callers._listeners._sockets) == 1
    door.stop(1)


@pytest.mark.parametrize("refused", ["socket", "listen", "platform"])
def test_where_the_system_has_no_such_names_there_is_the_port(
    monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    class Refusing(socket.socket):
        def __init__(self, family: int = socket.AF_INET, *more: Any, **named: Any) -> None:
            if family not in (socket.AF_INET, socket.AF_INET6) and refused == "socket":
                raise PermissionError(errno.EPERM, "Operation not permitted")
            super().__init__(family, *more, **named)

        def bind(self, address: Any) -> None:
            if refused == "listen":
                raise OSError(errno.EINVAL, "Invalid argument")
            super().bind(address)

    with monkeypatch.context() as patched:
        if refused == "platform":
            patched.setattr(sys, "platform", "darwin")
        else:
            patched.setattr(socket, "socket", Refusing)
        assert listeners.listen_locally() == ("", None)


def test_an_address_of_ours_whatever_is_told() -> None:
    assert lanes.unix_address("0a").startswith("\0milvine-lane-")
    assert lanes.place("lane 1 2 " + "/x" * lanes.UNIX_BYTES) is None
