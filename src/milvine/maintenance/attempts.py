"""What failed and when it may be tried again: later each time, and at some time no more."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from milvine.errors import DiskFull
from milvine.events import BuildGivenUp, Events, JobFailed
from milvine.state.collection import CollectionState
from milvine.types import IndexSetting

BACKOFF_SECONDS = 30.0
ATTEMPTS_MAX = 8
"""Over an hour: want of memory is mended by then, rows that a library cannot index are not."""

_Job = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Failure:
    collection_id: int
    setting: IndexSetting
    count: int
    not_before: float


class Attempts:
    """Failed builds and merges by the segments they were about, until those are gone or the index
    setting changes.

    One job that fails does not keep back the others. Opening the database anew, or create_index,
    tries again at once.
    """

    def __init__(self, events: Events, clock: Callable[[], float] = time.monotonic) -> None:
        self._events, self._clock = events, clock
        self._failures: dict[_Job, _Failure] = {}

    def due(self, state: CollectionState, segment_ids: Sequence[int]) -> bool:
        """Whether this job may be tried now."""
        failure = self._failures.get(tuple(segment_ids))
        if failure is None or failure.setting != state.collection.index:
            return True
        return failure.count < ATTEMPTS_MAX and self._clock() >= failure.not_before

    def failed(
        self, state: CollectionState, job: str, segment_ids: Sequence[int], error: Exception
    ) -> None:
        """Remember it and tell."""
        key, setting = tuple(segment_ids), state.collection.index
        before = self._failures.get(key)
        count = before.count if before is not None and before.setting == setting else 0
        wait = BACKOFF_SECONDS
        if not isinstance(error, DiskFull):  # a full disk is no fault of the job, and ends some day
            wait *= 2.0**count
            count += 1
        self._failures[key] = _Failure(state.id, setting, count, self._clock() + wait)
        self._events.emit(JobFailed(f"{job} of collection {state.collection.name}", str(error)))
        if count == ATTEMPTS_MAX and not isinstance(error, DiskFull):
            self._events.emit(BuildGivenUp(state.id, key[0], count, str(error)))

    def waiting(self, state: CollectionState) -> bool:
        """Whether something of this collection will be tried again. What is gone meanwhile is
        forgotten.
        """
        for key, failure in list(self._failures.items()):
            if failure.collection_id == state.id and not all(
                each in state.segments for each in key
            ):
                del self._failures[key]
        mine = (each for each in self._failures.values() if each.collection_id == state.id)
        return any(each.count < ATTEMPTS_MAX for each in mine)
