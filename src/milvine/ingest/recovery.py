"""Opening a database: the catalog, then the log on top of it, by the same `apply` as live."""

from __future__ import annotations

from dataclasses import dataclass

from milvine.catalog.model import Contents
from milvine.config import Settings
from milvine.errors import OperatorError
from milvine.events import Events, SegmentRefused, TornTailCut
from milvine.ingest.apply import apply
from milvine.ingest.ids import IdSource
from milvine.ingest.state import CollectionState
from milvine.segment.cache import FileCache
from milvine.storage.folder import DataFolder
from milvine.storage.local import LocalStorage
from milvine.storage.log_place import place_log
from milvine.wal.log import Log, NoLog
from milvine.wal.record import InsertRecord, Record
from milvine.wal.replay import Replay


@dataclass(frozen=True, slots=True)
class Recovered:
    states: dict[int, CollectionState]
    log: Log
    replayed: int


def recover(
    folder: DataFolder, contents: Contents, files: FileCache, ids: IdSource, settings: Settings, events: Events
) -> Recovered:
    """States of all collections with the log replayed, and the log ready for appending.

    Raises:
        CorruptFile: an acknowledged record is damaged; file and offset are named.
        StorageFailed: the log is not where `wal.path` says, or cannot be read.
    """
    states = {stored.collection.id: CollectionState(stored, files) for stored in contents.collections}
    ids.seen(contents.last_id)
    folder.wal = place_log(folder.root, settings.wal_path)
    replay = Replay(folder.wal, contents.durable_lsn, settings.wal_recovery_error_ignore)
    count = 0
    for lsn, record in replay:
        count += _replayed(states.get(record.collection_id), lsn, record, ids)
    for state in states.values():
        _tell_refused(state, events)
        state.publish()
    if replay.cut is not None:
        events.emit(TornTailCut(str(replay.cut.path), replay.cut.offset, replay.cut.bytes))
    first_free = replay.files[-1].first_lsn if replay.files else 1
    last_lsn = max(replay.last_lsn, contents.durable_lsn, first_free - 1)
    if not settings.wal_enable:
        return Recovered(states, NoLog(last_lsn, replay.files), count)
    log = Log(folder.wal, replay.files, last_lsn, settings.wal_file_bytes, settings.wal_sync)
    return Recovered(states, log, count)


def _replayed(state: CollectionState | None, lsn: int, record: Record, ids: IdSource) -> int:
    if isinstance(record, InsertRecord) and record.generated:
        ids.seen(int(record.ids[-1]))
    if state is None or lsn <= state.flushed_lsn:
        return 0  # dropped since, or flushed
    try:
        apply(state, lsn, record)
    except OperatorError:  # the segment it met is refused to readers, and told of when all is replayed
        return 1
    return 1


def _tell_refused(state: CollectionState, events: Events) -> None:
    for key, each in state.segments.items():
        if each.segment.refused:
            events.emit(SegmentRefused(state.collection.name, key, each.segment.refused))


def sweep(storage: LocalStorage, states: dict[int, CollectionState]) -> tuple[str, ...]:
    """Remove the files that no segment of the catalog needs: what a crash left behind. Returns their names."""
    needed = {name for state in states.values() for name in state.files()}
    return tuple(name for name in storage.names() if name not in needed and storage.remove(name))
