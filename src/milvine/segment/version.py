"""What one reader sees: an immutable picture of a collection. Searches pin one and hold no lock."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from milvine.segment.reader import Segment
from milvine.types import Collection, Ids, Partition, RowMask, Vectors


@dataclass(frozen=True, slots=True)
class LiveSegment:
    """A segment and which of its rows are live (None: all)."""

    segment: Segment
    mask: RowMask | None = None

    @property
    def live(self) -> int:
        return self.segment.rows if self.mask is None else self.mask.live


@dataclass(frozen=True, slots=True)
class TailBlock:
    """Logged rows that are not flushed yet, oldest first. Views of append-only buffers.

    `vectors` (rows, width), `ids` and `partitions` (rows,) int64; `mask` None: all rows are live.
    """

    vectors: Vectors
    ids: Ids
    partitions: NDArray[np.int64]
    mask: RowMask | None = None

    @property
    def rows(self) -> int:
        return len(self.ids)

    def within(self, partitions: frozenset[int] | None) -> RowMask | None:
        """The live rows that lie in `partitions` (None: all of the collection)."""
        if partitions is None or np.isin(self.partitions, list(partitions)).all():
            return self.mask
        inside = np.isin(self.partitions, list(partitions))
        return RowMask.from_bool(inside if self.mask is None else inside & self.mask.to_bool())


@dataclass(frozen=True)
class Version:
    """Segments in storage order, and the tail."""

    collection: Collection
    partitions: tuple[Partition, ...]
    segments: tuple[LiveSegment, ...]
    tail: tuple[TailBlock, ...]

    @cached_property
    def by_tag(self) -> dict[str, Partition]:
        return {partition.tag: partition for partition in self.partitions}

    def live_rows(self, partition_id: int | None = None) -> int:
        """Live rows, flushed or not, of one partition or of the collection."""
        flushed = sum(each.live for each in self.segments if partition_id in (None, each.segment.record.partition_id))
        scope = None if partition_id is None else frozenset((partition_id,))
        masks = ((block, block.within(scope)) for block in self.tail)
        return flushed + sum(block.rows if mask is None else mask.live for block, mask in masks)
