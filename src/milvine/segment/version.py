"""What one reader sees: an immutable picture of a collection. Searches pin one and hold no lock."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from milvine.errors import OperatorError
from milvine.index.finite import NonfiniteRows
from milvine.limits import INDEX_ROWS_MIN
from milvine.segment.cache import FileCache, ScanInput
from milvine.segment.reader import Segment
from milvine.types import Collection, Ids, MetricType, Partition, RowMask, Vectors


@dataclass(frozen=True, slots=True)
class LiveSegment:
    """A segment and which of its rows are live (None: all)."""

    segment: Segment
    mask: RowMask | None = None

    @property
    def live(self) -> int:
        return self.segment.rows if self.mask is None else self.mask.live

    @property
    def nonfinite(self) -> int:
        """Live rows that no search finds; 0 where the file cannot be read, which whoever needs it
        is told.
        """
        try:
            return self.segment.nonfinite(self.mask)
        except OperatorError:
            return 0


@dataclass(frozen=True, slots=True)
class SegmentRun:
    """Segments to scan in one go: one alone, or neighbours in one file that are too small for an
    index.

    `mask` covers the rows of all; None: all are live. `files` is where their files are open, `key`
    under what it keeps what scans of this run read. `metric` is that of the collection, for which
    indexes and codes are made.
    """

    segments: tuple[LiveSegment, ...]
    rows: int
    mask: RowMask | None
    files: FileCache
    key: Hashable
    metric: MetricType

    @classmethod
    def of(cls, segments: Sequence[LiveSegment]) -> SegmentRun:
        rows = sum(each.segment.rows for each in segments)
        first, last = segments[0].segment, segments[-1].segment.record
        key = first.record.id, last.id, last.rows_file, last.index_file
        metric = first.collection.metric
        return cls(tuple(segments), rows, _joined_mask(segments), first.files, key, metric)

    def scan_input(self, exact: bool = False) -> ScanInput:
        """What a scan of it reads; the first time, files are opened and checked, and every time
        while something is known to be wrong with any. `exact`: without index or codes.

        Raises:
            CorruptFile, StorageFailed: a file is damaged or missing.
        """
        files, record = self.files, self.segments[-1].segment.record
        alone = len(self.segments) == 1 and not exact
        name = record.index_file if alone and record.index_file else record.rows_file
        holder = files.open_files.get(name)
        found: ScanInput | None = None
        if holder is not None and not (files.refused or files.damaged or files.bad):
            found = holder.scan_inputs.get((self.key, exact))
        if (
            found is None
            or found.crowded is not files.crowded
            or (found.mask is not self.mask and found.index is not None)
        ):
            return self._opened(exact)
        assert holder is not None
        used = files.accesses = holder.used = next(files.clock)
        if found.rows_file is not None:
            found.rows_file.used = used
        return found

    def _opened(self, exact: bool) -> ScanInput:
        first, last = self.segments[0].segment, self.segments[-1].segment
        for each in self.segments:
            each.segment.check_known()
        holder, made = first.scan_input(last, self.mask, exact)
        holder.scan_inputs[self.key, exact] = made
        return made

    @property
    def indexed(self) -> bool:
        """Whether it has a built index, as far as is known: a damaged one is found out when it is
        opened.
        """
        return len(self.segments) == 1 and self.segments[0].segment.indexed


def _joined_mask(segments: Sequence[LiveSegment]) -> RowMask | None:
    if len(segments) == 1:
        return segments[0].mask
    if all(each.mask is None for each in segments):
        return None
    live = [
        np.ones(each.segment.rows, bool) if each.mask is None else each.mask.to_bool()
        for each in segments
    ]
    return RowMask.from_bool(np.concatenate(live))


def runs_of(segments: Iterable[LiveSegment]) -> tuple[SegmentRun, ...]:
    """Neighbours put together, in storage order."""
    groups: list[list[LiveSegment]] = []
    for each in segments:
        small = each.segment.rows < INDEX_ROWS_MIN
        if small and groups and each.segment.follows(groups[-1][-1].segment):
            groups[-1].append(each)
        else:
            groups.append([each])
    return tuple(SegmentRun.of(group) for group in groups)


class PartitionSet:
    """The partitions of a collection in creation order. Immutable, shared by all versions until it
    changes.

    A set that grows shares the table of tags with the smaller ones: ids ascend, so each knows which
    of them are not its own. To add a partition costs the same however many there are.
    """

    def __init__(self, partitions: tuple[Partition, ...]) -> None:
        self.partitions = partitions
        self._by_tag = {partition.tag: partition for partition in partitions}
        self._last = partitions[-1].id if partitions else 0

    def find(self, tag: str) -> Partition | None:
        """The partition with this tag."""
        found = self._by_tag.get(tag)
        return found if found is not None and found.id <= self._last else None

    def with_new(self, partition: Partition) -> PartitionSet:
        """These and a newer one, whose tag is none of theirs. To be called on the newest
        set only.
        """
        grown = PartitionSet.__new__(PartitionSet)
        grown.partitions, grown._by_tag, grown._last = (
            (*self.partitions, partition),
            self._by_tag,
            partition.id,
        )
        grown._by_tag[partition.tag] = partition
        return grown

    def without(self, partition: Partition) -> PartitionSet:
        """These, and not that one."""
        return PartitionSet(tuple(each for each in self.partitions if each is not partition))


class SegmentSet:
    """The live segments of a collection in storage order. Immutable, shared by all versions until
    it changes.
    """

    def __init__(self, segments: tuple[LiveSegment, ...]) -> None:
        self.segments = segments

    @cached_property
    def runs(self) -> tuple[SegmentRun, ...]:
        return runs_of(self.segments)

    @cached_property
    def live(self) -> int:
        """Live rows of all partitions."""
        return sum(self.live_rows.values())

    @cached_property
    def nonfinite(self) -> int:
        """Live rows that no search finds."""
        return sum(each.nonfinite for each in self.segments)

    @cached_property
    def live_rows(self) -> dict[int, int]:
        """Live rows by partition id."""
        counts: dict[int, int] = {}
        for each in self.segments:
            partition = each.segment.record.partition_id
            counts[partition] = counts.get(partition, 0) + each.live
        return counts


@dataclass(frozen=True, slots=True)
class TailBlock:
    """Logged rows that are not flushed yet, oldest first. Views of append-only buffers.

    `vectors` (rows, width), `ids` and `partitions` (rows,) int64; `mask` None: all rows are live.
    """

    vectors: Vectors
    ids: Ids
    partitions: NDArray[np.int64]
    mask: RowMask | None = None
    nonfinite_rows: NonfiniteRows = field(default_factory=NonfiniteRows, repr=False, compare=False)

    @property
    def rows(self) -> int:
        return len(self.ids)

    @property
    def live(self) -> int:
        return self.rows if self.mask is None else self.mask.live

    @property
    def nonfinite(self) -> int:
        """Live rows that no search finds."""
        rows = self.nonfinite_rows.of(self.vectors)
        return len(rows) if self.mask is None else int(np.count_nonzero(self.mask.contains(rows)))

    def within(self, partitions: frozenset[int] | None) -> RowMask | None:
        """The live rows that lie in `partitions` (None: all of the collection)."""
        if partitions is None or np.isin(self.partitions, list(partitions)).all():
            return self.mask
        inside = np.isin(self.partitions, list(partitions))
        return RowMask.from_bool(inside if self.mask is None else inside & self.mask.to_bool())


@dataclass(frozen=True, slots=True)
class Version:
    """Segments in storage order, and the tail.

    `prepared` is for readers: their prepared searches (`search/prepared.py`), which go with the
    version.
    """

    collection: Collection
    partition_set: PartitionSet
    segment_set: SegmentSet
    tail: tuple[TailBlock, ...]
    prepared: dict[Hashable, Any] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def partitions(self) -> tuple[Partition, ...]:
        return self.partition_set.partitions

    def partition(self, tag: str) -> Partition | None:
        """The partition with this tag."""
        return self.partition_set.find(tag)

    @property
    def segments(self) -> tuple[LiveSegment, ...]:
        return self.segment_set.segments

    def live_rows(self) -> int:
        """Live rows of the collection, flushed or not."""
        return self.segment_set.live + sum(block.live for block in self.tail)

    def nonfinite_rows(self) -> int:
        """Live rows that no search finds, flushed or not: see `milvine.index.finite`."""
        return self.segment_set.nonfinite + sum(block.nonfinite for block in self.tail)

    def live_rows_by_partition(self) -> dict[int, int]:
        """Live rows by partition id, flushed or not; partitions without rows may be absent."""
        counts = dict(self.segment_set.live_rows)
        for block in self.tail:
            partitions = (
                block.partitions if block.mask is None else block.partitions[block.mask.to_bool()]
            )
            for partition, rows in zip(*np.unique(partitions, return_counts=True), strict=True):
                counts[int(partition)] = counts.get(int(partition), 0) + int(rows)
        return counts
