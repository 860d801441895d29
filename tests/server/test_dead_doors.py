"""A door that dies of an error: it comes back, or every probe says so and the process ends for its
supervisor.
"""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.events import Event, Events, JobFailed
from milvine.interpreter import running
from milvine.server.app import Server
from milvine.server.doors import door_probe, grpc_serving
from milvine.server.doors.door import WAITING_CALLS_MAX
from milvine.server.doors.door_probe import DoorProbe
from milvine.server.doors.grpc_door import GrpcDoor
from milvine.server.health import Health
from milvine.wire.health import CHECK, HealthCheckResponse
from milvine.wire.schema import method_path

httpx = pytest.importorskip("httpx")
uvicorn = pytest.importorskip("uvicorn")
TIMEOUT = 30
DOORS = ("grpc", "native") if find_spec("pygrpc_native") else ("grpc",)
SETTINGS = Settings(background=False, port=0, http_port=0, door="grpc", search_threads=1)


@pytest.fixture
def unforeseen(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would have ended a thread."""
    seen: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", seen.append)
    return seen


def fails_once(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """The next call that arrives at a server of grpcio ends the thread that takes calls: it finds
    no thread that would answer it.
    """
    as_it_is, left = ThreadPoolExecutor.submit, [error]

    def submit(threads: Any, *work: Any, **more: Any) -> Any:
        if left and threading.current_thread().name.endswith("(_serve)"):
            raise left.pop()
        return as_it_is(threads, *work, **more)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", submit)


def until(what: Callable[[], object]) -> None:
    end = time.monotonic() + TIMEOUT
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def ask(channel: grpc.Channel, rpc: str = "Cmd", seconds: float = TIMEOUT) -> Any:
    return channel.unary_unary(method_path(rpc))(b"", timeout=seconds)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't start new thread")])
def test_the_grpc_door_lives_on(
    monkeypatch: pytest.MonkeyPatch, unforeseen: list[Any], error: Exception
) -> None:
    door = GrpcDoor(lambda rpc, request: b"yes", ("Cmd",), "127.0.0.1", 0)
    door.start()
    with grpc.insecure_channel(f"127.0.0.1:{door.port}") as channel:
        assert ask(channel) == b"yes"
        fails_once(monkeypatch, error)
        with pytest.raises(grpc.RpcError):
            ask(channel, seconds=1)  # what arrives at that moment is lost
        for _ in range(3):
            assert ask(channel) == b"yes"
        # What came of the lost call ended the thread once more.
        assert unforeseen[0].exc_value is error and not door.ended
        began = time.monotonic()
        door.stop(0.1)
        assert time.monotonic() - began < TIMEOUT


@pytest.fixture(params=DOORS)
def serve(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Makes a door of each kind, serving, and a channel to it."""
    left: list[Any] = []

    def make(call: Callable[[str, bytes], bytes], rpcs: tuple[str, ...]) -> grpc.Channel:
        name = (
            "milvine.server.doors.native_door"
            if request.param == "native"
            else "milvine.server.doors.grpc_door"
        )
        kind = getattr(
            import_module(name), "NativeDoor" if request.param == "native" else "GrpcDoor"
        )
        left.append(kind(call, rpcs, "127.0.0.1", 0))
        left[0].start()
        left.append(grpc.insecure_channel(f"127.0.0.1:{left[0].port}"))
        return left[1]

    yield make
    left[1].close()
    left[0].stop(0)


def test_errors_that_nobody_foresaw_end_no_door(
    serve: Callable[..., Any], unforeseen: list[Any]
) -> None:
    def call(rpc: str, request: bytes) -> bytes:
        if rpc == "Search":
            raise ValueError("unforeseen")
        return b"yes"

    channel = serve(call, ("Search", "Cmd"))
    for _ in range(8):
        with pytest.raises(grpc.RpcError) as caught:
            ask(channel, "Search", seconds=5)
        assert caught.value.code() is grpc.StatusCode.UNKNOWN
    assert ask(channel) == b"yes"


def test_health_is_answered_while_every_thread_waits(serve: Callable[..., Any]) -> None:
    begun, release = threading.Semaphore(0), threading.Event()

    def call(rpc: str, request: bytes) -> bytes:
        if rpc != CHECK:
            begun.release()
            release.wait(TIMEOUT)
        return b""

    channel = serve(call, ("CreateIndex", CHECK))
    waiting = [
        channel.unary_unary(method_path("CreateIndex")).future(b"", timeout=TIMEOUT)
        for _ in range(WAITING_CALLS_MAX)
    ]
    for _ in waiting:
        assert begun.acquire(timeout=TIMEOUT)
    assert channel.unary_unary(CHECK)(b"", timeout=TIMEOUT) == b""
    release.set()
    assert [each.result() for each in waiting] == [b""] * WAITING_CALLS_MAX


@pytest.fixture
def told() -> list[Event]:
    return []


@pytest.fixture
def server(tmp_path: Path, told: list[Event]) -> Iterator[Server]:
    pytest.importorskip("fastapi")
    server = Server.start(tmp_path / "data", SETTINGS, Events(told.append))
    yield server
    server.stop(0)


def probe(server: Server, path: str) -> tuple[int, str]:
    reply = httpx.get(f"http://{server.http_address}/{path}", timeout=TIMEOUT, trust_env=False)
    return reply.status_code, reply.json().get("reason", "")


def test_every_probe_names_a_door_that_does_not_come_back(
    server: Server, told: list[Event], monkeypatch: pytest.MonkeyPatch, unforeseen: list[Any]
) -> None:
    assert probe(server, "readyz") == probe(server, "healthz") == (200, "")
    assert not server.look_after()
    # A release of grpcio of which nobody knows how its thread is started.
    monkeypatch.setattr(grpc_serving, "import_module", lambda name: SimpleNamespace())
    fails_once(monkeypatch, MemoryError())
    with grpc.insecure_channel(server.address) as channel, pytest.raises(grpc.RpcError):
        ask(channel, seconds=1)
    until(server.look_after)
    reason = (
        "The grpc door is dead: grpcio's thread that takes calls has ended, and it cannot be"
        " replaced"
    )
    assert probe(server, "readyz") == probe(server, "healthz") == (503, reason)
    assert JobFailed("serving", reason) in told


def test_an_http_door_that_ended_is_told_at_the_grpc_port(
    server: Server, told: list[Event], monkeypatch: pytest.MonkeyPatch, unforeseen: list[Any]
) -> None:
    async def fails(running: Any, counter: int) -> bool:
        raise MemoryError

    with grpc.insecure_channel(server.address) as channel:
        assert health_at(channel) == HealthCheckResponse.SERVING
        monkeypatch.setattr(uvicorn.Server, "on_tick", fails)
        until(server.look_after)
        assert health_at(channel) == HealthCheckResponse.NOT_SERVING
    reason = "The http door is dead: the thread milvine-http has ended"
    assert JobFailed("serving", reason) in told and isinstance(unforeseen[0].exc_value, MemoryError)


def health_at(channel: grpc.Channel) -> int:
    reply = channel.unary_unary(CHECK)(b"", timeout=TIMEOUT)
    return int(HealthCheckResponse.FromString(reply).status)


def silent_port() -> GrpcDoor:
    """It listens, and nobody takes the calls."""
    return GrpcDoor(lambda rpc, request: b"", (), "127.0.0.1", 0)


def test_a_port_that_does_not_answer_is_not_ready_and_after_a_while_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    door = silent_port()
    asking = DoorProbe(door.own_target, fresh_seconds=0.0, deadline_seconds=0.2)
    health = Health(lambda: None)
    health.vouch_for((), asking)
    try:
        assert health.unanswered().startswith("Calls at the gRPC port are not answered: ")
        assert health.trouble() == "" and health.dead() == ""
        monkeypatch.setattr(door_probe, "DEAD_SECONDS", 0.0)
        assert health.dead().startswith("Calls at the gRPC port are not answered: ")
    finally:
        asking.close()
        door.start()
        door.stop(0)
    assert asking.trouble() == ""


def test_many_who_ask_are_one_call() -> None:
    calls: list[str] = []
    door = GrpcDoor(lambda rpc, request: calls.append(rpc) or b"", (CHECK,), "127.0.0.1", 0)
    door.start()
    asking = DoorProbe(door.own_target, fresh_seconds=1000.0)
    assert [asking.trouble() for _ in range(20)] == [""] * 20 and calls == [CHECK]
    asking.close()
    door.stop(0)


SERVER = """
import sys, threading, types
from concurrent.futures import ThreadPoolExecutor
from milvine.server.doors import grpc_serving
grpc_serving.import_module = lambda name: types.SimpleNamespace()
def fails(threads, *work, **more):
    raise MemoryError
def listen():
    sys.stdin.readline()
    ThreadPoolExecutor.submit = fails
threading.Thread(target=listen, daemon=True).start()
from milvine.cli import main
main()
"""


def test_the_process_ends_for_its_supervisor(tmp_path: Path) -> None:
    command = running(
        SERVER,
        "serve",
        "--port",
        "0",
        "--http-port",
        "0",
        "--data",
        str(tmp_path),
        "--door",
        "grpc",
    )
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stdout and process.stdin
            address = re.findall(r"grpc (\S+),", process.stdout.readline())[0]
            process.stdin.write("\n")
            process.stdin.flush()
            with grpc.insecure_channel(address) as channel:
                while process.poll() is None:
                    with pytest.raises(grpc.RpcError):
                        while True:
                            ask(channel, seconds=0.5)
            _, said = process.communicate(timeout=TIMEOUT)
        finally:
            process.kill()
    assert (
        process.returncode == 1 and "job failed: job=serving reason=The grpc door is dead" in said
    )
    Database.open(tmp_path, SETTINGS).close()
