"""Events as log lines, and the memory listener on events of every kind."""

from __future__ import annotations

import logging

import pytest

from milvine.events import Events, FilesRemoved, Flushed, IndexSetAside, JobFailed, Stopping, TornTailCut
from milvine.logs import line, log_events
from milvine.server.memory import bound_free_memory, trim_after_flush


def test_lines() -> None:
    assert line(TornTailCut("1.log", 40, 7)) == "torn tail cut: file=1.log offset=40 bytes_cut=7"
    assert line(Flushed(1, 2, 3, 4, 0.123456, 5)).endswith(" segments=3 lsn=4 seconds=0.123 size=5")
    assert line(Stopping()) == "stopping"
    aside = IndexSetAside(1, 2, "index-3.mlv", "index-3.mlv is damaged at byte 0: ...")
    assert line(aside).startswith("index set aside: collection_id=1 segment_id=2 file=index-3.mlv reason=index-3")


def test_levels(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("milvine.test")
    with caplog.at_level(logging.INFO, logger.name):
        events = Events(log_events(logger))
        for event in (JobFailed("merge", "disk full"), TornTailCut("1.log", 0, 1), Stopping(), FilesRemoved(("a",))):
            events.emit(event)
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING", "INFO"]


def test_memory_is_bounded_wherever_this_runs() -> None:
    bound_free_memory()
    listen = trim_after_flush()
    listen(Flushed(1, 2, 3, 4, 0.1))
    listen(Stopping())
