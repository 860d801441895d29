"""Numbers about a collection; reads no vector but those of the tail once, to count what no search
finds.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from milvine.index.registry import stats_name
from milvine.segment.version import LiveSegment, Version


@dataclass(frozen=True, slots=True)
class SegmentStats:
    """`data_size` in bytes: vectors and ids of all rows, or the index file once built."""

    name: str
    row_count: int
    index_name: str
    data_size: int


@dataclass(frozen=True, slots=True)
class PartitionStats:
    """`row_count` includes rows that are not flushed yet."""

    tag: str
    row_count: int
    segments: tuple[SegmentStats, ...]


@dataclass(frozen=True, slots=True)
class CollectionStats:
    """`nonfinite_rows`: of the `row_count` live rows, those that no search finds."""

    partitions: tuple[PartitionStats, ...]
    row_count: int
    nonfinite_rows: int = 0


def collection_stats(version: Version) -> CollectionStats:
    """What a version holds, `_default` first, partitions in creation order (specification 3.3)."""
    rows = version.live_rows_by_partition()
    segments: dict[int, list[SegmentStats]] = defaultdict(list)
    for each in version.segments:
        segments[each.segment.record.partition_id].append(_segment(each))
    partitions = tuple(
        PartitionStats(p.tag, rows.get(p.id, 0), tuple(segments[p.id])) for p in version.partitions
    )
    return CollectionStats(
        partitions, sum(p.row_count for p in partitions), version.nonfinite_rows()
    )


def _segment(each: LiveSegment) -> SegmentStats:
    record = each.segment.record
    size = record.index_bytes if record.indexed else record.data_bytes
    return SegmentStats(str(record.id), each.live, stats_name(record.index.type), size)
