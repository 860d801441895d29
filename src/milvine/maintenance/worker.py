"""The background threads: one flushes and removes files, one merges and builds, one checks what was
written.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeAlias

from milvine.catalog.model import SegmentRecord
from milvine.errors import MilvineError
from milvine.events import IndexSetAside, JobFailed
from milvine.limits import INDEX_DEAD_MAX, INDEX_DEAD_MOST, MIB
from milvine.maintenance.attempts import BACKOFF_SECONDS, Attempts
from milvine.maintenance.build import build_segment, makes_codes, must_wait, take_out_indexes
from milvine.maintenance.flush import flush_each
from milvine.maintenance.merge import merge
from milvine.maintenance.policy import (
    SegmentFacts,
    TailFacts,
    builds,
    codes_due,
    flush_due,
    forced_builds,
    merges,
    rebuilds,
)
from milvine.maintenance.reclaim import reclaim
from milvine.maintenance.scrub import scrub_loop
from milvine.segment.version import LiveSegment
from milvine.state.collection import CollectionState
from milvine.state.stores import Stores
from milvine.types import IndexType
from milvine.waiting import Flag

_TICK_SECONDS = 1.0
_LOG_FILES_MAX = 4
_SETTLED_SECONDS = 1.0
"""While rows come in, segments are merged one after the other: codes would be made in vain."""

Job: TypeAlias = tuple[str, tuple[int, ...]]
"""What to do, as a word, and with which segments."""


class Worker:
    """Background work of one database. `wake` makes it look at once; `close` ends it after the
    current step.
    """

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._wake = Flag()
        self._attempts = Attempts(stores.events)
        self._not_before: dict[int, float] = {}
        self._resuming = set(stores.states)
        self._seen: dict[int, tuple[list[int], float]] = {}
        self._unsettled = False
        interval = stores.settings.auto_flush_interval or _TICK_SECONDS
        self._threads = [
            threading.Thread(
                target=self._flush_loop, args=(interval,), name="milvine-flush", daemon=True
            ),
            threading.Thread(target=self._merge_loop, name="milvine-merge", daemon=True),
            threading.Thread(target=self._scrub_loop, name="milvine-scrub", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Something was flushed, or an index was asked for."""
        self._wake.set()

    @property
    def ended(self) -> str:
        """The name of a thread that has ended before `close`; empty while all are at work."""
        return next((each.name for each in self._threads if not each.is_alive()), "")

    def runs_here(self) -> bool:
        """Whether this is one of its threads."""
        return threading.current_thread() in self._threads

    def close(self) -> None:
        """Ends the threads; a build that runs is stopped and done again after the next open."""
        self._wake.set()
        for thread in self._threads:
            thread.join()

    def _flush_loop(self, interval: float) -> None:
        settings = self._stores.settings
        while not self._stores.closing.wait(interval):
            if settings.auto_flush_interval:
                self._try("flush", None, self._flush_due)
            self._try(
                "removal of files",
                None,
                partial(reclaim, self._stores, settings.file_cleanup_timeout),
            )

    def _flush_due(self) -> None:
        due = due_flushes(self._stores)
        for state, error in flush_each(self._stores, due):
            self._failed("flush", state, error)
        if due:
            self.wake()

    def _merge_loop(self) -> None:
        while not self._stores.closing.is_set():
            self._wake.wait(_SETTLED_SECONDS if self._unsettled else BACKOFF_SECONDS)
            self._wake.clear()
            self._unsettled = False
            while (
                self._try("merge or build", None, self._round) and not self._stores.closing.is_set()
            ):
                pass

    def _scrub_loop(self) -> None:
        while not self._stores.closing.is_set():
            self._try("scrub", None, partial(scrub_loop, self._stores))

    def _round(self) -> bool:
        """One look at all collections; True when something was done, so that another look
        may pay.
        """
        did, states = False, list(self._stores.states.values())
        self._seen = {state.id: self._seen[state.id] for state in states if state.id in self._seen}
        for state in states:
            if self._stores.closing.is_set() or time.monotonic() < self._not_before.get(
                state.id, 0
            ):
                continue
            did |= bool(self._try("merge or build", state, partial(self._maintain, state)))
        return did

    def _maintain(self, state: CollectionState) -> bool:
        """One step; builds that an earlier process left undone, or whose files were damaged, come
        before all else.
        """
        if heal(self._stores, state):
            self._resuming.add(state.id)
        resuming = state.id in self._resuming
        did = maintain(self._stores, state, resuming, self._attempts, self._settled(state))
        if did is False and not self._attempts.waiting(state):
            self._resuming.discard(state.id)
        return bool(did)

    def _settled(self, state: CollectionState) -> bool:
        """Whether the segments of a collection have been the same for a moment, if that matters."""
        if not makes_codes(self._stores.settings, state.collection):
            return True
        now, ids = time.monotonic(), [each.segment.record.id for each in state.version.segments]
        before, since = self._seen.get(state.id, (None, now))
        if ids != before:
            since = now
        self._seen[state.id] = ids, since
        settled = now - since >= _SETTLED_SECONDS or state.id in self._resuming
        self._unsettled |= not settled
        return settled

    def _try(self, job: str, state: CollectionState | None, step: Callable[[], object]) -> object:
        """What `step` returns; False when it failed, of whatever: these threads are the only ones
        that do this work.
        """
        try:
            return step()
        except Exception as error:
            self._failed(job, state, error)
            return False

    def _failed(self, job: str, state: CollectionState | None, error: Exception) -> None:
        if self._stores.closing.is_set():
            return
        whose = f" of collection {state.collection.name}" if state else ""
        reason = (
            str(error) if isinstance(error, MilvineError) else f"{type(error).__name__}: {error}"
        )
        self._stores.events.emit(JobFailed(job + whose, reason))
        if state:
            self._not_before[state.id] = time.monotonic() + BACKOFF_SECONDS


