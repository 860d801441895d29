"""Merge and compact: one or more segments of a partition become one without its deleted rows.

Segments that were indexed are indexed again before the result takes their place, so searches never
fall back to an exact scan of rows that had an index.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from milvine.catalog.model import Edit, SegmentRecord
from milvine.errors import StorageFailed
from milvine.events import Merged
from milvine.maintenance.build import BuildStopped, build_index
from milvine.maintenance.reclaim import retire
from milvine.segment.reader import Segment
from milvine.segment.version import LiveSegment
from milvine.segment.writer import RowSet, segment_record, write_rows, write_tombstones
from milvine.state.collection import CollectionState
from milvine.state.stores import Stores
from milvine.storage.failpoints import at
from milvine.types import Collection, IndexType, Partition, RowMask, Vectors

_PIECE_BYTES = 8 << 20

_Kept: TypeAlias = "NDArray[np.int64] | None"
"""Row numbers; None for all rows."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """The inputs as of one moment, in storage order, and the rows of each that were live then."""

    collection: Collection
    partition: Partition
    inputs: tuple[LiveSegment, ...]
    kept: tuple[_Kept, ...]

    @property
    def pairs(self) -> Iterator[tuple[LiveSegment, _Kept]]:
        return zip(self.inputs, self.kept, strict=True)

    @property
    def rows(self) -> int:
        return sum(each.segment.rows if kept is None else len(kept) for each, kept in self.pairs)


def merge(
    stores: Stores, state: CollectionState, segment_ids: Sequence[int], stop: Callable[[], bool]
) -> bool:
    """Merge these segments; False when they changed meanwhile or `stop` said so, and nothing
    happened.

    Raises:
        StorageFailed, BuildFailed: nothing changed.
        CorruptFile: an input is damaged; it is left as it is.
    """
    began = time.monotonic()
    plan = stores.writer.call(lambda: _plan(state, segment_ids))
    if plan is None:
        return False
    try:
        record = _write(stores, plan, stop)
    except BuildStopped:
        return False
    if record is not None and stop():
        retire(stores, record.files)
        return False
    at("merge.written")
    done = stores.writer.call(lambda: _commit(stores, state, plan, record))
    if done:
        rows = record.rows if record else 0
        output = record.id if record else None
        stores.events.emit(
            Merged(state.id, tuple(segment_ids), output, rows, time.monotonic() - began)
        )
    return done


def _plan(state: CollectionState, segment_ids: Sequence[int]) -> _Plan | None:
    inputs = tuple(state.segments[key] for key in sorted(segment_ids) if key in state.segments)
    if state.dropped or len(inputs) != len(segment_ids):
        return None
    partition = state.partitions[inputs[0].segment.record.partition_id]
    return _Plan(state.collection, partition, inputs, tuple(_live_rows(each) for each in inputs))


def _live_rows(each: LiveSegment) -> _Kept:
    return None if each.mask is None else np.flatnonzero(each.mask.to_bool())


def _write(stores: Stores, plan: _Plan, stop: Callable[[], bool]) -> SegmentRecord | None:
    """The new segment, durable but in no catalog yet; None when no row is left.

    Raises:
        BuildStopped: `stop` ended the build of its index.
    """
    if not plan.rows:
        return None
    rows = RowSet(
        stores.ids.one(),
        plan.partition,
        _joined(plan, Segment.ids),
        _joined(plan, Segment.lsns),
        _blocks(plan),
        tuple(each.segment.record.id for each in plan.inputs),
    )
    name = f"rows-{stores.ids.one()}.mlv"
    least = stores.settings.index_rows_min
    write_rows(stores.storage, name, plan.collection, [rows], least)
    record = segment_record(plan.collection, rows, name)
    was_indexed = any(each.segment.record.index_file for each in plan.inputs)
    if not was_indexed or record.rows < least or plan.collection.index.type is IndexType.FLAT:
        return record
    try:
        return build_index(stores, plan.collection, record, stop)
    except BaseException:
        retire(stores, record.files)
        raise


def _joined(plan: _Plan, of: Callable[[Segment], NDArray[np.int64]]) -> NDArray[np.int64]:
    """A number of each kept row, (rows,). One input after the other: of all, two copies would be a
    lot.
    """
    out, start = np.empty(plan.rows, np.int64), 0
    for each, kept in plan.pairs:
        numbers = of(each.segment) if kept is None else of(each.segment)[kept]
        out[start : start + len(numbers)] = numbers
        start += len(numbers)
    return out


def _blocks(plan: _Plan) -> Iterator[Vectors]:
    """The kept vectors, a bounded piece at a time, each checked when it is about to be copied: so
    it is read once.

    Raises:
        CorruptFile: a piece is damaged.
    """
    step = max(_PIECE_BYTES // plan.collection.row_bytes, 1)
    for each, kept in plan.pairs:
        vectors = each.segment.vectors()
        for start in range(0, len(vectors) if kept is None else len(kept), step):
            if kept is None:
                each.segment.verify_vectors(start, min(start + step, len(vectors)) - 1)
                yield vectors[start : start + step]
            else:
                some = kept[start : start + step]
                each.segment.verify_vectors(int(some[0]), int(some[-1]))
                yield vectors[some]


def _commit(
    stores: Stores, state: CollectionState, plan: _Plan, record: SegmentRecord | None
) -> bool:
    """On the writer thread: check that the inputs still hold, carry over later deletes, commit,
    swap.
    """
    keys = [each.segment.record.id for each in plan.inputs]
    if (record.rows if record else 0) != plan.rows:
        raise RuntimeError(f"a merge of {keys} would not keep every live row")
    if state.dropped or any(
        not _same(state.segments.get(each.segment.record.id), each) for each in plan.inputs
    ):
        retire(stores, record.files if record else ())
        return False
    if record is not None and record.index_file and state.collection.index != record.index:
        retire(stores, (record.index_file,))
        record = record.without_index()
    mask = _carried(state, plan) if record else None
    if record is not None and mask is not None:
        name = f"dead-{stores.ids.one()}.mlv"
        try:
            write_tombstones(
                stores.storage,
                name,
                plan.collection,
                [(record.id, mask)],
                stores.log.last_lsn,
            )
        except StorageFailed:
            retire(stores, record.files)
            raise
        record = replace(record, tombstone_file=name, dead=mask.dead)
    before = state.files()
    edit = Edit(
        state.id, added=(record,) if record else (), removed=tuple(keys), last_id=stores.ids.last
    )
    try:
        stores.catalog.apply(edit)
    except StorageFailed:
        stores.in_doubt(record.files if record else ())
        raise
    at("merge.committed")
    for key in keys:
        del state.segments[key]
        state.dirty.discard(key)
    if record is not None:
        state.segments[record.id] = LiveSegment(state.open_segment(record), mask)
    state.publish()
    retire(stores, before - state.files())
    return True


def _same(now: LiveSegment | None, then: LiveSegment) -> bool:
    return now is not None and now.segment.record.rows_file == then.segment.record.rows_file


def _carried(state: CollectionState, plan: _Plan) -> RowMask | None:
    """The rows of the new segment that are still live; None when all are.

    Deletes since the inputs were read would otherwise rise again. Those that a flush has made
    durable meanwhile are not replayed from the log, so the caller writes them before it commits.
    """
    live = []
    for then, kept in plan.pairs:
        mask = state.segments[then.segment.record.id].mask
        if mask is None:
            live.append(np.ones(then.segment.rows if kept is None else len(kept), bool))
        else:
            live.append(mask.to_bool() if kept is None else mask.contains(kept))
    joined = np.concatenate(live)
    return None if joined.all() else RowMask.from_bool(joined)
