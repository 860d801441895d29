"""The memory plan: what each part has, that all of them fit together, and that more memory never
means less of anything.
"""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise

import pytest

from milvine.config import Configuration, Settings, bounded
from milvine.limits import MIB, RESULT_BYTES_MAX
from milvine.memory_plan import (
    ANY_BYTES,
    BUILDER_BYTES,
    PARTS,
    PROGRAM_BYTES,
    UNBOUNDED,
    Kind,
    MemoryPlan,
    bounds,
    builder_bytes,
    plan,
    plan_here,
)

GIB = 1 << 30
LIMITS = [128, 129, 130, 151, 200, 256, 333, 512, 1000, *(1 << power for power in range(10, 21))]
"""MiB, from 128 MiB to 1 TiB."""


def planned(limit: int, mapped: bool = True) -> MemoryPlan:
    """Of a database with its defaults, made to fit as at the start."""
    settings = Configuration.of(Settings(mmap=mapped))
    return plan(limit, bounded(settings, limit).settings)


@pytest.mark.parametrize("limit", LIMITS)
def test_what_can_be_held_at_once_fits(limit: int) -> None:
    made = planned(limit * MIB)
    held = sum(part.held * size for part, size in made.parts() if part.kind is Kind.OWN)
    assert PROGRAM_BYTES + held == made.most <= limit * MIB


@pytest.mark.parametrize("limit", [limit for limit in LIMITS if limit >= 160])
def test_it_fits_too_where_files_are_read_into_memory(limit: int) -> None:
    made = planned(limit * MIB, mapped=False)
    assert made.most <= limit * MIB
    assert made.most > PROGRAM_BYTES + made.files


@pytest.mark.parametrize("mapped", [True, False])
def test_no_part_is_larger_than_with_more_memory(mapped: bool) -> None:
    plans = [planned(limit * MIB, mapped) for limit in (*LIMITS, 1 << 30)]
    for less, more in pairwise(plans):
        for (part, size), (_, larger) in zip(less.parts(), more.parts(), strict=True):
            assert size <= larger, (part.name, less.limit)


@pytest.mark.parametrize("limit", [1, 64 * MIB, 100 * MIB])
def test_where_the_program_alone_does_not_fit_there_is_enough_for_one_call(limit: int) -> None:
    made = planned(limit)
    assert min(made.insert_buffer, made.requests) == 4 * MIB and made.files == 8 * MIB
    assert min(made.searches, made.answers) >= MIB and made.inserts_at_once == 2
    assert made.tables == 0


def test_values() -> None:
    """Of a machine with much memory, of one with some, and of a small container."""
    much, some, little = planned(64 * GIB), planned(8 * GIB), planned(200 * MIB)
    assert (much.insert_buffer, much.flush_tail, much.requests, much.files) == (
        GIB,
        128 * MIB,
        2 * GIB,
        4 * GIB,
    )
    assert (much.searches, much.search_portion, much.answers) == (GIB, GIB // 4, RESULT_BYTES_MAX)
    assert (much.unsent_replies, much.freed, much.prefetch) == (64 * MIB, 512 * MIB, 128 * MIB)
    assert much.tables == (64 * GIB - 100 * MIB) // 8 and much.mapped_files == 32 * GIB
    rest = 8 * GIB - 100 * MIB
    assert (some.insert_buffer, some.requests) == (GIB, rest // 6 // MIB * MIB)
    assert (some.searches, some.answers, some.tables) == (rest // 16, rest // 16, rest // 8)
    assert (little.insert_buffer, little.requests, little.files) == (16 * MIB, 16 * MIB, 50 * MIB)
    assert (little.searches, little.answers) == (100 * MIB // 16, 100 * MIB // 16)
    assert (little.prefetch, little.mapped_files) == (25 * MIB, 100 * MIB)
    assert [made.inserts_at_once for made in (much, some, little)] == [256, 128, 3]


def test_where_nobody_knows_the_limit_there_is_none() -> None:
    made = planned(0)
    assert made == UNBOUNDED and bounds(0) == {}
    assert made.tables == made.mapped_files == ANY_BYTES and made.answers == RESULT_BYTES_MAX


def test_what_is_set_counts_as_it_is_and_changes_no_other_part() -> None:
    settings = bounded(Configuration.of(Settings()), GIB).settings
    made = plan(GIB, settings)
    other = plan(GIB, replace(settings, insert_buffer_size=3 * GIB))
    assert other == replace(made, insert_buffer=3 * GIB) and other.most > GIB


def test_a_table_of_all_parts() -> None:
    names = [part.name for part in PARTS]
    assert names == [f.name for f in fields(MemoryPlan) if f.name not in ("limit", "mapped")]
    settings = Settings()
    for part in PARTS:
        assert part.purpose and part.least <= part.most
        assert not part.setting or getattr(settings, part.setting) == part.most


def test_that_of_this_process() -> None:
    settings = Settings(insert_buffer_size=5 * MIB)
    assert plan_here(settings) == plan(plan_here(settings).limit, settings)
    assert plan_here(settings).insert_buffer == 5 * MIB


def test_what_a_builder_may_use() -> None:
    assert builder_bytes(0) == 0
    assert builder_bytes(GIB) == 768 * MIB - BUILDER_BYTES == 728 * MIB
    assert builder_bytes(1) == builder_bytes(BUILDER_BYTES) == 1
