"""Segments as a version sees them, by names and values alone: what another process that has the
same storage needs to scan the same rows.

The files are named, not sent. Deletes are sent as far as no file has them: those of a segment's
tombstone file, whose name is its generation, and a bitmap of the newer ones. Whoever holds the
version must keep its files from being removed for as long as somebody may open a reference.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from milvine.catalog.model import SegmentRecord
from milvine.errors import CorruptFile
from milvine.segment.cache import FileCache
from milvine.segment.reader import Segment
from milvine.segment.version import LiveSegment, SegmentRun
from milvine.types import Collection, RowMask


@dataclass(frozen=True, slots=True)
class SegmentReference:
    """One segment with its deletes as of one version. Hashable; pickles in some hundred bytes.

    Attributes:
        collection: the definition that its rows are read by.
        record: its files, rows and LSNs. Where it lies in a pack of several says the footer of that
            file, by its id.
        newer_deletes: the rows that are dead and not so in `record.tombstone_file`, as the deflated
            bitmap of all rows (least significant bit first); empty for none.
    """

    collection: Collection
    record: SegmentRecord
    newer_deletes: bytes = b""

    @classmethod
    def of(cls, each: LiveSegment) -> SegmentReference:
        """Raises:
        CorruptFile, StorageFailed: this process knows that the segment cannot be read, or its
            tombstone file cannot be now.
        """
        segment = each.segment
        segment.check_known()
        return cls(segment.collection, segment.record, _newer_deletes(each))

    def open(self, files: FileCache) -> LiveSegment:
        """The segment over the files of this process, which are checked as ever when they are first
        read.

        Raises:
            StorageFailed: a file is missing or cannot be read. A missing index is no reason: the
                rows are compared then.
            CorruptFile: a file is damaged, or is not the one that was named.
        """
        record = self.record
        segment = Segment(record, self.collection, files)
        file = files.get(record.rows_file)
        entry = file.describe(record.id)
        if (entry["rows"], *entry["lsn_range"]) != (record.rows, record.min_lsn, record.max_lsn):
            raise file.damaged(0, f"segment {record.id} has other rows than the reference says")
        return LiveSegment(segment, self._mask(segment))

    def _mask(self, segment: Segment) -> RowMask | None:
        known = segment.tombstones()
        if not self.newer_deletes:
            return known
        live = RowMask.all_live(segment.rows) if known is None else known
        newer = np.frombuffer(zlib.decompress(self.newer_deletes), np.uint8)
        if len(newer) != len(live.bits):
            raise CorruptFile(
                f"A reference to segment {self.record.id} has deletes in {len(newer)} bytes for"
                f" {segment.rows} rows"
            )
        died = np.unpackbits(newer, count=live.rows, bitorder="little").view(np.bool_)
        return RowMask.from_bool(live.to_bool() & ~died)


@dataclass(frozen=True, slots=True)
class RunReference:
    """Segments that are scanned in one go, as `milvine.segment.version.SegmentRun`."""

    segments: tuple[SegmentReference, ...]

    @classmethod
    def of(cls, run: SegmentRun) -> RunReference:
        """Raises as `SegmentReference.of`."""
        return cls(tuple(SegmentReference.of(each) for each in run.segments))

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all files that whoever opens it needs."""
        return tuple(dict.fromkeys(name for each in self.segments for name in each.record.files))

    def open(self, files: FileCache) -> SegmentRun:
        """Raises as `SegmentReference.open`; CorruptFile also where neighbours do not lie side by
        side.
        """
        opened = [each.open(files) for each in self.segments]
        _check_neighbours(opened)
        return SegmentRun.of(opened)


def _newer_deletes(each: LiveSegment) -> bytes:
    """Deletes never come undone: as many dead rows as the tombstone file has are those of it."""
    mask, record = each.mask, each.segment.record
    if mask is None or mask.dead == (record.dead if record.tombstone_file else 0):
        return b""
    known = each.segment.tombstones()
    live = RowMask.all_live(mask.rows) if known is None else known
    return zlib.compress((live.bits & ~mask.bits).tobytes(), 1)


def _check_neighbours(segments: Sequence[LiveSegment]) -> None:
    for before, each in pairwise(segments):
        if not each.segment.follows(before.segment):
            raise CorruptFile(
                f"A reference joins segments {before.segment.record.id} and"
                f" {each.segment.record.id}, which do not lie side by side in one file"
            )
