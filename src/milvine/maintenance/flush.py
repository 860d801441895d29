"""One flush from seal to commit, and the log files that it frees."""

from __future__ import annotations

from milvine.errors import StorageFailed
from milvine.events import Flushed
from milvine.ingest.flush import Sealed, Written, commit, seal, write
from milvine.ingest.state import CollectionState
from milvine.ingest.stores import Stores
from milvine.maintenance.reclaim import retire
from milvine.storage.failpoints import at


def flush(stores: Stores, state: CollectionState) -> None:
    """Write everything acknowledged so far for this collection to segments.

    Raises:
        StorageFailed: nothing is lost: the rows stay in the log and in memory.
    """
    flushed = _flush(stores, state)
    if flushed is not None:  # told when nothing here holds the rows any more, so that a listener may trim memory
        stores.events.emit(flushed)


def _flush(stores: Stores, state: CollectionState) -> Flushed | None:
    with state.flushing:
        sealed = stores.writer.call(lambda: seal(state, stores.writer.log.last_lsn))
        if sealed is None:
            return None
        at("flush.sealed")
        written = write(sealed, stores.storage, stores.ids, stores.settings.index_rows_min)
        at("flush.written")
        stores.writer.call(lambda: _commit(stores, state, sealed, written))
    rows = sum(record.rows for record in written.records)
    size = sum(record.data_bytes for record in written.records)
    return Flushed(state.id, rows, len(written.records), sealed.lsn, written.seconds, size)


def _commit(stores: Stores, state: CollectionState, sealed: Sealed, written: Written) -> None:
    before = state.files()
    fresh = {name for record in written.records for name in record.files}
    if written.tombstone_file:
        fresh.add(written.tombstone_file)
    if not state.dropped:
        try:
            stores.writer.log.sync()  # with wal.sync off: the catalog must not get ahead of the log
        except StorageFailed:
            retire(stores, fresh)
            raise
        try:
            commit(state, sealed, written, stores.catalog, stores.ids)
        except StorageFailed:
            stores.in_doubt(fresh)
            raise
        retire(stores, (before | fresh) - state.files())
        at("flush.published")
        stores.trim_log()
    else:
        retire(stores, fresh)
