"""The one writer: a queue and a thread. Everything that changes the database passes here, in one
order.

Inserts and deletes that queued up while the last group was being synced form the next group: one
append, one fsync, then apply, publish, answer. Anything else (DDL, seals, commits of background
jobs) runs alone between two groups.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import numpy as np

from milvine.errors import DatabaseClosed, DiskFull, MilvineError, ReentrantCall, StorageFailed
from milvine.events import (
    DiskFilled,
    DiskFreed,
    Events,
    GroupCommitted,
    LogFailed,
    SegmentRefused,
    WriterEnded,
)
from milvine.ingest.apply import apply
from milvine.ingest.records import FirstInserts, answered, record_of
from milvine.state.collection import CollectionState
from milvine.state.ids import IdSource
from milvine.state.insert_keys import entry
from milvine.state.requests import DeleteRequest, InsertRequest, Request
from milvine.storage.durable import ROOM_BYTES_MIN
from milvine.storage.failpoints import at
from milvine.types import IdMode, Ids
from milvine.waiting import Outcome
from milvine.wal.log import Log
from milvine.wal.record import InsertRecord, Record

T = TypeVar("T")
_NO_IDS: Ids = np.empty(0, np.int64)


@dataclass(slots=True, eq=False)
class _Call:
    function: Callable[[], Any]
    answer: Outcome[Any] = field(default_factory=Outcome)


class Writer:
    """The thread. Nobody else appends to `log`. A group ends with the request that reaches
    `group_bytes`.

    `in_place` raises FolderGone when the data folder is not the one that was opened: it
    is asked before each turn.
    """

    def __init__(
        self,
        log: Log,
        ids: IdSource,
        events: Events,
        group_bytes: int,
        in_place: Callable[[], None],
    ) -> None:
        self._log, self._in_place = log, in_place
        self._ids, self._events, self._group_bytes = ids, events, group_bytes
        self._queue: SimpleQueue[Request | _Call | None] = SimpleQueue()
        self._next: list[_Call | None] = []
        self._closed = False
        self._broken = ""
        # Bytes that a full disk had no room for, as far as they count for readiness.
        self._wanted = 0
        self._gate = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="milvine-writer", daemon=True)
        self._thread.start()
        self.thread = self._thread

    def submit(self, request: Request) -> Outcome[Ids]:
        """Queue an insert or a delete. It is told when the rows are durable
        and visible, or refused.

        Raises:
            DatabaseClosed: after close.
            ReentrantCall: on its own thread, which would wait for itself.
        """
        self._put(request)
        return request.answer

    def call(self, function: Callable[[], T]) -> T:
        """Run `function` on the writer thread, between two groups, and return what it returns or
        raises. Raises as `submit`.
        """
        request = _Call(function)
        self._put(request)
        result: T = request.answer.result()
        return result

    @property
    def closed(self) -> bool:
        """Whether it takes nothing more."""
        return self._closed

    @property
    def waiting(self) -> int:
        """Requests in the queue, about."""
        return self._queue.qsize()

    def check(self) -> None:
        """Whether inserts and deletes can be expected to succeed. After a failed write the log is
        tried again.

        Raises:
            DatabaseClosed: after close.
            StorageFailed: the thread has ended, or the log cannot be written; the text says which.
                FolderGone: folder or log are not where they were.
            DiskFull: there is no room for inserts; once there is, they go on.
        """
        self._check_open()
        self._in_place()
        if self._log.failed:
            self.call(self._log.repair)
        self._log.check_place()
        self._log.check_room(self._wanted)

    def close(self) -> None:
        """Finish what is queued, then stop. May be called again, as after an interrupt."""
        with self._gate:
            self._closed = True
            self._queue.put(None)  # a second one finds nobody
        self._thread.join()
        self._log.close()

    def _put(self, request: Request | _Call) -> None:
        if threading.current_thread() is self.thread:
            raise ReentrantCall
        with self._gate:
            self._check_open()
            self._queue.put(request)

    def _check_open(self) -> None:
        if self._closed:
            raise DatabaseClosed
        if self._broken:
            raise StorageFailed(self._broken)

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        except (
            BaseException
        ) as error:  # memory may now say something else than the log: nothing more is stored
            with self._gate:
                self._broken = (
                    "Nothing can be stored until the database is opened anew, which loses nothing:"
                    f" {error!r}"
                )
            self._events.emit(WriterEnded(self._broken))
            self._refuse_waiting()

    def _refuse_waiting(self) -> None:
        """Nobody waits for a thread that has ended."""
        while True:
            try:
                request = self._next.pop() if self._next else self._queue.get_nowait()
            except Empty:
                return
            if request is not None:
                request.answer.set_exception(StorageFailed(self._broken))

    def _turn(self) -> bool:
        """Serve what is first in the queue; False at the end. Nothing outlives its turn: requests
        hold rows.
        """
        first = self._next.pop() if self._next else self._queue.get()
        if first is None:
            return False
        if isinstance(first, _Call):
            self._settle(first)
        else:
            group = self._gather(first)
            try:
                self._commit(group)
            except BaseException as error:
                unknown = StorageFailed(f"It is not known whether this was stored: {error!r}")
                for request in group:
                    if not request.answer.done:
                        request.answer.set_exception(unknown)
                raise
        return True

    def _gather(self, first: Request) -> list[Request]:
        """The requests that queued up, up to a size or to something that must run alone."""
        group, size = [first], first.bytes
        while size < self._group_bytes and not self._next:
            try:
                request = self._queue.get_nowait()
            except Empty:
                break
            if request is None or isinstance(request, _Call):
                self._next.append(request)
            else:
                group.append(request)
                size += request.bytes
        return group

    def _commit(self, group: list[Request]) -> None:
        """Validate, log with one sync, apply, publish, answer."""
        try:
            self._in_place()
            self._log.check_place()
        except StorageFailed as error:
            return self._refuse(group, error)
        accepted: list[tuple[Request, Record]] = []
        modes: dict[int, IdMode] = {}
        firsts: FirstInserts = {}
        for request in group:
            try:
                if isinstance(request, InsertRequest) and request.key and answered(request, firsts):
                    continue
                record = record_of(request, modes, self._ids)
            except Exception as error:  # of this request alone: nothing was changed for it
                request.answer.set_exception(error)
                continue
            if record is None:
                request.answer.set_result(_NO_IDS)
            else:
                accepted.append((request, record))
                if (
                    isinstance(request, InsertRequest)
                    and isinstance(record, InsertRecord)
                    and record.key
                ):
                    firsts[request.state.id, record.key] = request, entry(0, record)
        accepted = self._with_room(accepted)
        if not accepted:
            return
        first, began = self._log.last_lsn + 1, time.perf_counter()
        try:
            self._log.append([record for _, record in accepted])
        except Exception as error:  # nothing of the group counts as written
            return self._refuse([request for request, _ in accepted], error)
        if self._events.busy:
            size = sum(request.bytes for request, _ in accepted)
            seconds = time.perf_counter() - began
            self._events.emit(GroupCommitted(len(accepted), size, seconds, self._log.sync_seconds))
        self._apply(accepted, first)

    def _refuse(self, group: list[Request], error: Exception) -> None:
        self._events.emit(LogFailed(str(error)))
        for request in group:
            request.answer.set_exception(error)

    def _settle(self, call: _Call) -> None:
        try:
            self._in_place()
            call.answer.set_result(call.function())
        except BaseException as error:  # handed to whoever waits for it
            call.answer.set_exception(error)

    def _with_room(self, accepted: list[tuple[Request, Record]]) -> list[tuple[Request, Record]]:
        """All, or with a full disk the deletes alone: what is left of it is for them, for drops and
        for flushes.
        """
        size = sum(request.bytes for request, _ in accepted if isinstance(request, InsertRequest))
        if not size:
            return accepted
        try:
            self._log.check_room(size)
        except StorageFailed as error:
            if isinstance(error, DiskFull):
                if not self._wanted:
                    self._events.emit(DiskFilled(str(error)))
                self._wanted = min(size, ROOM_BYTES_MIN)
            for request, _ in accepted:
                if isinstance(request, InsertRequest):
                    request.answer.set_exception(error)
            return [pair for pair in accepted if isinstance(pair[0], DeleteRequest)]
        if self._wanted:
            self._wanted = 0
            self._events.emit(DiskFreed())
        return accepted

    def _apply(self, accepted: list[tuple[Request, Record]], first_lsn: int) -> None:
        changed: dict[int, tuple[CollectionState, bool]] = {}
        failures: dict[int, Exception] = {}
        for lsn, (request, record) in enumerate(accepted, first_lsn):
            state = request.state
            try:
                whole = apply(state, lsn, record)
            except (
                MilvineError
            ) as error:  # a damaged segment: logged all the same, and named to the caller
                failures[lsn] = error
                whole = True
                for key in state.unapplied:
                    self._events.emit(SegmentRefused(state.collection.name, key, str(error)))
            changed[state.id] = (state, whole or changed.get(state.id, (state, False))[1])
        at("apply.done")
        for state, whole in changed.values():
            if state.pending_lsn is not None and state.pending_since is None:
                state.pending_since = time.monotonic()
            state.publish() if whole else state.publish_tail()
        for lsn, (request, record) in enumerate(accepted, first_lsn):
            if lsn in failures:
                request.answer.set_exception(failures[lsn])
            else:
                request.answer.set_result(record.ids)
