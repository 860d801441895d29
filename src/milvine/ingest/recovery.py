"""Opening a database: the catalog, then the log on top of it, by the same `apply` as live."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from milvine.catalog.model import Contents
from milvine.config import Settings
from milvine.errors import CorruptFile, OperatorError
from milvine.events import Events, LogMissing, SegmentRefused, TornTailCut
from milvine.ingest.apply import apply
from milvine.ingest.checks import Fitting, never_made
from milvine.ingest.orphans import forgotten
from milvine.segment.cache import FileCache
from milvine.segment.layout import COMPONENT_NAME, read_footer
from milvine.segment.version import LiveSegment
from milvine.state.collection import CollectionState
from milvine.state.ids import IdSource
from milvine.storage.base import TEMPORARY, Storage
from milvine.storage.failpoints import at
from milvine.storage.folder import DataFolder
from milvine.storage.log_place import place_log
from milvine.storage.swapped import SwappedMemory
from milvine.types import Ids, RowMask
from milvine.wal.log import Log, NoLog
from milvine.wal.record import InsertRecord, Record
from milvine.wal.replay import Replay

_NUMBERS_MAX = 1 << 62


@dataclass(frozen=True, slots=True)
class Recovered:
    states: dict[int, CollectionState]
    log: Log
    replayed: int
    first_lsn: int | None
    """The oldest LSN in the log; None when there was no log."""


def recover(
    folder: DataFolder,
    contents: Contents,
    files: FileCache,
    ids: IdSource,
    settings: Settings,
    events: Events,
) -> Recovered:
    """States of all collections with the log replayed, and the log ready for appending.

    Raises:
        CorruptFile: an acknowledged record is damaged or cannot be applied, file and offset are
            named; or the catalog lost commits, or the log a file in its middle.
        StorageFailed: the log is not where `wal.path` says, or cannot be read.
    """
    states = {
        stored.collection.id: CollectionState(stored, files) for stored in contents.collections
    }
    ids.seen(contents.last_id)
    folder.wal = place_log(folder.root, settings.wal_path)
    misfit = Fitting.of(contents).misfit
    needed = partial(_needed, states)
    replay = Replay(
        folder.wal, contents.durable_lsn, settings.wal_recovery_error_ignore, misfit, needed
    )
    # What is flushed counts, too, but is not known yet.
    if replay.bytes > settings.insert_buffer_size:
        memory = SwappedMemory(folder.root)
        for state in states.values():
            state.memtable.memory = memory
    count = 0
    for lsn, record in replay:
        _check_made(contents, lsn, record)
        count += _replayed(states.get(record.collection_id), lsn, record, ids)
    at("open.replayed")
    for state in states.values():
        state.memtable.memory = None
        _tell_refused(state, events)
        state.publish()
    if replay.cut is not None:
        events.emit(TornTailCut(str(replay.cut.path), replay.cut.offset, replay.cut.bytes))
    if settings.wal_enable and contents.collections and not replay.files:
        events.emit(LogMissing(str(folder.wal)))
    first_free = replay.files[-1].first_lsn if replay.files else 1
    last_lsn = max(replay.last_lsn, contents.durable_lsn, first_free - 1)
    first_lsn = replay.files[0].first_lsn if replay.files else None
    if not settings.wal_enable:
        return Recovered(states, NoLog(last_lsn, replay.files), count, first_lsn)
    log = Log(folder.wal, replay.files, last_lsn, settings.wal_file_bytes, settings.wal_sync)
    return Recovered(states, log, count, first_lsn)


def _check_made(contents: Contents, lsn: int, record: Record) -> None:
    what = never_made(contents, record)
    if what:
        raise CorruptFile(
            f"The catalog has lost commits: LSN {lsn} in the log is for {what}, which it never"
            " made. See `milvine repair`"
        )


def _needed(states: dict[int, CollectionState], lsn: int, record: Record) -> bool:
    """Whether an insert or delete is in no segment and no tombstones yet.

    The flush of a collection need not reach deletes that found nothing, and inserts of a partition
    that was dropped.
    """
    state = states.get(record.collection_id)
    if state is None or lsn <= state.flushed_lsn:
        return False
    if isinstance(record, InsertRecord):
        return record.partition_id in state.partitions
    ids = np.unique(record.ids)
    return any(
        _kills(each, ids)
        for each in state.segments.values()
        if record.partition_id in (0, each.segment.record.partition_id)
    )


def _kills(each: LiveSegment, ids: Ids) -> bool:
    """Whether a live row of a segment has one of `ids`, ascending; one that cannot be read may."""
    try:
        rows = each.segment.find(ids)
    except OperatorError:
        return True
    mask = each.mask or RowMask.all_live(each.segment.rows)
    return mask.without(rows) is not mask


def _replayed(state: CollectionState | None, lsn: int, record: Record, ids: IdSource) -> int:
    if isinstance(record, InsertRecord) and record.generated and len(record.ids):
        ids.seen(int(record.ids[-1]))
    if state is None or lsn <= state.flushed_lsn:
        return 0  # dropped since, or flushed
    try:
        apply(state, lsn, record)
    except (
        OperatorError
    ):  # the segment it met is refused to readers, and told of when all is replayed
        return 1
    return 1


def _tell_refused(state: CollectionState, events: Events) -> None:
    for key, each in state.segments.items():
        if each.segment.refused:
            events.emit(SegmentRefused(state.collection.name, key, each.segment.refused))


def newest_number(storage: Storage) -> int:
    """The highest number that a file is named by: names are not given again, and what a killed
    builder still writes never gets the name of something newer."""
    numbers = (name.partition("-")[2].partition(".")[0] for name in storage.names())
    own_numbers = (int(number) for number in numbers if number.isdecimal())
    # Not what somebody else put there.
    return max((number for number in own_numbers if number < _NUMBERS_MAX), default=0)


def sweep(
    storage: Storage, states: dict[int, CollectionState], first_lsn: int | None
) -> tuple[str, ...]:
    """Remove the components that no segment of the catalog needs: what a crash left
    behind. Returns their names.

    Other files that lie there (logs, tokens: settings name folders) stay.

    Raises:
        CorruptFile: one of them proves that the catalog lost a commit; nothing is removed.
    """
    names = {
        name for name in storage.names() if COMPONENT_NAME.fullmatch(name.removesuffix(TEMPORARY))
    }
    orphans = sorted(names - {name for state in states.values() for name in state.files()})
    records = [each.segment.record for state in states.values() for each in state.segments.values()]
    missing = {record.id for record in records if record.rows_file not in names}
    flushed = {state.id: state.flushed_lsn for state in states.values()}
    for name in orphans:
        reason = _kept(storage, name, flushed, missing, first_lsn)
        if reason:
            raise CorruptFile(
                f"The catalog has lost commits: {name} is in none, but {reason}. See `milvine"
                " repair`"
            )
    return tuple(name for name in orphans if storage.remove(name))


def _kept(
    storage: Storage,
    name: str,
    flushed: dict[int, int],
    missing: set[int],
    first_lsn: int | None,
) -> str | None:
    if not name.startswith(("rows-", "dead-")) or name.endswith(TEMPORARY):
        return None
    try:
        return forgotten(read_footer(name, storage.read(name)), flushed, missing, first_lsn)
    except OperatorError:
        return None  # nothing is known of it, and nothing needs it
