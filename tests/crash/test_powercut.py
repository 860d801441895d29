"""Power cuts: storage that forgets, tears and reorders what was not synced.
MILVINE_CRASH_STATES=200 for a longer run.

The last two tests break the promise on purpose, to show that the harness would notice.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from milvine.testing.crash.__main__ import summary
from milvine.testing.crash.powercut import PowerCuts
from milvine.testing.mix import Mix

STATES = int(os.environ.get("MILVINE_CRASH_STATES", "40"))

pytestmark = [pytest.mark.crash, pytest.mark.timeout(120 + 5 * STATES)]


def test_power_cuts(tmp_path: Path, tracer: Path) -> None:
    report = PowerCuts(tmp_path, tracer, seed=1).run(STATES)
    assert report.ok, "\n".join([summary("states", STATES, report), *report.notes])
    assert report.rows and report.acknowledged


def test_a_log_without_syncs_loses_acknowledged_rows(tmp_path: Path, tracer: Path) -> None:
    report = PowerCuts(tmp_path, tracer, seed=3, settings={"wal_sync": False}, actions=60).run(20)
    assert report.acknowledged and report.lost


@pytest.mark.parametrize(
    ("log", "lies"),
    [
        ("home", "*"),
        ("elsewhere", "logs/*"),
        ("home", "data/segments/*"),
        ("elsewhere", "data/catalog.sqlite-wal"),
    ],
)
def test_storage_that_ignores_syncs_is_noticed(
    log: str, lies: str, tmp_path: Path, tracer: Path
) -> None:
    report = PowerCuts(tmp_path, tracer, seed=3, actions=80, lies=lies, mix=Mix(logs=(log,))).run(
        10
    )
    assert report.acknowledged and not report.ok
