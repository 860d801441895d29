"""Pushing to a gateway: a small HTTP server stands in for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from milvine.config import Settings
from milvine.events import Event
from milvine.events.server import PushFailed, PushResumed
from milvine.server.metrics import push
from milvine.server.metrics.push import grouping_of
from tests.server.metrics.running import running, samples_of, value

Pushes = list[tuple[str, str, str]]


@contextmanager
def gateway(port: int = 0) -> Iterator[tuple[int, Pushes]]:
    """A port, and (method, path, text) of every push to it."""
    pushes: Pushes = []

    class Gateway(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            text = self.rfile.read(int(self.headers["Content-Length"])).decode()
            pushes.append((self.command, self.path, text))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Gateway)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_address[1], pushes
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push, "PERIOD_SECONDS", 0.05)


def test_pushes_as_1x_did(tmp_path: Path) -> None:
    with gateway() as (port, pushes):
        settings = {"metric_enable": True, "metric_port": port, "metric_instance_label": "here:1"}
        with running(tmp_path, **settings) as server:
            server.call.create()
            wait_for(lambda: len(pushes) >= 2)
        method, path, text = pushes[-1]  # the one at the end has everything
        assert (method, path) == (
            "PUT",
            "/metrics/job/milvus_metrics/cluster/milvus_cluster/instance/here%3A1",
        )
        assert value(samples_of(text), "add_group_request_total", outcome="success") == 1
    assert all(path == pushes[0][1] for _, path, _ in pushes)


def test_a_gateway_that_is_not_there_is_told_once(tmp_path: Path) -> None:
    with gateway() as (port, _):
        pass
    with running(tmp_path, metric_enable=True, metric_port=port) as server:

        def told(kind: type[Event]) -> int:
            return sum(isinstance(event, kind) for event in server.told)

        wait_for(lambda: told(PushFailed))
        time.sleep(0.2)
        with gateway(port) as (_, pushes):
            wait_for(lambda: len(pushes) >= 2)
        wait_for(lambda: told(PushFailed) == 2)
        assert told(PushResumed) == 1


def test_off_is_off(tmp_path: Path) -> None:
    before = threading.active_count()
    with running(tmp_path):
        assert threading.active_count() == before + 1  # the writer


def test_grouping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push.socket, "gethostname", lambda: "host")
    assert grouping_of(Settings(), 19530) == {"cluster": "milvus_cluster", "instance": "host:19530"}
    chosen = Settings(metric_cluster_label="c", metric_instance_label="i")
    assert grouping_of(chosen, 19530) == {"cluster": "c", "instance": "i"}

    def unreadable() -> str:
        raise OSError("no name")

    monkeypatch.setattr(push.socket, "gethostname", unreadable)
    assert grouping_of(Settings(), 19530)["instance"] == "pushgateway"
