"""What to flush, merge and build: pure functions over descriptions. No clock, no thread,
no file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from milvine.limits import CODES_BYTES_MIN, COMPACT_RATE_MIN, INDEX_ROWS_MIN, MIB

SIZE_CLASSES = (4 * MIB, 16 * MIB, 64 * MIB, 256 * MIB, 1024 * MIB)
"""Upper bounds; segments of one class are merged together, so each row is rewritten once per class
(3.21).
"""
CLASS_SEGMENTS_MIN = 4


@dataclass(frozen=True, slots=True)
class SegmentFacts:
    """What the policies know of a segment. `data_bytes` counts vectors and ids of all its rows.

    `indexed`: it has a built index. `coded`: it has codes instead, for exact searches.
    `held_dead`: the share of its index, if it has one, that is deleted rows. Those of which only
    the log knows yet do not count: a build could not leave them out.
    """

    id: int
    partition_id: int
    rows: int
    dead: int
    data_bytes: int
    indexed: bool
    held_dead: float = 0.0
    coded: bool = False


@dataclass(frozen=True, slots=True)
class TailFacts:
    """What is not flushed: bytes of rows, seconds since the oldest record, bytes of log
    files held.
    """

    bytes: int
    age: float
    log_bytes: int


def flush_due(
    tail: TailFacts, tail_bytes_max: int, tail_age_max: float, log_bytes_max: int
) -> bool:
    """Whether the automatic flush writes this tail now; a small young one may wait, it is safe in
    the log.
    """
    return (
        tail.bytes >= tail_bytes_max or tail.age >= tail_age_max or tail.log_bytes >= log_bytes_max
    )


def merges(segments: Iterable[SegmentFacts], target_bytes: int) -> list[tuple[int, ...]]:
    """Groups to merge in the background: per partition, four or more segments of one size class
    below the target.

    Indexed segments merge with indexed ones only; the result is indexed again before it takes their
    place.
    """
    groups: dict[tuple[int, bool, int], list[SegmentFacts]] = defaultdict(list)
    for segment in segments:
        if segment.data_bytes < target_bytes:
            size_class = sum(segment.data_bytes >= bound for bound in SIZE_CLASSES)
            groups[segment.partition_id, segment.indexed, size_class].append(segment)
    return [
        tuple(s.id for s in pack)
        for group in groups.values()
        for pack in packs(sorted(group, key=lambda s: s.id), target_bytes)
        if len(pack) >= CLASS_SEGMENTS_MIN
    ]


def forced_merges(segments: Iterable[SegmentFacts], target_bytes: int) -> list[tuple[int, ...]]:
    """Groups for create_index and drop_index: every raw segment below the target, packed to about
    its size (3.21).
    """
    partitions: dict[int, list[SegmentFacts]] = defaultdict(list)
    for segment in segments:
        if not segment.indexed and segment.data_bytes < target_bytes:
            partitions[segment.partition_id].append(segment)
    return [
        tuple(s.id for s in pack)
        for group in partitions.values()
        for pack in packs(sorted(group, key=lambda s: s.id), target_bytes)
        if len(pack) > 1
    ]


def packs(segments: Sequence[SegmentFacts], target_bytes: int) -> list[list[SegmentFacts]]:
    """Neighbours put together until a pack reaches the target; none grows beyond twice it."""
    out: list[list[SegmentFacts]] = []
    room = 0
    for segment in segments:
        if room <= 0:
            out.append([])
            room = target_bytes
        out[-1].append(segment)
        room -= segment.data_bytes
    return out


def builds(
    segments: Sequence[SegmentFacts],
    target_bytes: int,
    unindexed_rows_max: int,
    rows_min: int = INDEX_ROWS_MIN,
) -> list[int]:
    """Raw segments to index in the background: large ones, and all of them once too many rows are
    unindexed.
    """
    raw = [s for s in segments if not s.indexed]
    crowded = sum(s.rows for s in raw) > unindexed_rows_max
    return [s.id for s in raw if s.rows >= rows_min and (crowded or s.data_bytes >= target_bytes)]


def forced_builds(segments: Iterable[SegmentFacts], rows_min: int = INDEX_ROWS_MIN) -> list[int]:
    """Raw segments that create_index builds before it returns (3.5)."""
    return [s.id for s in segments if not s.indexed and s.rows >= rows_min]


def codes_due(
    segments: Iterable[SegmentFacts],
    rows_min: int = INDEX_ROWS_MIN,
    bytes_min: int = CODES_BYTES_MIN,
) -> list[int]:
    """Segments of a collection without an index that get codes."""
    return [
        s.id
        for s in segments
        if not s.coded and s.rows >= rows_min and s.data_bytes >= bytes_min and s.dead < s.rows
    ]


def rebuilds(segments: Iterable[SegmentFacts], most: float) -> list[int]:
    """Segments to index again, because their index holds a larger share of deleted rows than
    `most`.
    """
    return [s.id for s in segments if s.indexed and s.held_dead > most and s.dead < s.rows]


def compactions(segments: Iterable[SegmentFacts]) -> list[int]:
    """Segments that compact rewrites: a tenth of the rows deleted, or all of them (3.20)."""
    return [
        s.id
        for s in segments
        if s.dead and (s.dead == s.rows or s.dead / s.rows >= COMPACT_RATE_MIN)
    ]
