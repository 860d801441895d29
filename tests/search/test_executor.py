"""How many OpenMP threads a scan gets, beside others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from milvine.search.executor import ThreadExecutor
from milvine.types import MetricType, Query


def test_only_one_batch_at_a_time_uses_several_threads_in_its_kernel() -> None:
    executor, seen = ThreadExecutor(4), list[tuple[int, int]]()
    batch = Query(np.zeros((64, 4), np.float32), 1, {}, ())
    tasks: Any = [SimpleNamespace(rows=10), SimpleNamespace(rows=10)]

    def scan(task: Any, query: Query, metric: MetricType, threads: int) -> Any:
        depth = len(seen)
        seen.append((depth, threads))
        if depth == 0:  # another batch comes while the first runs
            executor.run(tasks, batch, MetricType.L2, scan)
        return None

    executor.run(tasks, batch, MetricType.L2, scan)
    assert [threads for _, threads in seen] == [4, 1, 1, 4]

    def fails(*arguments: Any) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        executor.run(tasks, batch, MetricType.L2, fails)
    seen[:] = [(9, 9)]
    executor.run(tasks, batch, MetricType.L2, scan)
    assert seen[1:] == [(1, 4), (2, 4)]
    executor.close()
