"""Running the tasks of a search: in the calling thread when the work is small, over a pool when it is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

from milvine.search.plan import Task
from milvine.search.portions import Room
from milvine.search.scan import scan
from milvine.types import Hits, MetricType, Query

_BATCH_QUERIES_MIN = 16
"""From here on a scan has work for several OpenMP threads by itself."""
_POOL_WORK_MIN = 20_000_000
"""Multiply-adds below which handing a task to another thread costs more than it saves."""
Scan = Callable[[Task, Query, MetricType, int], Hits]


class Executor:
    """A pool of `threads` kernel threads, made when it is first needed.

    Attributes:
        room: for the partial hits of searches that find much.
    """

    def __init__(self, threads: int, room: Room = nullcontext) -> None:
        self.room = room
        self._threads = max(threads, 1)
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="milvine-search")
        self._batches: list[None] = []  # one entry for each big batch that runs; appending needs no lock

    def run(self, tasks: Sequence[Task], query: Query, metric: MetricType, scan: Scan = scan) -> list[Hits]:
        """Partial hits of all tasks, in their order. `scan` may be one that watches, on any thread."""
        nq, width = query.vectors.shape
        if nq >= _BATCH_QUERIES_MIN:
            return self._run_batch(tasks, query, metric, scan)
        if len(tasks) == 1:
            return [scan(tasks[0], query, metric, 1)]
        if self._threads == 1 or nq * width * sum(task.rows for task in tasks) < _POOL_WORK_MIN:
            return [scan(task, query, metric, 1) for task in tasks]
        return list(self._pool.map(lambda task: scan(task, query, metric, 1), tasks))

    def _run_batch(self, tasks: Sequence[Task], query: Query, metric: MetricType, scan: Scan) -> list[Hits]:
        """With OpenMP threads for the first batch alone: matrix products of several threads each take turns in a spin
        lock of OpenBLAS, and four batches at once then take thirty times as long as with one thread each."""
        self._batches.append(None)
        try:
            threads = self._threads if len(self._batches) == 1 else 1
            return [scan(task, query, metric, threads) for task in tasks]
        finally:
            self._batches.pop()

    def close(self) -> None:
        self._pool.shutdown()
