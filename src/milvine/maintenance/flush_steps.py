"""Flush: the memtable becomes segments, the deletes become tombstone files, in one commit.

    seal    (writer thread)   the rows and tombstones as of one LSN; later rows go to new blocks
    write   (caller's thread) one pack file for all partitions, one for the tombstones
    commit  (writer thread)   the Edit, then segments and tail swapped in one assignment

Several collections are sealed together and committed together, each with files of its own.

Deletes that arrive between seal and commit stay in the log and are carried over to the new segments
by position.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from milvine.catalog.model import Edit, SegmentRecord
from milvine.catalog.sql import Catalog
from milvine.errors import CorruptFile
from milvine.limits import INDEX_ROWS_MIN
from milvine.segment.version import LiveSegment
from milvine.segment.writer import RowSet, segment_record, write_rows, write_tombstones
from milvine.state.collection import CollectionState
from milvine.state.ids import IdSource
from milvine.state.memtable import Block
from milvine.storage.base import Storage
from milvine.storage.failpoints import at
from milvine.types import Collection, Partition, RowMask


@dataclass(frozen=True, slots=True)
class Sealed:
    """What one flush will write. `live` has one bool array per block, as of `lsn`; `after` is
    what was flushed then."""

    collection: Collection
    partitions: tuple[Partition, ...]
    after: int
    lsn: int
    blocks: tuple[Block, ...]
    live: tuple[NDArray[np.bool_], ...]
    tombstones: tuple[tuple[int, RowMask], ...]


@dataclass(frozen=True, slots=True)
class Written:
    """The files of a flush. `origins` gives for each new segment the sealed
    rows it holds, by position.

    `nonfinite`: how many of the rows no search finds.
    """

    records: tuple[SegmentRecord, ...]
    origins: tuple[NDArray[np.int64], ...]
    tombstone_file: str | None
    seconds: float
    nonfinite: int = 0

    @property
    def files(self) -> set[str]:
        """Their names."""
        names = {name for record in self.records for name in record.files}
        return names | {self.tombstone_file} if self.tombstone_file else names


@dataclass(frozen=True, slots=True)
class Flush:
    """A flush of one collection that is about to be committed."""

    state: CollectionState
    sealed: Sealed
    written: Written

    @property
    def overtaken(self) -> bool:
        """The collection was dropped or flushed meanwhile (writer thread)."""
        return self.state.dropped or self.state.flushed_lsn != self.sealed.after


def seal(state: CollectionState, lsn: int) -> Sealed | None:
    """Begin a flush of everything up to `lsn`, the last one applied; None when there is nothing to
    flush.

    Raises:
        CorruptFile: a delete waits in the log for a segment that cannot be read, so the log must
            keep everything.
    """
    if state.pending_lsn is None or state.dropped:
        return None
    for key in state.unapplied & state.segments.keys():
        raise CorruptFile(
            f"Not flushed, a delete waits for a damaged file: {state.segments[key].segment.refused}"
        )
    blocks = tuple(state.memtable.seal())
    masks = ((key, state.segments[key].mask) for key in sorted(state.dirty))
    tombstones = tuple((key, mask) for key, mask in masks if mask is not None)
    state.since_seal_lsn = None
    live = tuple(block.live() for block in blocks)
    partitions = tuple(state.partitions.values())
    return Sealed(state.collection, partitions, state.flushed_lsn, lsn, blocks, live, tombstones)


def write(
    sealed: Sealed, storage: Storage, ids: IdSource, index_rows_min: int = INDEX_ROWS_MIN
) -> Written:
    """Write the sealed rows and tombstones, durably; segments from `index_rows_min` rows on as
    indexes want them.

    Raises:
        StorageFailed: nothing changes; the rows stay in the memtable and the log.
    """
    began = time.monotonic()
    sets, origins = _row_sets(sealed, ids)
    records: list[SegmentRecord] = []
    nonfinite = 0
    if sets:
        name = f"rows-{ids.one()}.mlv"
        nonfinite = write_rows(storage, name, sealed.collection, sets, index_rows_min)
        records = [segment_record(sealed.collection, rows, name) for rows in sets]
    tombstone_file = None
    if sealed.tombstones:
        tombstone_file = f"dead-{ids.one()}.mlv"
        at("flush.rows_written")
        try:
            write_tombstones(
                storage, tombstone_file, sealed.collection, sealed.tombstones, sealed.lsn
            )
        except BaseException:
            if records:
                storage.remove(records[0].rows_file)
            raise
    return Written(
        tuple(records), tuple(origins), tombstone_file, time.monotonic() - began, nonfinite
    )


def commit(flushes: Sequence[Flush], catalog: Catalog, ids: IdSource) -> None:
    """Make flushes real, on the writer thread: one commit of all Edits, then the
    versions that readers see.

    Raises:
        StorageFailed, CorruptFile: nothing changed.
    """
    edits = [_edit(flush, ids) for flush in flushes]
    catalog.apply(*edits)
    at("flush.committed")
    for flush, edit in zip(flushes, edits, strict=True):
        _install(flush, edit)


def _edit(flush: Flush, ids: IdSource) -> Edit:
    state, sealed = flush.state, flush.sealed
    changed = [
        replace(
            state.segments[key].segment.record,
            tombstone_file=flush.written.tombstone_file,
            dead=mask.dead,
        )
        for key, mask in sealed.tombstones
        if key in state.segments
    ]
    return Edit(
        state.id,
        added=tuple(r for r in flush.written.records if r.partition_id in state.partitions),
        changed=tuple(changed),
        flushed_lsn=sealed.lsn,
        id_mode=state.collection.id_mode,
        last_id=ids.last,
        keys=state.recent.since(state.flushed_lsn, sealed.lsn),
    )


def _install(flush: Flush, edit: Edit) -> None:
    """What was committed, in the state and before readers."""
    state, masks = flush.state, dict(flush.sealed.tombstones)
    for record in edit.changed:
        now = state.segments[record.id].mask
        state.segments[record.id] = LiveSegment(state.open_segment(record), now)
        if now is masks[record.id]:
            state.dirty.discard(record.id)
    died = _died_since(flush.sealed)
    origins = {
        r.id: rows for r, rows in zip(flush.written.records, flush.written.origins, strict=True)
    }
    for record in edit.added:
        live = ~died[origins[record.id]]
        mask = None if live.all() else RowMask.from_bool(live)
        state.segments[record.id] = LiveSegment(state.open_segment(record), mask)
        if mask is not None:
            state.dirty.add(record.id)
    state.memtable.release(len(flush.sealed.blocks))
    state.flushed_lsn = flush.sealed.lsn
    state.publish()
    state.pending_since = time.monotonic() if state.since_seal_lsn is not None else None
    state.pending_lsn = state.since_seal_lsn  # last: who finds nothing pending finds it published


def _died_since(sealed: Sealed) -> NDArray[np.bool_]:
    """Per sealed row, whether it was deleted after the seal."""
    if not sealed.blocks:
        return np.zeros(0, bool)
    pairs = zip(sealed.blocks, sealed.live, strict=True)
    return np.concatenate([live & ~block.live() for block, live in pairs])


def _row_sets(sealed: Sealed, ids: IdSource) -> tuple[list[RowSet], list[NDArray[np.int64]]]:
    """The live rows grouped by partition, and where each came from."""
    if not sealed.blocks:
        return [], []
    sets, origins = [], []
    grouped = _rows_by_partition(sealed)
    for partition in sealed.partitions:
        rows = grouped.get(partition.id)
        if rows is not None:
            sets.append(_row_set(sealed.blocks, partition, rows, ids.one()))
            origins.append(rows)
    return sets, origins


def _rows_by_partition(sealed: Sealed) -> dict[int, NDArray[np.int64]]:
    """The live rows of each partition that has some, ascending: one pass, however many
    partitions there are."""
    rows = np.flatnonzero(_joined(sealed.live))
    partitions = _joined([block.partitions[: block.length] for block in sealed.blocks])[rows]
    if not len(rows):
        return {}
    if (partitions == partitions[0]).all():
        return {int(partitions[0]): rows}
    order = np.argsort(partitions, kind="stable")
    found, starts = np.unique(partitions[order], return_index=True)
    parts = np.split(rows[order], starts[1:])
    return {int(number): part for number, part in zip(found, parts, strict=True)}


def _row_set(
    blocks: Sequence[Block], partition: Partition, rows: NDArray[np.int64], segment_id: int
) -> RowSet:
    parts, start = [], 0
    for block in blocks:
        inside = (
            rows[np.searchsorted(rows, start) : np.searchsorted(rows, start + block.length)] - start
        )
        start += block.length
        if len(inside):
            parts.append((block, inside))
    return RowSet(
        segment_id,
        partition,
        np.concatenate([block.ids[inside] for block, inside in parts]),
        np.concatenate([block.lsns[inside] for block, inside in parts]),
        [_taken(block, inside) for block, inside in parts],
    )


def _taken(block: Block, rows: NDArray[np.int64]) -> NDArray[np.generic]:
    """The vectors of some rows; a view where they are neighbours."""
    first, last = int(rows[0]), int(rows[-1])
    if last - first + 1 == len(rows):
        return block.vectors[first : last + 1]
    return block.vectors[rows]


def _joined(arrays: Sequence[NDArray[np.generic]]) -> NDArray[np.generic]:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
