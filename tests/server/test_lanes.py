"""Whole servers with a port for lanes: answers are those of the gRPC port, and clients find it or
do without.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from milvine.client.address import ServerAddress
from milvine.client.transports import lane as client_lane
from milvine.client.transports import lanes as client_lanes
from milvine.client.transports.lanes import Lanes
from milvine.client.transports.remote import RemoteFailed, RemoteTransport
from milvine.config import Settings
from milvine.deadline import Deadline
from milvine.events import Event, Events
from milvine.events.server import Answered
from milvine.server import app
from milvine.server.app import Server
from milvine.server.doors.door import DoorFailed
from milvine.server.lanes.port import LaneDoor
from milvine.wire import lanes, packed, schema
from milvine.wire.lanes import CALLS, Place
from milvus import Milvus
from tests.server.lanes import FAMILIES, Where, calling, where

TIMEOUT = 30
SETTINGS = Settings(port=0, http_enable=False, background=False, search_threads=1, door="grpc")
ROWS = np.random.default_rng(5).random((500, 8), np.float32)
Start = Callable[..., Server]


def stocked(server: Server) -> None:
    with Milvus("127.0.0.1", server.port) as client:
        client.create_collection({"collection_name": "c", "dimension": 8})
        client.insert("c", ROWS, list(range(len(ROWS))))


@pytest.fixture(scope="module")
def told() -> list[Event]:
    return []


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, told: list[Event]) -> Iterator[Server]:
    running = Server.start(tmp_path_factory.mktemp("lanes") / "db", SETTINGS, Events(told.append))
    stocked(running)
    yield running
    running.stop(5)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Server] = []

    def serve(**settings: Any) -> Server:
        started.append(Server.start(tmp_path / "db", replace(SETTINGS, **settings)))
        return started[-1]

    yield serve
    for each in started:
        each.stop(1)


def transport_to(server: Server, host: str = "127.0.0.1") -> RemoteTransport:
    opened = RemoteTransport(ServerAddress(host, server.port), 5, 3, True)
    opened.wait(Deadline(30))
    return opened


@pytest.fixture
def transport(server: Server) -> Iterator[RemoteTransport]:
    opened = transport_to(server)
    yield opened
    opened.close()


def command(transport: RemoteTransport, text: str) -> str:
    request = schema.Command(cmd=text).SerializeToString()
    return str(schema.StringReply.FromString(transport._send("Cmd", request, TIMEOUT)).string_reply)


def lane_of(server: Server) -> LaneDoor:
    assert isinstance(server._lane, LaneDoor)
    return server._lane


def carried_by(transport: RemoteTransport) -> Where:
    """Where the calls of this thread go to by a lane; 0 for none."""
    assert transport._lanes is not None
    return way_of(transport._lanes)


def way_of(opened: Lanes) -> Where:
    lane = getattr(opened._own, "lane", None)
    if lane is None:
        return 0
    name = lane._socket.getpeername()
    return name.decode().rpartition("-")[2] if isinstance(name, bytes) else int(name[1])


def nearest(server: Server) -> Where:
    """To where lanes are to lead."""
    place = lane_of(server).place
    return place.unix or place.port


HAS = schema.CollectionName(collection_name="c").SerializeToString()


def requests() -> list[tuple[str, bytes]]:
    ids, one = np.arange(3), ROWS[:1]
    by_id = schema.SearchByIDParam(collection_name="c", id_array=[1, 2], topk=3)
    by_id.extra_params.add(key="params", value="{}")
    in_files = schema.SearchInFilesParam.FromString(
        schema.SearchInFilesParam(
            file_id_array=["1"],
            search_param=schema.SearchParam.FromString(packed.encode_search("c", one, 3, (), "{}")),
        ).SerializeToString()
    )
    good = [
        ("HasCollection", HAS),
        ("CountCollection", HAS),
        ("GetVectorsByID", packed.encode_ids_request("c", ids)),
        ("Search", packed.encode_search("c", ROWS[:3], 500, (), "{}")),
        ("SearchByID", by_id.SerializeToString()),
        ("SearchInFiles", in_files.SerializeToString()),
    ]
    wrong = [
        ("Search", packed.encode_search("nowhere", one, 3, (), "{}")),
        ("Search", packed.encode_search("c", one, 0, (), "{}")),
        ("Search", packed.encode_search("c", one[:, :4], 3, (), "{}")),
        ("Search", packed.encode_search("c", one, 3, ("no such tag",), "{}")),
        ("Search", packed.encode_search("c", one, 3, (), "{not JSON")),
        ("CountCollection", schema.CollectionName(collection_name="nowhere").SerializeToString()),
        ("GetVectorsByID", packed.encode_ids_request("c", np.empty(0, np.int64))),
    ]
    return (
        good
        + wrong
        + [(rpc, junk) for rpc in sorted(CALLS) for junk in (b"", b"\xff\xff", b"\x0a\x7f")]
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("rpc", "request_"), requests())
def test_what_a_lane_answers_is_what_grpc_answers(
    server: Server, transport: RemoteTransport, rpc: str, request_: bytes, family: str
) -> None:
    with calling(where(lane_of(server), family)) as caller:
        answer = caller.ask(rpc, request_)
    try:
        expected: Any = transport._send(rpc, request_, TIMEOUT)
    except RemoteFailed as failed:
        assert (answer, caller.reason) == (failed.code().value[0], failed.details())
        with pytest.raises(RemoteFailed) as again:
            transport.call(rpc, request_, TIMEOUT)
        assert again.value.args == failed.args
    else:
        assert answer == expected == transport.call(rpc, request_, TIMEOUT)


def test_each_call_is_counted_once(
    server: Server, transport: RemoteTransport, told: list[Event]
) -> None:
    transport.call("HasCollection", HAS, TIMEOUT)
    told.clear()
    for rpc, request in requests()[:6]:
        transport.call(rpc, request, TIMEOUT)
    assert [event.rpc for event in told if isinstance(event, Answered)] == [
        rpc for rpc, _ in requests()[:6]
    ]


def test_searches_that_share_a_pass_get_each_their_own_hits(server: Server) -> None:
    def work(first: int) -> None:
        opened = transport_to(server)
        for row in range(first, first + 40):
            reply = opened.call(
                "Search",
                packed.encode_search("c", ROWS[row : row + 1], 1 + row % 3, (), "{}"),
                TIMEOUT,
            )
            assert schema.TopKQueryResult.FromString(reply).ids[0] == row
        assert carried_by(opened) == nearest(server)
        opened.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(0, 400, 50)))


def noting(reached: list[str]) -> Callable[[str, bytes], bytes]:
    """The operations of a server that nobody is to reach."""

    def answer(rpc: str, request: bytes) -> bytes:
        reached.append(rpc)
        return b"wrong"

    return answer


def test_a_restarted_server_is_found_again(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_lanes, "_PAUSE", 0.0)
    server = start()
    transport = transport_to(server)
    assert carried_by(transport) == 0
    transport.call("HasCollection", HAS, TIMEOUT)
    old = carried_by(transport)
    assert old == nearest(server)
    port = lane_of(server).port
    server.stop(1)
    reached: list[str] = []
    other = LaneDoor(noting(reached), None, "127.0.0.1", port)
    other.start()
    again = start(port=server.port)
    for _ in range(3):
        transport.call("HasCollection", HAS, TIMEOUT)
    assert carried_by(transport) == nearest(again) != old
    transport.close()
    other.stop(1)
    assert reached == []


@pytest.mark.skipif(sys.platform != "linux", reason="no abstract names here")
@pytest.mark.parametrize("elsewhere", ["another system", "another machine"])
def test_who_cannot_take_the_unix_socket_takes_the_port(
    server: Server, transport: RemoteTransport, monkeypatch: pytest.MonkeyPatch, elsewhere: str
) -> None:
    if elsewhere == "another system":
        monkeypatch.setattr(client_lane, "sys", SimpleNamespace(platform="win32"))
    else:
        monkeypatch.setattr(lanes, "unix_address", lambda name: f"\0nobody-{name}")
    assert transport.call("CountCollection", HAS, TIMEOUT)
    assert carried_by(transport) == lane_of(server).port
    transport.close()


@pytest.mark.skipif(sys.platform != "linux", reason="no abstract names here")
def test_a_way_that_led_nowhere_is_not_tried_again_until_the_server_is_another(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_lanes, "_PAUSE", 0.0)
    place, tried = lane_of(server).place, list[Place | None]()
    told = [place._replace(unix="00" * lanes.UNIX_BYTES)]
    own = Lanes(ServerAddress("127.0.0.1", server.port), lambda seconds: lanes.told(told[-1]))
    connected = client_lane._connected

    def noting_way(address: ServerAddress, to: Place | None, seconds: float) -> socket.socket:
        tried.append(to)
        return connected(address, to, seconds)

    monkeypatch.setattr(client_lane, "_connected", noting_way)
    for _ in range(3):
        assert own.call("CountCollection", HAS, Deadline(TIMEOUT))
        assert way_of(own) == place.port
        # What is no success ends the lane.
        assert own.call("CountCollection", b"\xff\xff", Deadline(TIMEOUT)) is None
    assert tried == [told[0], *[told[0]._replace(unix="")] * 3]
    told.append(place)
    assert own.call("CountCollection", HAS, Deadline(TIMEOUT))
    assert way_of(own) == place.unix
    own.close()


@pytest.mark.parametrize("listening", [False, True])
def test_a_place_that_cannot_be_reached_or_is_anothers(server: Server, listening: bool) -> None:
    reached: list[str] = []
    other = LaneDoor(noting(reached), None, "127.0.0.1", 0, local=True)
    if listening:
        other.start()
        told = lanes.told(other.place._replace(instance=other.place.instance ^ 1))
    else:
        other.stop(0)
        told = lanes.told(other.place)
    own = Lanes(ServerAddress("127.0.0.1", server.port), lambda seconds: told)
    assert own.call("CountCollection", HAS, Deadline(TIMEOUT))
    assert way_of(own) == server.port
    own.close()
    other.stop(1)
    assert reached == []


def test_a_stopping_server_sends_its_callers_to_the_grpc_port(server: Server, start: Start) -> None:
    with_lanes = start()
    stocked(with_lanes)
    transport = transport_to(with_lanes)
    expected = transport.call("CountCollection", HAS, TIMEOUT)
    lane_of(with_lanes).stop(1)
    assert transport.call("CountCollection", HAS, TIMEOUT) == expected
    transport.close()


@contextmanager
def a_taken_port() -> Iterator[int]:
    """It is free afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


