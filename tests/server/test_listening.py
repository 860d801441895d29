"""Every connection that a door accepts sends at once what it has (TCP_NODELAY), whichever door it
is.
"""

from __future__ import annotations

import os
import socket
import stat
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from milvine.config import Settings
from milvine.server.app import Server
from milvine.server.doors.door import DoorFailed
from milvine.server.doors.listening import listen
from tests.security.certificates import Authority

pytest.importorskip("fastapi")
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
QUIET = Settings(background=False, search_threads=1, port=0)


def sends_at_once(host: str, port: int) -> bool:
    """Whether the server's end of a new connection, in this process, gets TCP_NODELAY."""
    until = time.monotonic() + 5
    with socket.create_connection((host, port), 30) as mine:
        while time.monotonic() < until:
            if any(_has_nodelay(number, mine) for number in map(int, os.listdir("/proc/self/fd"))):
                return True
            time.sleep(0.01)
    return False


def _has_nodelay(number: int, mine: socket.socket) -> bool:
    try:
        if not stat.S_ISSOCK(os.fstat(number).st_mode):
            return False
        with socket.socket(fileno=os.dup(number)) as theirs:
            is_other_end = theirs.getpeername()[1:2] == mine.getsockname()[1:2]
            return is_other_end and bool(theirs.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
    except OSError:
        return False


def ports(server: Server) -> dict[str, int]:
    doors = {"grpc": server.port, "http": int(server.http_address.rpartition(":")[2])}
    return {**doors, "lane": server.lane_port} if server.lane_port else doors


@linux
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("door", ["grpc", "native"])
def test_no_door_waits_for_acknowledgements(tmp_path: Path, door: str, address: str) -> None:
    if door == "native" and not find_spec("pygrpc_native"):
        pytest.skip("pygrpc-native is not installed")
    try:
        server = Server.start(tmp_path / "data", replace(QUIET, door=door, address=address))
    except DoorFailed:
        pytest.skip("no IPv6 here")
    try:
        assert {name: sends_at_once(address, port) for name, port in ports(server).items()} == {
            "grpc": True,
            "http": True,
            "lane": True,
        }
    finally:
        server.stop(5)


@linux
def test_nor_does_one_with_tls(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("server")
    tls = replace(QUIET, door="grpc", tls_certificate=pair.certificate, tls_key=pair.key)
    server = Server.start(tmp_path / "data", tls)
    try:
        assert all(sends_at_once("127.0.0.1", port) for port in ports(server).values())
    finally:
        server.stop(5)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::"])
def test_what_is_accepted_is_known_to_be_tcp(address: str) -> None:
    """By which asyncio tells what to set the option on."""
    try:
        listener = listen(address, 0, 4)
    except DoorFailed:
        pytest.skip("no IPv6 here")
    with (
        listener,
        socket.create_connection(
            ("127.0.0.1" if address == "::" else address, listener.getsockname()[1])
        ),
    ):
        accepted, _ = listener.accept()
        with accepted:
            assert (listener.proto, accepted.proto) == (socket.IPPROTO_TCP, socket.IPPROTO_TCP)


def test_a_taken_port_is_told() -> None:
    with listen("127.0.0.1", 0, 4) as taken, pytest.raises(DoorFailed, match="in use"):
        listen("127.0.0.1", taken.getsockname()[1], 4)
