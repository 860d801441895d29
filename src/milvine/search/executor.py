"""Running the tasks of a search: in the calling thread when the work is small, over a pool when it
is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from queue import SimpleQueue
from typing import Protocol

from milvine.errors import DatabaseClosed
from milvine.index import threads
from milvine.memory_plan import UNBOUNDED
from milvine.pool import Pool
from milvine.search.plan import Task
from milvine.search.portions import Reserve
from milvine.search.scan import scan
from milvine.types import Hits, MetricType, Query

_BATCH_QUERIES_MIN = 16
"""From here on a scan has work for several OpenMP threads by itself."""
POOL_WORK_MIN = 20_000_000
"""Multiply-adds below which handing a task to another thread costs more than it saves."""
Scan = Callable[[Task, Query, MetricType, int], Hits]


class Executor(Protocol):
    """Runs the tasks of searches, from any thread.

    Attributes:
        reserve: memory for the partial hits of searches that find much.
        portion_bytes: what such a search finds at a time.
    """

    @property
    def reserve(self) -> Reserve: ...

    @property
    def portion_bytes(self) -> int: ...

    def run(
        self, tasks: Sequence[Task], query: Query, metric: MetricType, scan: Scan = scan
    ) -> list[Hits]:
        """Partial hits of all tasks, in their order: what `scan(task, query, metric, threads)`
        gives, wherever it runs. A task can be pickled, and opened where its files are
        (`milvine.search.plan.ClosedTask`). Another `scan` than the default one watches each task,
        and is of this process.

        Raises:
            DatabaseClosed: after `close`.
            Whatever `scan` raises.
        """

    def close(self) -> None:
        """No search begins any more; those that run are finished."""


class OpenExecutor(Protocol):
    """Makes the executor of a database that is being opened."""

    def __call__(self, threads: int, reserve: Reserve, portion_bytes: int) -> Executor: ...


class ThreadExecutor:
    """In this process: a pool of `threads` kernel threads, made when it is first needed."""

    def __init__(
        self,
        threads: int,
        reserve: Reserve = nullcontext,
        portion_bytes: int = UNBOUNDED.search_portion,
    ) -> None:
        self.reserve, self.portion_bytes = reserve, portion_bytes
        self._threads = max(threads, 1)
        self._pool = Pool(self._threads, "milvine-search")
        # One entry for each big batch that runs; changing it needs no lock.
        self._batches: dict[object, None] = {}

    def run(
        self, tasks: Sequence[Task], query: Query, metric: MetricType, scan: Scan = scan
    ) -> list[Hits]:
        """As `Executor.run`, here and over the pool."""
        before = threads.threads()
        try:
            return self._run(tasks, query, metric, scan)
        finally:
            threads.use_threads(before)

    def _run(
        self, tasks: Sequence[Task], query: Query, metric: MetricType, scan: Scan
    ) -> list[Hits]:
        nq, width = query.vectors.shape
        if nq >= _BATCH_QUERIES_MIN:
            return self._run_batch(tasks, query, metric, scan)
        if len(tasks) == 1:
            return [scan(tasks[0], query, metric, 1)]
        if self._threads == 1 or nq * width * sum(task.rows for task in tasks) < POOL_WORK_MIN:
            return [scan(task, query, metric, 1) for task in tasks]
        return self._spread(tasks, lambda task: scan(task, query, metric, 1))

    def _run_batch(
        self, tasks: Sequence[Task], query: Query, metric: MetricType, scan: Scan
    ) -> list[Hits]:
        """With OpenMP threads for the first batch alone: matrix products of several threads each
        take turns in a spin lock of OpenBLAS, and four batches at once then take thirty times as
        long as with one thread each."""
        mine = object()
        try:
            self._batches[mine] = None
            threads = self._threads if len(self._batches) == 1 else 1
            return [scan(task, query, metric, threads) for task in tasks]
        finally:
            self._batches.pop(mine, None)

    def _spread(self, tasks: Sequence[Task], scan: Callable[[Task], Hits]) -> list[Hits]:
        spread = _Spread(scan, len(tasks))
        try:
            for number, task in enumerate(tasks):
                if not self._pool.put(partial(spread.work, number, task)):
                    raise DatabaseClosed
            return spread.gather()
        finally:
            spread.over = True

    def close(self) -> None:
        """Ends the threads; searches that are over the pool already are finished."""
        self._pool.close()


class _Spread:
    """A search over the pool. Once it is `over`, what no thread has begun need not be done."""

    def __init__(self, scan: Callable[[Task], Hits], tasks: int) -> None:
        self._scan, self._tasks, self.over = scan, tasks, False
        self._mail: SimpleQueue[tuple[int, Hits] | BaseException] = SimpleQueue()

    def work(self, number: int, task: Task) -> None:
        """One task, on a thread of the pool."""
        if self.over:
            return
        try:
            self._mail.put((number, self._scan(task)))
        except BaseException as error:  # raised where the search waits
            self._mail.put(error)

    def gather(self) -> list[Hits]:
        """The hits of all tasks, in their order, or the first error."""
        found: dict[int, Hits] = {}
        while len(found) < self._tasks:
            told = self._mail.get()
            if isinstance(told, BaseException):
                raise told
            found[told[0]] = told[1]
        return [found[number] for number in range(self._tasks)]