def test_a_stop_is_as_patient_with_both_ports_together(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, graces = start(), list[float | None]()
    lane, door = lane_of(server), server._door
    stop_lane, stop_door = lane.stop, door.stop

    def slow(grace: float | None) -> None:
        graces.append(grace)
        time.sleep(0.2)
        stop_lane(grace)

    def quick(grace: float | None) -> None:
        graces.append(grace)
        stop_door(grace)

    monkeypatch.setattr(lane, "stop", slow)
    monkeypatch.setattr(door, "stop", quick)
    server.stop(5)
    first, second = graces
    assert first is not None and second is not None
    assert 0 < second <= first - 0.2 and first <= 5


def test_the_port_that_is_asked_for(start: Start) -> None:
    with a_taken_port() as busy, pytest.raises(DoorFailed, match="in use"):
        start(lane_port=str(busy))
    server = start(lane_port=str(busy))
    transport = transport_to(server)
    place = lane_of(server).place
    assert lanes.place(command(transport, lanes.COMMAND)) == place == (busy, place.instance, "")
    transport.call("HasCollection", HAS, TIMEOUT)
    assert carried_by(transport) == busy
    transport.close()


def no_lanes(server: Server) -> None:
    transport = transport_to(server)
    assert server._lane is None
    assert command(transport, "lane") == command(transport, "lanes") == "Unknown command"
    assert transport.call("HasCollection", HAS, TIMEOUT) == transport._send(
        "HasCollection", HAS, TIMEOUT
    )
    assert carried_by(transport) == server.port
    transport.close()


def test_no_port_where_none_is_wanted(start: Start) -> None:
    no_lanes(start(lane_port="off"))


def test_others_reach_no_port_that_nobody_asked_for(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "is_loopback", lambda address: False)
    no_lanes(start())


def test_a_port_asked_for_is_there_for_others_as_well(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "is_loopback", lambda address: False)
    with a_taken_port() as free:
        pass
    assert lane_of(start(lane_port=str(free))).port == free


def test_a_server_starts_where_no_port_can_be_had_that_nobody_asked_for(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise DoorFailed.busy("localhost:0")

    monkeypatch.setattr(app, "LaneDoor", fail)
    no_lanes(start())


def test_ipv6_from_end_to_end(start: Start) -> None:
    try:
        server = start(address="::1")
    except DoorFailed:
        pytest.skip("no IPv6 here")
    transport = transport_to(server, "::1")
    assert transport.call("HasCollection", HAS, TIMEOUT) == transport._send(
        "HasCollection", HAS, TIMEOUT
    )
    assert carried_by(transport) == nearest(server)
    transport.close()
    with Milvus("::1", server.port) as client:
        assert client.has_collection("c")[1] is False


def test_a_call_that_takes_too_long(
    server: Server, transport: RemoteTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(rpc: str, request: bytes) -> bytes:
        time.sleep(0.5)
        return b""

    transport.call("HasCollection", HAS, TIMEOUT)
    monkeypatch.setattr(lane_of(server), "_call", slow)
    with pytest.raises(RemoteFailed) as failed:
        transport.call("HasCollection", HAS, 0.1)
    assert failed.value.code().name == "DEADLINE_EXCEEDED"
    monkeypatch.undo()
    assert transport.call("HasCollection", HAS, TIMEOUT)
