"""The background threads outlive whatever goes wrong in a job."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.events import Event, Events, Flushed, JobFailed
from milvine.maintenance import worker
from milvine.types import MetricType


def test_an_unforeseen_error_ends_neither_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Event] = []
    broken = True
    due = worker.flush_due

    def faulty(*arguments: Any) -> bool:
        if broken:
            raise KeyError("unforeseen")
        return due(*arguments)

    monkeypatch.setattr(worker, "flush_due", faulty)
    settings = Settings(auto_flush_interval=0.02, auto_flush_tail_age=0.0, auto_flush_tail_bytes=0)
    with Database.open(tmp_path / "db", settings, Events(seen.append)) as database:
        database.create_collection("c", 4, 1024, MetricType.L2)
        database.collection("c").insert(np.ones((3, 4), np.float32), None)
        _until(
            lambda: any(
                isinstance(event, JobFailed) and "KeyError" in event.reason for event in seen
            )
        )
        broken = False
        _until(lambda: any(isinstance(event, Flushed) for event in seen))


def _until(reached: Any) -> None:
    deadline = time.monotonic() + 30
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)
