"""Metrics of a whole server: when there are any, and when the extra is missing."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.events import Event, Events
from milvine.events.server import MetricsMissing
from milvine.server import metrics as package
from milvine.server.app import Server
from milvine.server.metrics import open_metrics
from tests.server.metrics.running import samples_of, value
from tests.server.metrics.test_push import gateway, wait_for

_QUIET: dict[str, Any] = {"background": False, "search_threads": 1, "port": 0}


def test_a_server_pushes_and_stops(tmp_path: Path) -> None:
    with gateway() as (port, pushes):
        settings = Settings(**_QUIET, http_enable=False, metric_enable=True, metric_port=port)
        server = Server.start(tmp_path, settings)
        try:
            wait_for(lambda: pushes)
        finally:
            server.stop()
        assert pushes[0][1].endswith(f"%3A{server.port}")
        assert value(samples_of(pushes[-1][2]), "keeping_alive_seconds_total") > 0
    assert not any(thread.name == "milvine-push" for thread in threading.enumerate())


def _open(tmp_path: Path, **chosen: Any) -> tuple[object, list[Event]]:
    told: list[Event] = []
    settings = Settings(**_QUIET, **chosen)
    with Database.open(tmp_path, settings) as database:
        metrics = open_metrics(database, lambda: (2, 7), settings, Events(told.append), 1)
        if metrics is not None:
            metrics.stop()
            samples = samples_of(generate_latest(metrics.registry).decode())  # type: ignore[attr-defined]
            assert value(samples, "milvine_request_bytes_in_flight") == 7
    return metrics, told


def test_nothing_is_computed_for_nobody(tmp_path: Path) -> None:
    assert _open(tmp_path, http_enable=False) == (None, [])
    assert _open(tmp_path, http_enable=True)[0] is not None


def test_without_the_extra_everything_else_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(package, "find_spec", lambda name: None if name == "psutil" else real(name))
    assert _open(tmp_path, http_enable=True) == (None, [])
    metrics, told = _open(tmp_path, http_enable=False, metric_enable=True)
    assert metrics is None
    assert told == [MetricsMissing("it needs psutil: pip install 'milvine[server]'")]


def test_the_root_needs_no_extra() -> None:
    """`milvine.server.app` is imported without prometheus-client, psutil and FastAPI."""
    code = (
        "import sys; sys.modules.update(prometheus_client=None, psutil=None, fastapi=None); import"
        " milvine.server.app"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": "src"})
