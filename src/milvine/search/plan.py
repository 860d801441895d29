"""Which partitions, segments and tail blocks a query reads, and how."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from dataclasses import dataclass

from milvine.catalog.tags import trimmed
from milvine.errors import IllegalPartition, PartitionNotFound, SegmentNotFound
from milvine.limits import DEFAULT_TAG
from milvine.search.patterns import PatternClock, matcher
from milvine.segment.cache import FileCache
from milvine.segment.reference import RunReference
from milvine.segment.version import SegmentRun, TailBlock, Version, runs_of
from milvine.types import Choice, RowMask, Scanned


class SegmentTask:
    """Scan one segment, or a run of small neighbours.

    Attributes:
        rows, live: how many, and how many of them may be found.
        mask: the live rows; None where all are: kernels are faster without a selector.
    """

    __slots__ = ("_scanned", "live", "mask", "rows", "run")

    def __init__(self, run: SegmentRun) -> None:
        self.run, self.rows = run, run.rows
        self.mask, self.live = _live(run.mask, run.rows)
        self._scanned: dict[bool, Scanned] = {}

    def __reduce__(self) -> tuple[type[ClosedTask], tuple[RunReference]]:
        """For another process: the files are named, not sent."""
        return ClosedTask, (RunReference.of(self.run),)

    def chosen(self, recall: float, k: int) -> Choice | None:
        """What a scan for k hits makes of a recall that is asked for; None where nothing can be
        chosen.
        """
        tuning = self.run.scan_input().tuning
        if tuning is None:
            return None
        k = min(k, self.rows)
        return Choice(tuning.params(recall, k) or {}, tuning.curve(k))

    def scanned(self, indexed: bool = True) -> Scanned:
        """What a scan of it went over, once it has ended. `indexed`: it took the index, if there is
        one.
        """
        indexed = indexed and self.run.indexed
        scanned = self._scanned.get(indexed)
        if scanned is None:
            segments = tuple(each.segment.record.id for each in self.run.segments)
            record = self.run.segments[0].segment.record
            kind = "exact" if not indexed else "codes" if record.coded else record.index.type.name
            scanned = self._scanned[indexed] = Scanned(
                kind, segments, self.rows, self.rows - self.live
            )
        return scanned


@dataclass(frozen=True, slots=True)
class ClosedTask:
    """A `SegmentTask` that was pickled: names of files, segments, deletes that no file has.

    Whoever holds the version keeps its files from being removed until the scan has ended.
    """

    reference: RunReference

    def open(self, files: FileCache) -> SegmentTask:
        """The task over the files of this process.

        Raises:
            CorruptFile, StorageFailed: as `milvine.segment.reference.RunReference.open`.
        """
        return SegmentTask(self.reference.open(files))


class TailTask:
    """Scan one block of unflushed rows; attributes as those of `SegmentTask`. Pickled, it takes the
    rows along.
    """

    __slots__ = ("_scanned", "block", "live", "mask", "rows")

    def __init__(self, block: TailBlock, mask: RowMask | None) -> None:
        self.block, self.rows = block, block.rows
        self.mask, self.live = _live(mask, block.rows)
        self._scanned = Scanned("tail", (), self.rows, self.rows - self.live)

    def __reduce__(self) -> tuple[type[TailTask], tuple[TailBlock, RowMask | None]]:
        return TailTask, (self.block, self.mask)

    def chosen(self, recall: float, k: int) -> Choice | None:
        """Nothing can be: all its rows are compared."""
        return None

    def scanned(self, indexed: bool = True) -> Scanned:
        """What a scan of it went over."""
        return self._scanned


def _live(mask: RowMask | None, rows: int) -> tuple[RowMask | None, int]:
    return (None, rows) if mask is None or not mask.dead else (mask, mask.live)


Task = SegmentTask | TailTask


class Plan:
    """What a search in one scope does, whatever it asks for.

    Attributes:
        tasks: those with a live row.
        skipped: how many have none.
        live: rows that may be found.
        lasting: it is the same for every search in this scope of this version. Runs of several
            segments that were put together for some partitions are not: one of these segments may
            be refused later.
    """

    __slots__ = ("lasting", "live", "skipped", "tasks")

    def __init__(self, tasks: Sequence[Task], lasting: bool = False) -> None:
        self.lasting = lasting
        self.tasks = [task for task in tasks if task.live]
        self.skipped = len(tasks) - len(self.tasks)
        self.live = sum(task.live for task in self.tasks)


def select_partitions(version: Version, patterns: Sequence[str]) -> frozenset[int] | None:
    """Ids of the partitions that the tag patterns match; None for the whole collection
    (specification 3.12).

    A pattern is trimmed; it selects the tag it equals, and every tag but `_default` that it matches
    whole as a regular expression.

    Raises:
        PartitionNotFound: nothing matched.
        IllegalPartition: a pattern is neither a tag nor a regular expression, or all take too long
            to match.
    """
    if not patterns:
        return None
    chosen: set[int] = set()
    clock = PatternClock()
    for pattern in patterns:
        chosen |= _matching(version, trimmed(pattern), clock)
    if not chosen:
        raise PartitionNotFound.unmatched()
    return frozenset(chosen)


def plan_segments(version: Version, segments: Set[int]) -> Plan:
    """The plan of a search in some segments by id or number; those that this version does not hold
    are left out.

    Numbers count from 1 in the order of the statistics: 1.x has small ids for files and tells them
    to nobody, so that its programs go through them.

    Raises:
        SegmentNotFound: it holds none of them.
    """
    ids = segments | _numbered(
        version, {number for number in segments if 0 < number <= len(version.segments)}
    )
    chosen = [each for each in version.segments if each.segment.record.id in ids]
    if not chosen:
        raise SegmentNotFound.no_file()
    return Plan([SegmentTask(run) for run in runs_of(chosen)])


def _numbered(version: Version, numbers: Set[int]) -> Set[int]:
    """The ids of the segments that have these numbers."""
    if not numbers:
        return numbers
    place = {partition.id: at for at, partition in enumerate(version.partitions)}
    listed = sorted(
        (each.segment.record for each in version.segments),
        key=lambda each: place[each.partition_id],
    )
    return {listed[number - 1].id for number in numbers}


def _matching(version: Version, pattern: str, clock: PatternClock) -> set[int]:
    exact = version.partition(pattern)
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


def plan_search(version: Version, tags: tuple[str, ...]) -> Plan:
    """The plan of a search in the whole collection, or in the partitions that `tags` match.

    Raises:
        PartitionNotFound, IllegalPartition: as `select_partitions`.
    """
    tasks = tasks_of(version, select_partitions(version, tags))
    alone = all(isinstance(task, TailTask) or len(task.run.segments) == 1 for task in tasks)
    return Plan(tasks, lasting=not tags or alone)


def tasks_of(version: Version, partitions: frozenset[int] | None) -> list[Task]:
    """The tasks of a search, also those without a live row (they decide the shape of the
    answer).
    """
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
