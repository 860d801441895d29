"""Watching a search: what it planned, and how long each step took. Made only when somebody wants to
know.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Any

from milvine.index.params import RECALL, search_keys
from milvine.search.plan import Plan, Task
from milvine.search.scan import scan
from milvine.types import Choice, Hits, MetricType, Query, WatchedSearch

_NOTHING = Plan(())


class Stopwatch:
    """For one search; starts when it is made. Scans may be told from any thread."""

    __slots__ = (
        "_k",
        "_metric",
        "_plan",
        "_planned",
        "_recall",
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
        self._recall: float | None = None
        self._k = 0

    def planned(self, plan: Plan, metric: MetricType, query: Query) -> None:
        """The plan is made, and its tasks are about to be scanned for the query."""
        self._plan, self._metric = plan, metric
        self._recall, self._k = query.params.get(RECALL), query.k
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
        scans, tasks, choices = [], self._plan.tasks, self._choices()
        for number, task in enumerate(tasks):
            began, ended = self._times.get(id(task)) or (planned, scanned)
            choice = choices[number] if choices else None
            indexed = choice is None or bool(choice.picked)
            scans.append((task.scanned(indexed), began - start, ended - start))
        telling, skipped = _telling(params), self._plan.skipped
        return WatchedSearch(self._metric, telling, *steps, scans, skipped, choices)

    def _choices(self) -> tuple[Choice | None, ...]:
        """Of each task; none where no recall was asked for."""
        recall = self._recall
        if recall is None:
            return ()
        return tuple(task.chosen(recall, self._k) for task in self._plan.tasks)


def _telling(params: Mapping[str, Any]) -> dict[str, float]:
    """The numbers by which a search is fast or slow. Whatever else a caller sent stays out
    of logs.
    """
    if not params:
        return {}
    return {key: params[key] for key in search_keys() if isinstance(params.get(key), (int, float))}
