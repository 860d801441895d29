"""Watching a search: what it planned, and how long each step took. Made only when somebody wants to
know.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Any

from milvine.index.params import search_keys
from milvine.search.plan import Plan, Task
from milvine.search.scan import scan
from milvine.types import Hits, MetricType, Query, WatchedSearch

_NOTHING = Plan(())


class Stopwatch:
    """For one search; starts when it is made. Scans may be told from any thread."""

    __slots__ = (
        "_metric",
        "_plan",
        "_planned",
        "_reduced",
        "_reducing",
        "_scanned",
        "_times",
        "began",
    )

    def __init__(self) -> None:
        self.began = self._planned = self._scanned = self._reduced = perf_counter()
        self._reducing = 0.0
        self._plan = _NOTHING
        self._times: dict[int, tuple[float, float]] = {}
        self._metric: MetricType | None = None

    def planned(self, plan: Plan, metric: MetricType) -> None:
        """The plan is made, and its tasks are about to be scanned."""
        self._plan, self._metric = plan, metric
        self._planned = self._scanned = self._reduced = perf_counter()

    def scan(self, task: Task, query: Query, metric: MetricType, threads: int) -> Hits:
        """`milvine.search.scan.scan`, timed. One that is the only task need not be: it is all that
        `scanned` ends.

        Of a search in portions, a task's time is that from its first scan to its last.
        """
        began = perf_counter()
        hits = scan(task, query, metric, threads)
        first, _ = self._times.get(id(task)) or (began, began)
        # The plan keeps the task, so its id is its own.
        self._times[id(task)] = (first, perf_counter())
        return hits

    def scanned(self) -> None:
        self._scanned = self._reduced = perf_counter()

    def reduced(self) -> None:
        self._reduced = perf_counter()
        self._reducing += self._reduced - self._scanned

    @property
    def seconds(self) -> float:
        """Since the beginning, up to now."""
        return perf_counter() - self.began

    def watched(self, params: Mapping[str, Any]) -> WatchedSearch:
        """What was seen; `params` are those of the query."""
        start, planned, scanned, reducing = self.began, self._planned, self._scanned, self._reducing
        steps = planned - start, self._reduced - planned - reducing, reducing
        scans = []
        for task in self._plan.tasks:
            began, ended = self._times.get(id(task)) or (planned, scanned)
            scans.append((task.scanned(), began - start, ended - start))
        return WatchedSearch(self._metric, _telling(params), *steps, scans, self._plan.skipped)


def _telling(params: Mapping[str, Any]) -> dict[str, float]:
    """The numbers by which a search is fast or slow. Whatever else a caller sent stays out
    of logs.
    """
    if not params:
        return {}
    return {key: params[key] for key in search_keys() if isinstance(params.get(key), (int, float))}
