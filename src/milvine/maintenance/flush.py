"""Flushes from seal to commit, and the log files that they free: many collections share the steps
of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from milvine.errors import CorruptFile, FolderGone, OperatorError, StorageFailed
from milvine.events import Event, Flushed, NonfiniteStored
from milvine.interrupts import foreign
from milvine.maintenance.flush_steps import Flush, Sealed, commit, seal, write
from milvine.maintenance.reclaim import retire
from milvine.state.collection import CollectionState
from milvine.state.stores import Stores
from milvine.storage.failpoints import at

_TOGETHER = 128
"""Collections of one commit: while it is made the writer does nothing else, and
their next flushes wait."""
_TOGETHER_BYTES = 64 << 20
"""Tails of one commit, the last of which may be larger."""
Failure = tuple[CollectionState, Exception]


def flush(stores: Stores, *states: CollectionState) -> None:
    """Write everything acknowledged so far for these collections to segments.

    Raises:
        StorageFailed, CorruptFile: nothing is lost: the rows stay in the log and in memory. All
            other collections are flushed.
    """
    for _, error in flush_each(stores, states):
        raise error


def flush_each(
    stores: Stores, states: Iterable[CollectionState], commit_bytes: int = _TOGETHER_BYTES
) -> list[Failure]:
    """The same; returns which collections could not be flushed, and why. A commit takes no more
    collections once their tails have `commit_bytes`.
    """
    failures: list[Failure] = []
    for portion in _portions(states, commit_bytes):
        try:
            _flush_portion(stores, portion, failures)
        except FolderGone as error:  # the writer does nothing there
            failures += ((state, error) for state in portion)
    return failures


def _portions(
    states: Iterable[CollectionState], commit_bytes: int
) -> Iterator[list[CollectionState]]:
    """Those that have something to flush, so many at a time as one commit takes."""
    portion: list[CollectionState] = []
    size = 0
    for state in states:
        if state.pending_lsn is None:
            continue
        portion.append(state)
        size += state.memtable.bytes
        if len(portion) >= _TOGETHER or size >= commit_bytes:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def _flush_portion(
    stores: Stores, states: Sequence[CollectionState], failures: list[Failure]
) -> None:
    """Together; one that is being flushed by somebody else is waited for afterwards, when
    nobody waits for this."""
    free: list[CollectionState] = []
    try:
        free += (state for state in states if state.flushing.acquire(blocking=False))
        told = _flush(stores, free, failures)
    finally:
        try:
            _release(states)
        except BaseException:  # interrupted: those that were released are not ours any more
            _release(states)
            raise
    _tell(stores, told)
    for state in states:
        if state not in free:
            with state.flushing:
                told = _flush(stores, [state], failures)
            _tell(stores, told)


def _release(states: Sequence[CollectionState]) -> None:
    """Let go of all that this thread has, also of one that was taken as an interrupt came."""
    for state in states:
        with suppress(RuntimeError):  # not ours
            state.flushing.release()


def _tell(stores: Stores, told: Sequence[Event]) -> None:
    """When nothing here holds the rows any more, so that a listener may trim memory."""
    for event in told:
        stores.events.emit(event)


def _flush(
    stores: Stores, states: Sequence[CollectionState], failures: list[Failure]
) -> list[Event]:
    sealed = stores.writer.call(lambda: _seal(stores, states, failures)) if states else []
    if not sealed:
        return []
    at("flush.sealed")
    flushes = _write(stores, sealed, failures)
    at("flush.written")
    made = stores.writer.call(lambda: _commit(stores, flushes, failures)) if flushes else []
    return [event for each in made for event in _told(each)]


def _told(flush: Flush) -> Iterator[Event]:
    records, written = flush.written.records, flush.written
    rows, size = (
        sum(record.rows for record in records),
        sum(record.data_bytes for record in records),
    )
    yield Flushed(flush.state.id, rows, len(records), flush.sealed.lsn, written.seconds, size)
    if written.nonfinite and not flush.state.nonfinite_told:
        flush.state.nonfinite_told = True
        yield NonfiniteStored(flush.state.collection.name, written.nonfinite)


def _seal(
    stores: Stores, states: Sequence[CollectionState], failures: list[Failure]
) -> list[tuple[CollectionState, Sealed]]:
    """On the writer thread: all as of one LSN."""
    found = []
    for state in states:
        try:
            sealed = seal(state, stores.log.last_lsn)
        except OperatorError as error:
            failures.append((state, error))
            continue
        if sealed is not None:
            found.append((state, sealed))
    return found


def _write(
    stores: Stores, sealed: Sequence[tuple[CollectionState, Sealed]], failures: list[Failure]
) -> list[Flush]:
    """Files of each, and one sync of their names."""
    flushes: list[Flush] = []
    try:
        with stores.storage.names_together() as storage:
            for state, each in sealed:
                try:
                    written = write(each, storage, stores.ids, stores.settings.index_rows_min)
                except Exception as error:  # of this collection alone
                    if foreign(error):
                        raise
                    failures.append((state, error))
                    continue
                flushes.append(Flush(state, each, written))
                at("flush.collection_written")
    except StorageFailed as error:
        for flush in flushes:
            failures.append((flush.state, error))
            retire(stores, flush.written.files)
        return []
    return flushes


def _commit(stores: Stores, flushes: Sequence[Flush], failures: list[Failure]) -> list[Flush]:
    """On the writer thread; returns those that are real now."""
    left = [flush for flush in flushes if not flush.overtaken]
    for flush in flushes:
        if flush.overtaken:
            retire(stores, flush.written.files)
    try:
        stores.log.sync()  # with wal.sync off: the catalog must not get ahead of the log
    except StorageFailed as error:
        for flush in left:
            failures.append((flush.state, error))
            retire(stores, flush.written.files)
        return []
    made = _committed(stores, left, failures) if left else []
    at("flush.published")
    stores.trim_log()
    return made


def _committed(stores: Stores, flushes: Sequence[Flush], failures: list[Failure]) -> list[Flush]:
    """All in one commit; each by itself where some entries of the catalog are damaged."""
    before = [flush.state.files() for flush in flushes]
    try:
        commit(flushes, stores.catalog, stores.ids)
    except (StorageFailed, CorruptFile) as error:
        if len(flushes) > 1 and isinstance(error, CorruptFile):
            return [made for each in flushes for made in _committed(stores, [each], failures)]
        for flush in flushes:
            failures.append((flush.state, error))
            stores.in_doubt(flush.written.files)
        return []
    for flush, known in zip(flushes, before, strict=True):
        retire(stores, (known | flush.written.files) - flush.state.files())
    return list(flushes)
