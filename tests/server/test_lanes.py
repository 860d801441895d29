"""Whole servers with a port for lanes: answers are those of the gRPC port, and clients find it or do without."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milvine.client.address import ServerAddress
from milvine.client.transports import lane as client_lanes
from milvine.client.transports.lane import Lanes
from milvine.client.transports.remote import RemoteFailed, RemoteTransport
from milvine.config import Settings
from milvine.events import Answered, Event, Events
from milvine.server import app
from milvine.server.app import Server
from milvine.server.door import DoorFailed
from milvine.server.lane_door import LaneDoor
from milvine.wire import lanes, packed, schema
from milvine.wire.lanes import CALLS
from milvus import Milvus
from tests.server.lanes import calling

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
    opened.wait()
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


def carried_by(transport: RemoteTransport) -> int:
    """The port that the calls of this thread go to by a lane; 0 for none."""
    assert transport._lanes is not None
    lane = getattr(transport._lanes._own, "lane", None)
    return int(lane._socket.getpeername()[1]) if lane else 0


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
    return good + wrong + [(rpc, junk) for rpc in sorted(CALLS) for junk in (b"", b"\xff\xff", b"\x0a\x7f")]


@pytest.mark.parametrize(("rpc", "request_"), requests())
def test_what_a_lane_answers_is_what_grpc_answers(
    server: Server, transport: RemoteTransport, rpc: str, request_: bytes
) -> None:
    with calling(lane_of(server).port) as caller:
        answer = caller.ask(rpc, request_)
    try:
        expected: Any = transport._send(rpc, request_, TIMEOUT)
    except RemoteFailed as failed:
        assert (answer, caller.reason) == (failed.code.value[0], failed.details)
        with pytest.raises(RemoteFailed) as again:
            transport.call(rpc, request_, TIMEOUT)
        assert (again.value.code, again.value.details) == (failed.code, failed.details)
    else:
        assert answer == expected == transport.call(rpc, request_, TIMEOUT)


def test_each_call_is_counted_once(server: Server, transport: RemoteTransport, told: list[Event]) -> None:
    transport.call("HasCollection", HAS, TIMEOUT)
    told.clear()
    for rpc, request in requests()[:6]:
        transport.call(rpc, request, TIMEOUT)
    assert [event.rpc for event in told if isinstance(event, Answered)] == [rpc for rpc, _ in requests()[:6]]


def test_searches_that_share_a_pass_get_each_their_own_hits(server: Server) -> None:
    def work(first: int) -> None:
        opened = transport_to(server)
        for row in range(first, first + 40):
            reply = opened.call(
                "Search", packed.encode_search("c", ROWS[row : row + 1], 1 + row % 3, (), "{}"), TIMEOUT
            )
            assert schema.TopKQueryResult.FromString(reply).ids[0] == row
        assert carried_by(opened) == lane_of(server).port
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
    assert old == lane_of(server).port
    server.stop(1)
    reached: list[str] = []
    other = LaneDoor(noting(reached), None, "127.0.0.1", old)
    other.start()
    again = start(port=server.port)
    for _ in range(3):
        transport.call("HasCollection", HAS, TIMEOUT)
    assert carried_by(transport) == lane_of(again).port != old
    transport.close()
    other.stop(1)
    assert reached == []


@pytest.mark.parametrize("listening", [False, True])
def test_a_port_that_cannot_be_reached_or_is_anothers(server: Server, listening: bool) -> None:
    reached: list[str] = []
    other = LaneDoor(noting(reached), None, "127.0.0.1", 0)
    if listening:
        other.start()
        told = lanes.told(other.port, other.instance ^ 1)
    else:
        other.stop(0)
        told = lanes.told(other.port, other.instance)
    own = Lanes(ServerAddress("127.0.0.1", server.port), lambda: told)
    assert own.call("CountCollection", HAS, TIMEOUT)
    assert own._own.lane._socket.getpeername()[1] == server.port
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


def test_a_stop_is_as_patient_with_both_ports_together(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert first == 5 and second is not None and second <= 4.8


def test_the_port_that_is_asked_for(start: Start) -> None:
    with a_taken_port() as busy, pytest.raises(DoorFailed, match="in use"):
        start(lane_port=str(busy))
    server = start(lane_port=str(busy))
    transport = transport_to(server)
    assert lanes.place(command(transport, "lane")) == (busy, lane_of(server).instance)
    transport.call("HasCollection", HAS, TIMEOUT)
    assert carried_by(transport) == busy
    transport.close()


def no_lanes(server: Server) -> None:
    transport = transport_to(server)
    assert server._lane is None
    assert command(transport, "lane") == "Unknown command"
    assert transport.call("HasCollection", HAS, TIMEOUT) == transport._send("HasCollection", HAS, TIMEOUT)
    assert carried_by(transport) == server.port
    transport.close()


def test_no_port_where_none_is_wanted(start: Start) -> None:
    no_lanes(start(lane_port="off"))


def test_others_reach_no_port_that_nobody_asked_for(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "is_loopback", lambda address: False)
    no_lanes(start())


def test_a_port_asked_for_is_there_for_others_as_well(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert transport.call("HasCollection", HAS, TIMEOUT) == transport._send("HasCollection", HAS, TIMEOUT)
    assert carried_by(transport) == lane_of(server).port
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
    assert failed.value.code.name == "DEADLINE_EXCEEDED"
    monkeypatch.undo()
    assert transport.call("HasCollection", HAS, TIMEOUT)
