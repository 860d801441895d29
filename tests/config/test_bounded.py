"""Budgets that nobody set fit into what the process may take; those that somebody set stay, with a
warning.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from milvine.cli import configuration
from milvine.cli.configuration import configure, flag
from milvine.config import Configuration, Settings, bounded
from milvine.config.bounded import LEAST_BYTES, PROGRAM_BYTES, bounds
from milvine.engine.database import Database
from milvine.limits import MIB
from milvine.server.configuration.running import RunningConfiguration
from milvine.server.memory import tuning

SMALL = 200 * MIB


def configured(monkeypatch: pytest.MonkeyPatch, limit: int, **given: str) -> Configuration:
    monkeypatch.setattr(configuration, "memory_limit", lambda: limit)
    return configure({name: flag("--set", value) for name, value in given.items()}, environment={})


def test_defaults_fit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = configured(monkeypatch, SMALL)
    (notice,) = found.notices
    assert (
        notice == "This process may take 209715200 bytes of memory. Hence, unless you set them:"
        " cache.insert_buffer_size=25MB, storage.auto_flush_tail_bytes=25MB,"
        " network.request_bytes_max=25MB, cache.cache_size=50MB"
    )
    assert str(found.values["cache.insert_buffer_size"].origin) == "default for 200MB of memory"
    assert found.settings.insert_buffer_size == 25 * MIB
    with Database.open(tmp_path / "data", found.settings) as database:
        assert RunningConfiguration(database, found).get("cache.insert_buffer_size") == "25MB"


@pytest.mark.parametrize("limit", [1, 100 * MIB, SMALL, 1000 * MIB, 1 << 34])
def test_together_they_leave_room_for_the_program(limit: int) -> None:
    settings = bounded(Configuration.of(Settings()), limit).settings
    held = settings.insert_buffer_size + 2 * settings.request_bytes_max
    least = 3 * LEAST_BYTES
    assert held <= max(limit - PROGRAM_BYTES, least)
    assert settings.insert_buffer_size + settings.cache_size < max(limit, least)
    assert (
        min(settings.insert_buffer_size, settings.request_bytes_max, settings.cache_size)
        >= LEAST_BYTES
    )


@pytest.mark.parametrize("limit", [0, 1 << 35])
def test_where_there_is_enough_defaults_are_defaults(
    monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    assert bounded(Configuration.of(Settings()), limit).settings == Settings()
    found = configured(monkeypatch, limit)
    assert (
        found.notices == () and found.settings.insert_buffer_size == Settings().insert_buffer_size
    )
    assert str(found.values["cache.insert_buffer_size"].origin) == "default"


def test_what_is_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    found = configured(monkeypatch, SMALL, **{"cache.insert_buffer_size": "64MB"})
    assert found.settings.insert_buffer_size == 64 * MIB and found.settings.cache_size == 50 * MIB
    assert "insert_buffer_size" not in found.notices[0] and len(found.notices) == 1


def test_a_sum_that_does_not_fit_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    for size in ("135MB", "165MB", "190MB"):  # beside 50 MB of cache
        notices = configured(monkeypatch, SMALL, **{"cache.insert_buffer_size": size}).notices
        told.append([notice for notice in notices if "together" in notice])
    allow = "cache.cache_size and cache.insert_buffer_size allow"
    its = "the 209715200 bytes of memory that this process may take"
    assert told[1:] == [
        [f"{allow} {215 * MIB} bytes together, more than {its}"],
        [f"{allow} {240 * MIB} bytes together, more than {its}"],
    ]
    assert told[0] == [f"{allow} {185 * MIB} bytes together, nearly all of {its}"]
    assert configured(monkeypatch, 0, **{"cache.cache_size": "4000GB"}).notices == ()


def test_no_budget_is_larger_than_with_more_memory() -> None:
    sizes = [bounds(limit * MIB) for limit in (50, 100, 150, 200, 400, 10_000)]
    for less, more in pairwise(sizes):
        assert all(less[name] <= more[name] for name in less)


def test_the_allocator_keeps_less_of_less() -> None:
    threshold, trim = -3, -1
    assert tuning(0) == tuning(1 << 40)
    assert tuning(0)[trim] == 512 * MIB and tuning(0)[threshold] == 32 * MIB
    assert tuning(SMALL)[trim] < 8 * MIB and tuning(SMALL)[threshold] < MIB
