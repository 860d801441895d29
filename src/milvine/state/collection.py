"""The writer's picture of a collection, from which the versions that readers pin are made."""

from __future__ import annotations

import threading
from dataclasses import replace

from milvine.catalog.model import SegmentRecord, StoredCollection
from milvine.errors import OperatorError
from milvine.segment.cache import FileCache
from milvine.segment.reader import Segment
from milvine.segment.version import LiveSegment, PartitionSet, SegmentSet, Version
from milvine.state.insert_keys import RecentInserts
from milvine.state.memtable import Memtable
from milvine.types import IdMode, IndexSetting, Partition, RowMask


class CollectionState:
    """One collection. Only the writer thread changes it; `version` may be read by anybody.

    Attributes:
        id: that of the collection, which it never changes.
        segments: live segments by id.
        partitions: by id, in creation order.
        dirty: ids of segments whose deletes are in the log but not yet in a tombstone file.
        flushed_lsn: records up to it are in segments and tombstone files.
        pending_lsn: the first record that is not, None when there is none.
        since_seal_lsn: the first such record after the last seal.
        unapplied: ids of segments that a delete could not be applied to, because a file is damaged;
            the log keeps it.
        nonfinite_told: whether somebody was told of rows that no search finds.
        recent: the last inserts that came with an idempotency key.
        flushing, maintaining: one flush and one maintenance job at a time (never taken by the
            writer thread).
    """

    def __init__(self, stored: StoredCollection, files: FileCache) -> None:
        self.id, self.collection = stored.collection.id, stored.collection
        self.partitions: dict[int, Partition] = {p.id: p for p in stored.partitions}
        self.segments: dict[int, LiveSegment] = {}
        self.dirty: set[int] = set()
        self.unapplied: set[int] = set()
        self.memtable = Memtable(stored.collection)
        self.recent = RecentInserts(stored.keys)
        self.flushed_lsn = stored.flushed_lsn
        self.pending_lsn: int | None = None
        self.since_seal_lsn: int | None = None
        self.pending_since: float | None = None
        self.dropped = False
        self.nonfinite_told = False
        self.flushing = threading.RLock()
        self.maintaining = threading.RLock()
        self._files = files
        self._partition_set = PartitionSet(stored.partitions)
        for record in stored.segments:
            segment = Segment(record, self.collection, files)
            self.segments[record.id] = LiveSegment(segment, _tombstones(segment))
        self.version = self._version()

    def touch(self, lsn: int) -> None:
        """A record had an effect that no file holds yet."""
        if self.pending_lsn is None:
            self.pending_lsn = lsn
        if self.since_seal_lsn is None:
            self.since_seal_lsn = lsn

    def add_partition(self, partition: Partition) -> None:
        """Take a new partition in and show it to readers; segments and tail are as they were."""
        self.partitions[partition.id] = partition
        self._partition_set = self._partition_set.with_new(partition)
        self.version = replace(self.version, partition_set=self._partition_set)

    def drop_partition(self, partition: Partition) -> None:
        """Let a partition go with its rows; `publish` shows it."""
        del self.partitions[partition.id]
        self._partition_set = self._partition_set.without(partition)
        for key in [
            k for k, v in self.segments.items() if v.segment.record.partition_id == partition.id
        ]:
            del self.segments[key]
            self.dirty.discard(key)
        self.memtable.drop_partition(partition.id)

    def set_id_mode(self, mode: IdMode) -> None:
        self.collection = replace(self.collection, id_mode=mode)

    def set_index(self, index: IndexSetting) -> None:
        self.collection = replace(self.collection, index=index)

    def open_segment(self, record: SegmentRecord) -> Segment:
        return Segment(record, self.collection, self._files)

    def files(self) -> set[str]:
        """Every file that the current segments need."""
        return {name for each in self.segments.values() for name in each.segment.record.files}

    def publish_tail(self) -> None:
        """Show readers the logged rows; the segment set is shared with the version before."""
        before = self.version
        self.version = Version(
            self.collection, before.partition_set, before.segment_set, self.memtable.tail()
        )

    def publish(self) -> None:
        """Show readers segments, partitions and tail as they are now, in one assignment."""
        self.version = self._version()

    def _version(self) -> Version:
        segments = SegmentSet(tuple(self.segments[key] for key in sorted(self.segments)))
        return Version(self.collection, self._partition_set, segments, self.memtable.tail())


def _tombstones(segment: Segment) -> RowMask | None:
    """Its live rows. A segment whose deletes cannot be read is refused to readers; the rest of the
    database is not.
    """
    try:
        return segment.tombstones()
    except OperatorError as error:
        segment.refuse(str(error))
        return None