def maintain(
    stores: Stores,
    state: CollectionState,
    resuming: bool = False,
    attempts: Attempts | None = None,
    settled: bool = True,
) -> bool | None:
    """One merge or one build of a collection, if the policies want one; whether something was done
    or tried.

    None says that create_index or compact is at work on the collection, so nothing was looked at,
    or that a build has to wait for others. `resuming` builds every raw segment that create_index
    would have built; codes are made once the segments have `settled`. With `attempts`, failures are
    told and kept there, and no build waits: one thread does this for all collections.

    Raises:
        BuildFailed, OSError, RuntimeError, ValueError: without `attempts`.
    """
    if not state.maintaining.acquire(blocking=False):
        return None
    try:
        return _step(stores, state, _jobs(stores, state, resuming, settled), attempts)
    finally:
        state.maintaining.release()


def _step(
    stores: Stores, state: CollectionState, jobs: Iterator[Job], attempts: Attempts | None
) -> bool | None:
    closing = stores.closing.is_set

    def stop() -> bool:
        return closing() or state.dropped

    done: bool | None = False
    for job, ids in jobs:
        if attempts is not None and not attempts.due(state, ids):
            continue
        if attempts is not None and _must_wait(state, job, ids):
            done = None
            continue
        try:
            if (
                merge(stores, state, ids, stop)
                if job == "merge"
                else build_segment(stores, state, ids[0], stop)
            ):
                return True
        except Exception as error:
            if attempts is None:
                raise
            if not stop():
                attempts.failed(state, job, ids, error)
        if stop():
            return False
    return done


def _must_wait(state: CollectionState, job: str, ids: Sequence[int]) -> bool:
    """Whether a job ends with a build that could not begin now. The rows of a merge are not even
    copied then.
    """
    collection = state.collection
    records = [
        each.segment.record for each in state.version.segments if each.segment.record.id in ids
    ]
    if job == "merge" and (
        collection.index.type is IndexType.FLAT or not any(r.index_file for r in records)
    ):
        return False
    return must_wait(collection, sum(record.rows for record in records))


def _jobs(stores: Stores, state: CollectionState, resuming: bool, settled: bool) -> Iterator[Job]:
    """What the policies want, first things first, as a word and segment ids."""
    target = state.collection.index_file_size_mb * MIB
    segments = facts(state)
    for group in merges(segments, target):
        yield "merge", group
    if makes_codes(stores.settings, state.collection):
        due = codes_due(segments, stores.settings.index_rows_min) if settled else []
        for segment_id in due:
            yield "build", (segment_id,)
    elif state.collection.index.type is not IndexType.FLAT:
        settings = stores.settings
        least = settings.index_rows_min
        due = builds(segments, target, settings.unindexed_rows_max, least)
        for segment_id in forced_builds(segments, least) if resuming else due:
            yield "build", (segment_id,)
        for segment_id in rebuilds(segments, INDEX_DEAD_MOST):
            yield "build", (segment_id,)


def heal(stores: Stores, state: CollectionState) -> bool:
    """Take damaged index files, if any, out of the catalog: an index is a cache, made anew from the
    vectors.
    """
    damaged = stores.files.damaged

    def run() -> list[SegmentRecord]:
        bad = [e for e in state.segments.values() if e.segment.record.index_file in damaged]
        if state.dropped or not bad:
            return []
        take_out_indexes(stores, state, bad)
        return [each.segment.record for each in bad]

    if not any(each.segment.record.index_file in damaged for each in state.version.segments):
        return False
    for record in stores.writer.call(run):
        file = str(record.index_file)
        stores.events.emit(IndexSetAside(state.id, record.id, file, damaged[file]))
    return True


def facts(state: CollectionState) -> list[SegmentFacts]:
    """The current segments as the policies see them; none that cannot be read."""
    return [
        SegmentFacts(
            record.id,
            record.partition_id,
            record.rows,
            record.rows - each.live,
            record.data_bytes,
            record.indexed,
            _held_dead(each),
            record.coded,
        )
        for each in state.version.segments
        for record in (each.segment.record,)
        if not each.segment.refused
    ]


def due_flushes(stores: Stores) -> list[CollectionState]:
    """Collections whose tail is large or old enough, or holds back too much of the log."""
    pending = [state for state in list(stores.states.values()) if state.pending_since is not None]
    if not pending:
        return []
    oldest = stores.oldest_pending_lsn()
    return [state for state in pending if _due(stores, state, oldest)]


def _held_dead(each: LiveSegment) -> float:
    """The deleted rows in the index of a segment, as a share of all rows in it."""
    record = each.segment.record
    if not record.indexed or record.dead <= INDEX_DEAD_MAX * record.rows:
        return 0.0
    left_out = each.segment.left_out()
    return (record.dead - left_out) / max(record.rows - left_out, 1)


def _due(stores: Stores, state: CollectionState, oldest: int | None) -> bool:
    since = state.pending_since
    if since is None:
        return False
    settings = stores.settings
    log_bytes = stores.log.bytes_held if state.pending_lsn == oldest else 0
    tail = TailFacts(state.memtable.bytes, time.monotonic() - since, log_bytes)
    log_max = settings.wal_file_bytes * _LOG_FILES_MAX
    return flush_due(tail, settings.auto_flush_tail_bytes, settings.auto_flush_tail_age, log_max)
