"""Whole servers with a port for lanes: answers are those of the gRPC port, and clients find it or
do without.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from milvine.client.address import ServerAddress
from milvine.client.transports.remote import RemoteFailed, RemoteTransport
from milvine.config import Settings
from milvine.deadline import Deadline
from milvine.events import Event, Events
from milvine.events.server import Answered
from milvine.lanes import client as lanes_client
from milvine.lanes import per_thread
from milvine.lanes.agreement import CALLS, COMMAND, Endpoint, LaneAddress, address_of, answer_with
from milvine.lanes.per_thread import Lanes
from milvine.server import app
from milvine.server.app import Server
from milvine.server.doors.door import DoorFailed
from milvine.server.doors.grpc_door import GrpcDoor
from milvine.server.doors.lane_door import LaneDoor
from milvine.wire import packed, schema
from milvus import Milvus
from tests.lanes.caller import calling

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


class Pause:
    """Of every call of the server."""

    seconds = 0.0

    def __call__(self, event: Event) -> None:
        time.sleep(self.seconds)


@pytest.fixture(scope="module")
def pause() -> Pause:
    return Pause()


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, told: list[Event], pause: Pause
) -> Iterator[Server]:
    events = Events(told.append)
    events.subscribe(pause, (Answered,))
    running = Server.start(tmp_path_factory.mktemp("lanes") / "db", SETTINGS, events)
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


def by_grpc(server: Server, rpc: str, request: bytes) -> bytes:
    """The reply to a call that no lane carries.

    Raises:
        grpc.RpcError: it is refused.
    """
    with grpc.insecure_channel(server.address) as channel:
        reply: bytes = channel.unary_unary(schema.method_path(rpc))(request, timeout=TIMEOUT)
        return reply


def command(server: Server, text: str) -> str:
    request = schema.Command(cmd=text).SerializeToString()
    return str(schema.StringReply.FromString(by_grpc(server, "Cmd", request)).string_reply)


def address_at(server: Server) -> LaneAddress:
    """Where the server says that lanes begin."""
    address = address_of(command(server, COMMAND))
    assert address is not None
    return address


def endpoint(server: Server) -> Endpoint:
    return Endpoint("127.0.0.1", server.port, server.address)


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


@pytest.mark.parametrize(("rpc", "request_"), requests())
def test_what_a_lane_answers_is_what_grpc_answers(
    server: Server, transport: RemoteTransport, rpc: str, request_: bytes
) -> None:
    with calling(address_at(server).port) as caller:
        answer = caller.ask(rpc, request_)
    try:
        expected: Any = by_grpc(server, rpc, request_)
    except grpc.RpcError as failed:
        assert (answer, caller.reason) == (failed.code().value[0], failed.details())
        with pytest.raises(RemoteFailed) as again:
            transport.call(rpc, request_, TIMEOUT)
        assert (again.value.code(), again.value.details()) == (failed.code(), failed.details())
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
        assert opened.lane_port == server.lane_port is not None
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
    monkeypatch.setattr(per_thread, "PAUSE", 0.0)
    server = start()
    transport = transport_to(server)
    assert transport.lane_port is None
    transport.call("HasCollection", HAS, TIMEOUT)
    port = server.lane_port
    assert port is not None and transport.lane_port == port
    server.stop(1)
    reached: list[str] = []
    other = LaneDoor(noting(reached), None, "127.0.0.1", port)
    other.start()
    again = start(port=server.port)
    for _ in range(3):
        transport.call("HasCollection", HAS, TIMEOUT)
    assert transport.lane_port == again.lane_port != port
    transport.close()
    other.stop(1)
    assert reached == []


def test_an_address_that_led_nowhere_is_not_tried_again_until_the_server_is_another(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(per_thread, "PAUSE", 0.0)
    address, tried = address_at(server), list[int]()
    with a_taken_port() as nobody:
        pass
    addresses = [address._replace(port=nobody)]
    own = Lanes(endpoint(server), lambda seconds: answer_with(addresses[-1]))
    connect = socket.create_connection

    def noting_way(address: tuple[str, int], *more: Any) -> socket.socket:
        tried.append(address[1])
        return connect(address, *more)

    monkeypatch.setattr(lanes_client.socket, "create_connection", noting_way)
    for _ in range(3):
        assert own.call("CountCollection", HAS, Deadline(TIMEOUT))
        assert own.port == server.port
        # What is no success ends the lane.
        assert own.call("CountCollection", b"\xff\xff", Deadline(TIMEOUT)) is None
    assert tried == [nobody, *[server.port] * 3]
    addresses.append(address)
    assert own.call("CountCollection", HAS, Deadline(TIMEOUT))
    assert own.port == address.port
    own.close()


@pytest.mark.parametrize("listening", [False, True])
def test_an_address_that_cannot_be_reached_or_is_anothers(server: Server, listening: bool) -> None:
    reached: list[str] = []
    other = LaneDoor(noting(reached), None, "127.0.0.1", 0)
    address = other.address
    if listening:
        other.start()
        address = address._replace(instance=address.instance ^ 1)
    else:
        other.stop(0)
    own = Lanes(endpoint(server), lambda seconds: answer_with(address))
    assert own.call("CountCollection", HAS, Deadline(TIMEOUT))
    assert own.port == server.port
    own.close()
    other.stop(1)
    assert reached == []


def test_a_port_that_is_closed_sends_its_callers_to_the_grpc_port(server: Server) -> None:
    door = LaneDoor(lambda rpc, request: b"lane", None, "127.0.0.1", 0)
    door.start()
    own = Lanes(endpoint(server), lambda seconds: answer_with(door.address))
    assert own.call("CountCollection", HAS, Deadline(TIMEOUT)) == b"lane"
    door.stop(1)
    assert own.call("CountCollection", HAS, Deadline(TIMEOUT)) is None  # to be made by gRPC
    own.close()


@contextmanager
def a_taken_port() -> Iterator[int]:
    """It is free afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


