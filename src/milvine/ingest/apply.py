"""Applying a logged record to the writer's state: the same code live and in recovery."""

from __future__ import annotations

import numpy as np

from milvine.errors import OperatorError
from milvine.segment.version import LiveSegment
from milvine.state.collection import CollectionState
from milvine.types import IdMode, RowMask
from milvine.wal.record import DeleteRecord, InsertRecord, Record


def apply(state: CollectionState, lsn: int, record: Record) -> bool:
    """Apply one record; True when segments changed (the whole version must be published, not only
    its tail).

    Raises:
        CorruptFile, StorageFailed: a delete met a segment that cannot be read. It is applied to all
            others; that one
            is refused to readers from now on, and the log keeps the record.
    """
    if isinstance(record, InsertRecord):
        _insert(state, lsn, record)
        return False
    return _delete(state, lsn, record)


def _insert(state: CollectionState, lsn: int, record: InsertRecord) -> None:
    state.recent.add(lsn, record)
    if record.partition_id not in state.partitions:
        return  # dropped since it was logged
    if state.collection.id_mode is IdMode.UNDECIDED:
        state.set_id_mode(IdMode.GENERATED if record.generated else IdMode.GIVEN)
    vectors = (
        record.rows.reshape(-1)
        .view(state.collection.dtype)
        .reshape(len(record.ids), state.collection.width)
    )
    state.memtable.append(record.partition_id, record.ids, vectors, lsn)
    state.touch(lsn)


def _delete(state: CollectionState, lsn: int, record: DeleteRecord) -> bool:
    ids = record.ids if len(record.ids) == 1 else np.unique(record.ids)  # which is slow to begin
    if state.memtable.delete(ids, record.partition_id):
        state.touch(lsn)
    changed = False
    failure: OperatorError | None = None
    for key, each in state.segments.items():
        segment = each.segment
        if record.partition_id not in (0, segment.record.partition_id):
            continue
        try:
            rows = segment.find(ids)
        except OperatorError as error:
            segment.refuse(str(error))
            state.unapplied.add(key)
            state.touch(lsn)
            failure = error
            continue
        if not len(rows):
            continue
        before = each.mask or RowMask.all_live(segment.rows)
        mask = before.without(rows)
        if mask is not before:
            state.segments[key] = LiveSegment(segment, mask)
            state.dirty.add(key)
            state.touch(lsn)
            changed = True
    if failure is not None:
        raise failure
    return changed
