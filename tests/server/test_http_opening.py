"""Whether a server has an HTTP door: switched off, without its packages, at a busy port."""

from __future__ import annotations

import importlib.util
import socket
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from milvine.config import Configuration, Settings
from milvine.config.sources import FLAG, Origin
from milvine.events import Event, Events
from milvine.events.server import HttpMissing, Serving
from milvine.server.app import Server
from milvine.server.doors import http_opening
from milvine.server.doors.door import DoorFailed, target

QUIET = Settings(background=False, search_threads=1, port=0, door="grpc")


@pytest.fixture
def without_fastapi(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> Any:
        return None if name == "fastapi" else importlib.util.find_spec(name)

    monkeypatch.setattr(http_opening, "find_spec", find)


def test_both_doors_are_told_and_answer(tmp_path: Path) -> None:
    told: list[Event] = []
    server = Server.start(tmp_path / "data", QUIET, Events(told.append))
    try:
        serving = [(event.address, event.door) for event in told if isinstance(event, Serving)]
        assert server.lane_port is not None
        lane = target("127.0.0.1", server.lane_port)
        assert serving == [(server.address, "grpc"), (lane, "lane"), (server.http_address, "http")]
        with urllib.request.urlopen(f"http://{server.http_address}/state", timeout=30) as reply:
            assert reply.read() == b'{"message":"Success","code":0}'
    finally:
        server.stop(5)
    with pytest.raises(OSError):
        urllib.request.urlopen(f"http://{server.http_address}/state", timeout=5)


def test_switched_off(tmp_path: Path) -> None:
    server = Server.start(tmp_path / "data", replace(QUIET, http_enable=False))
    assert server.http_address == ""
    server.stop(5)


def test_a_busy_port_lets_go_of_everything(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        busy = replace(QUIET, http_port=taken.getsockname()[1])
        with pytest.raises(DoorFailed, match="the address is in use"):
            Server.start(tmp_path / "data", busy)
    Server.start(tmp_path / "data", QUIET).stop(5)  # the folder is free again


@pytest.mark.usefixtures("without_fastapi")
def test_without_the_extra_grpc_goes_on(tmp_path: Path) -> None:
    told: list[Event] = []
    server = Server.start(tmp_path / "data", QUIET, Events(told.append))
    assert server.http_address == "" and server.port
    reasons = [event.reason for event in told if isinstance(event, HttpMissing)]
    assert reasons == ["The REST API needs fastapi: pip install 'milvine[server]'"]
    server.stop(5)


@pytest.mark.usefixtures("without_fastapi")
def test_without_the_extra_a_flag_is_refused(tmp_path: Path) -> None:
    asked = Configuration.of(QUIET)
    key = "network.http.port"
    value = replace(asked.values[key], origin=Origin(FLAG, "--http-port"))
    with pytest.raises(DoorFailed, match="The REST API needs fastapi"):
        Server.start(
            tmp_path / "data", QUIET, None, replace(asked, values={**asked.values, key: value})
        )
