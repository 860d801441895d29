"""Which partitions, segments and tail blocks a query reads, and how."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from dataclasses import dataclass

from milvine.errors import IllegalPartition, PartitionNotFound, SegmentNotFound
from milvine.limits import DEFAULT_TAG
from milvine.search.patterns import PatternClock, matcher
from milvine.segment.version import SegmentRun, TailBlock, Version, runs_of
from milvine.types import RowMask, Scanned


@dataclass(frozen=True, slots=True)
class SegmentTask:
    """Scan one segment, or a run of small neighbours."""

    run: SegmentRun

    @property
    def rows(self) -> int:
        return self.run.rows

    @property
    def mask(self) -> RowMask | None:
        return self.run.mask

    @property
    def live(self) -> int:
        return self.rows if self.mask is None else self.mask.live

    def scanned(self) -> Scanned:
        """What a scan of it went over, once it has ended."""
        segments = tuple(each.segment.record.id for each in self.run.segments)
        kind = self.run.segments[0].segment.record.index.type.name if self.run.indexed else "exact"
        return Scanned(kind, segments, self.rows, self.rows - self.live)


@dataclass(frozen=True, slots=True)
class TailTask:
    """Scan one block of unflushed rows."""

    block: TailBlock
    mask: RowMask | None

    @property
    def rows(self) -> int:
        return self.block.rows

    @property
    def live(self) -> int:
        return self.rows if self.mask is None else self.mask.live

    def scanned(self) -> Scanned:
        """What a scan of it went over."""
        return Scanned("tail", (), self.rows, self.rows - self.live)


Task = SegmentTask | TailTask


def select_partitions(version: Version, patterns: Sequence[str]) -> frozenset[int] | None:
    """Ids of the partitions that the tag patterns match; None for the whole collection (specification 3.12).

    A pattern is trimmed; it selects the tag it equals, and every tag but `_default` that it matches whole as a
    regular expression.

    Raises:
        PartitionNotFound: nothing matched.
        IllegalPartition: a pattern is neither a tag nor a regular expression, or all take too long to match.
    """
    if not patterns:
        return None
    chosen: set[int] = set()
    clock = PatternClock()
    for pattern in patterns:
        chosen |= _matching(version, pattern.strip(" \t\r\n"), clock)
    if not chosen:
        raise PartitionNotFound.unmatched()
    return frozenset(chosen)


def plan_segments(version: Version, segments: Set[int]) -> list[Task]:
    """The tasks of a search in some segments by id; those that this version does not hold are left out.

    Raises:
        SegmentNotFound: it holds none of them.
    """
    chosen = [each for each in version.segments if each.segment.record.id in segments]
    if not chosen:
        raise SegmentNotFound.no_file()
    return [SegmentTask(run) for run in runs_of(chosen)]


def _matching(version: Version, pattern: str, clock: PatternClock) -> set[int]:
    exact = version.by_tag.get(pattern)
    chosen = {exact.id} if exact else set()
    if pattern == DEFAULT_TAG or re.escape(pattern) == pattern:
        return chosen
    clock.check(pattern)
    try:
        matches = matcher(pattern)
    except IllegalPartition:
        if exact:
            return chosen
        raise
    for partition in version.partitions:
        if partition.tag != DEFAULT_TAG and matches(partition.tag):
            chosen.add(partition.id)
        clock.check(pattern)
    return chosen


def plan(version: Version, partitions: frozenset[int] | None) -> list[Task]:
    """The tasks of a search, also those without a live row (they decide the shape of the answer)."""
    if partitions is None:
        runs = version.segment_set.runs
    else:
        runs = runs_of(s for s in version.segments if s.segment.record.partition_id in partitions)
    tasks: list[Task] = [SegmentTask(run) for run in runs]
    for block in version.tail:
        mask = block.within(partitions)
        if partitions is None or mask is None or mask.live:
            tasks.append(TailTask(block, mask))
    return tasks
