"""Budgets that nobody set fit into what the process may take; those that somebody set stay, with a
warning.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from milvine.cli.configuration import configure, flag
from milvine.config import Configuration, Settings, bounded
from milvine.engine.database import Database
from milvine.limits import MIB
from milvine.memory_plan import UNBOUNDED, plan
from milvine.server.configuration.running import RunningConfiguration
from milvine.server.memory import tuning

SMALL = 200 * MIB


def configured(limit: int, **given: str) -> Configuration:
    flags = {name: flag("--set", value) for name, value in given.items()}
    return configure(flags, environment={}, memory=limit)


def test_defaults_fit(tmp_path: Path) -> None:
    found = configured(SMALL)
    (notice,) = found.notices
    assert (
        notice == "This process may take 209715200 bytes of memory. Hence, unless you set them:"
        " cache.insert_buffer_size=16MB, storage.auto_flush_tail_bytes=16MB,"
        " network.request_bytes_max=16MB, cache.cache_size=50MB"
    )
    assert str(found.values["cache.insert_buffer_size"].origin) == "default for 200MB of memory"
    assert found.settings.insert_buffer_size == 16 * MIB
    with Database.open(tmp_path / "data", found.settings) as database:
        assert RunningConfiguration(database, found).get("cache.insert_buffer_size") == "16MB"


def test_files_that_are_read_into_memory_leave_half_to_the_others() -> None:
    mapped, read = (
        configured(SMALL).settings,
        configured(SMALL, **{"storage.mmap": "false"}).settings,
    )
    assert read.cache_size == mapped.cache_size == 50 * MIB
    assert (mapped.insert_buffer_size, read.insert_buffer_size) == (16 * MIB, 8 * MIB)


@pytest.mark.parametrize("limit", [0, 1 << 35])
def test_where_there_is_enough_defaults_are_defaults(limit: int) -> None:
    assert bounded(Configuration.of(Settings()), limit).settings == Settings()
    found = configured(limit)
    assert (
        found.notices == () and found.settings.insert_buffer_size == Settings().insert_buffer_size
    )
    assert str(found.values["cache.insert_buffer_size"].origin) == "default"


def test_what_is_set_stays() -> None:
    found = configured(SMALL, **{"cache.insert_buffer_size": "64MB"})
    assert found.settings.insert_buffer_size == 64 * MIB and found.settings.cache_size == 50 * MIB
    assert "insert_buffer_size" not in found.notices[0] and len(found.notices) == 1


def test_a_sum_that_does_not_fit_is_told() -> None:
    told = []
    for size in ("135MB", "165MB", "190MB"):  # beside 50 MB of cache
        notices = configured(SMALL, **{"cache.insert_buffer_size": size}).notices
        told.append([notice for notice in notices if "together" in notice])
    allow = "cache.cache_size and cache.insert_buffer_size allow"
    its = "the 209715200 bytes of memory that this process may take"
    assert told[1:] == [
        [f"{allow} {215 * MIB} bytes together, more than {its}"],
        [f"{allow} {240 * MIB} bytes together, more than {its}"],
    ]
    assert told[0] == [f"{allow} {185 * MIB} bytes together, nearly all of {its}"]
    assert configured(0, **{"cache.cache_size": "4000GB"}).notices == ()


def test_the_allocator_keeps_less_of_less() -> None:
    threshold, trim = -3, -1
    assert tuning(UNBOUNDED) == tuning(plan(1 << 40, Settings()))
    assert tuning(UNBOUNDED)[trim] == 512 * MIB and tuning(UNBOUNDED)[threshold] == 32 * MIB
    small = tuning(plan(SMALL, Settings()))
    assert small[trim] < 8 * MIB and small[threshold] < MIB
