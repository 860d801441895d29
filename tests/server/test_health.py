"""gRPC's own services on both doors: health, that answers, streams and ends; reflection, that shows
both services.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
import pytest

from milvine.config import Settings
from milvine.errors import StorageFailed
from milvine.events.server import Stopping
from milvine.server.app import Server
from milvine.server.health import WATCHERS_MAX, Health
from milvine.server.operations import MalformedRequest, Refused
from milvine.wire import health, schema
from milvine.wire.health import CHECK, WATCH, HealthCheckRequest, HealthCheckResponse, ServingStatus

TIMEOUT = 30
SETTINGS = Settings(background=False, port=0, http_enable=False)
DOORS = ("grpc", "native") if find_spec("pygrpc_native") else ("grpc",)
reflects = pytest.mark.skipif(
    find_spec("grpc_reflection") is None, reason="grpcio-reflection is not installed"
)


class Disk:
    """A `check` that fails when told to."""

    def __init__(self) -> None:
        self.full = False

    def __call__(self) -> None:
        if self.full:
            raise StorageFailed("The disk is full")


def statuses(messages: list[bytes | None]) -> list[str | None]:
    names = [
        None if m is None else ServingStatus(HealthCheckResponse.FromString(m).status).name
        for m in messages
    ]
    return names


def check(health: Health, service: str = "") -> str:
    (name,) = statuses([health.check(HealthCheckRequest(service=service).SerializeToString())])
    assert name is not None
    return name


def test_check_follows_the_database() -> None:
    disk = Disk()
    state = Health(disk)
    assert [check(state, name) for name in ("", schema.SERVICE, health.SERVICE)] == ["SERVING"] * 3
    disk.full = True
    assert check(state) == "NOT_SERVING" and state.trouble() == "The disk is full"
    disk.full = False
    assert check(state) == "SERVING" and state.trouble() == ""
    state.listen(Stopping())
    assert check(state) == "NOT_SERVING" and state.trouble() == "The server is stopping"


def test_requests_that_are_none() -> None:
    state = Health(Disk())
    with pytest.raises(Refused, match="Unknown service: nobody"):
        check(state, "nobody")
    for request in (b"\xff\xff", b"\x0a\x05abc", bytes(5000)):
        with pytest.raises(MalformedRequest):
            state.check(request)


def test_watchers_are_told_of_changes_and_of_the_end() -> None:
    disk, told, other = Disk(), [], []  # type: ignore[var-annotated]
    state = Health(disk)
    state.watch(b"", told.append)
    state.watch(HealthCheckRequest(service="nobody").SerializeToString(), other.append)
    for disk.full in (False, True, True, False):
        state.trouble()
    state.listen(Stopping())
    assert statuses(told) == ["SERVING", "NOT_SERVING", "SERVING", "NOT_SERVING", None]
    assert statuses(other) == ["SERVICE_UNKNOWN", None]


def test_watchers_are_limited_and_may_go() -> None:
    state = Health(Disk())
    closes = [state.watch(b"", lambda message: None) for _ in range(WATCHERS_MAX)]
    with pytest.raises(Refused, match="watch the health already"):
        state.watch(b"", lambda message: None)
    closes[0]()
    closes[0]()
    state.watch(b"", lambda message: None)


@pytest.fixture(params=DOORS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    server = Server.start(tmp_path / "data", replace(SETTINGS, door=request.param))
    yield server
    server.stop(1)


@pytest.fixture
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as channel:
        yield channel


def test_check_over_the_wire(channel: grpc.Channel) -> None:
    ask = channel.unary_unary(CHECK)
    assert statuses([ask(b"", timeout=TIMEOUT)]) == ["SERVING"]
    with pytest.raises(grpc.RpcError) as caught:
        ask(HealthCheckRequest(service="nobody").SerializeToString(), timeout=TIMEOUT)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_watch_ends_with_the_server_without_holding_it_up(
    server: Server, channel: grpc.Channel
) -> None:
    stream = channel.unary_stream(WATCH)(b"", timeout=TIMEOUT)
    assert statuses([next(stream)]) == ["SERVING"]
    began = time.monotonic()
    server.stop(TIMEOUT)
    assert statuses([next(stream)]) == ["NOT_SERVING"]
    assert list(stream) == []
    assert time.monotonic() - began < TIMEOUT / 2


def test_a_watcher_that_hangs_up_is_forgotten(server: Server, channel: grpc.Channel) -> None:
    for _ in range(2 * WATCHERS_MAX):
        deadline = time.monotonic() + TIMEOUT
        while True:  # the server hears of the end a moment later
            stream = channel.unary_stream(WATCH)(b"", timeout=TIMEOUT)
            try:
                assert statuses([next(stream)]) == ["SERVING"]
                break
            except grpc.RpcError as error:
                assert (
                    error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                    and time.monotonic() < deadline
                )
                time.sleep(0.01)
        stream.cancel()


def test_the_health_package_of_grpcio_understands_it(channel: grpc.Channel) -> None:
    pb2 = pytest.importorskip("grpc_health.v1.health_pb2")
    stub = pytest.importorskip("grpc_health.v1.health_pb2_grpc").HealthStub(channel)
    assert stub.Check(pb2.HealthCheckRequest(service=schema.SERVICE), timeout=TIMEOUT).status == 1
    # The same messages and methods, but for what newer packages add.
    assert pb2.DESCRIPTOR.serialized_pb
    mine = health.file_descriptor()
    theirs = type(mine).FromString(pb2.DESCRIPTOR.serialized_pb)
    for name in ("HealthCheckRequest", "HealthCheckResponse"):
        (a,), (b,) = ([m for m in file.message_type if m.name == name] for file in (mine, theirs))
        assert [(f.name, f.number, f.type) for f in a.field] == [
            (f.name, f.number, f.type) for f in b.field
        ]
        assert [[v.name for v in e.value] for e in a.enum_type] == [
            [v.name for v in e.value] for e in b.enum_type
        ]


def reflection_stub(channel: grpc.Channel, package: str) -> Any:
    messages = pytest.importorskip("grpc_reflection.v1alpha.reflection_pb2")
    return messages, channel.stream_stream(
        f"/{package}.ServerReflection/ServerReflectionInfo",
        request_serializer=messages.ServerReflectionRequest.SerializeToString,
        response_deserializer=messages.ServerReflectionResponse.FromString,
    )


@reflects
@pytest.mark.parametrize("package", ["grpc.reflection.v1", "grpc.reflection.v1alpha"])
def test_reflection_lists_and_describes(channel: grpc.Channel, package: str) -> None:
    messages, ask = reflection_stub(channel, package)
    asked = [
        messages.ServerReflectionRequest(list_services=""),
        messages.ServerReflectionRequest(file_containing_symbol=schema.SERVICE),
        messages.ServerReflectionRequest(file_containing_symbol="grpc.health.v1.Health"),
        messages.ServerReflectionRequest(file_by_filename="nothing.proto"),
    ]
    asked += [
        messages.ServerReflectionRequest(file_containing_symbol=f"{package}.ServerReflection")
    ]
    listed, milvus, health_file, nothing, itself = ask(iter(asked), timeout=TIMEOUT)
    names = {service.name for service in listed.list_services_response.service}
    assert {schema.SERVICE, health.SERVICE, f"{package}.ServerReflection"} <= names
    files = [
        type(health.file_descriptor()).FromString(raw)
        for raw in milvus.file_descriptor_response.file_descriptor_proto
    ]
    service = next(service for file in files for service in file.service)
    assert {method.name for method in service.method} == set(schema.RPCS)
    assert len(health_file.file_descriptor_response.file_descriptor_proto) == 1
    assert len(itself.file_descriptor_response.file_descriptor_proto) == 1
    assert nothing.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


@reflects
def test_reflection_left_open_does_not_hold_up_the_end(
    server: Server, channel: grpc.Channel
) -> None:
    messages, ask = reflection_stub(channel, "grpc.reflection.v1alpha")
    requests: SimpleQueue[Any] = SimpleQueue()
    requests.put(messages.ServerReflectionRequest(list_services=""))
    stream = ask(iter(requests.get, None), timeout=TIMEOUT)
    assert next(stream).list_services_response.service
    began = time.monotonic()
    server.stop(TIMEOUT)
    requests.put(None)
    with pytest.raises(grpc.RpcError):
        next(stream)
    assert time.monotonic() - began < TIMEOUT / 2


def test_other_services_stay_unknown(channel: grpc.Channel) -> None:
    for path in ("/nobody.Knows/It", schema.method_path("Nonsense")):
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(path)(b"", timeout=TIMEOUT)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