def test_a_stop_is_as_patient_with_both_ports_together(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, graces = start(), list[float | None]()
    stop_lane, stop_door = LaneDoor.stop, GrpcDoor.stop

    def slow(self: LaneDoor, grace: float | None) -> None:
        graces.append(grace)
        time.sleep(0.2)
        stop_lane(self, grace)

    def quick(self: GrpcDoor, grace: float | None) -> None:
        graces.append(grace)
        stop_door(self, grace)

    monkeypatch.setattr(LaneDoor, "stop", slow)
    monkeypatch.setattr(GrpcDoor, "stop", quick)
    server.stop(5)
    first, second = graces
    assert first is not None and second is not None
    assert 0 < second <= first - 0.2 and first <= 5


def test_the_port_that_is_asked_for(start: Start) -> None:
    with a_taken_port() as busy, pytest.raises(DoorFailed, match="in use"):
        start(lane_port=str(busy))
    server = start(lane_port=str(busy))
    transport = transport_to(server)
    assert address_at(server).port == server.lane_port == busy
    transport.call("HasCollection", HAS, TIMEOUT)
    assert transport.lane_port == busy
    transport.close()


def no_lanes(server: Server) -> None:
    transport = transport_to(server)
    assert server.lane_port is None
    assert command(server, "lane") == command(server, COMMAND) == "Unknown command"
    assert transport.call("HasCollection", HAS, TIMEOUT) == by_grpc(server, "HasCollection", HAS)
    assert transport.lane_port == server.port
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
    assert start(lane_port=str(free)).lane_port == free


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
    assert transport.call("HasCollection", HAS, TIMEOUT) == by_grpc(server, "HasCollection", HAS)
    assert transport.lane_port == server.lane_port is not None
    transport.close()
    with Milvus("::1", server.port) as client:
        assert client.has_collection("c")[1] is False


def test_a_call_that_takes_too_long(
    server: Server, transport: RemoteTransport, pause: Pause, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport.call("HasCollection", HAS, TIMEOUT)
    with monkeypatch.context() as patched:
        patched.setattr(pause, "seconds", 0.5)
        with pytest.raises(RemoteFailed) as failed:
            transport.call("HasCollection", HAS, 0.1)
    assert failed.value.code().name == "DEADLINE_EXCEEDED"
    assert transport.call("HasCollection", HAS, TIMEOUT)
