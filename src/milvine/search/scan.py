"""Scanning one task: (task, query) -> partial hits. A pure function; threads and processes run the
same one.
"""

from __future__ import annotations

import numpy as np

from milvine.index.binary import search_bits
from milvine.index.exact import search_exact
from milvine.index.params import RECALL
from milvine.index.score import FEW
from milvine.search.plan import SegmentTask, Task
from milvine.types import Floats, Hits, Ids, MetricType, Query, RowMask, Vectors


def scan(task: Task, query: Query, metric: MetricType, threads: int, exact: bool = False) -> Hits:
    """The nearest live rows of one segment or tail block: ids -1 where there are fewer than k.

    `exact` leaves the index out, as does another metric than it was built for, and a recall that it
    is not sure to have.
    """
    k = min(query.k, task.rows)
    if isinstance(task, SegmentTask):
        opened, params = task.run.scan_input(exact or metric is not task.run.metric), query.params
        if opened.tuning is not None and RECALL in params:
            picked = opened.tuning.params(params[RECALL], k)
            if picked is None:
                opened = task.run.scan_input(True)
            else:
                params = picked
        ids, index = opened.ids, opened.index
        if index is not None:
            distances, rows = index.search(query.vectors, k, params, task.mask, threads)
        else:
            assert opened.vectors is not None
            distances, rows = _scan_rows(
                opened.vectors, query, metric, k, task.mask, threads, opened.picked
            )
    else:
        distances, rows = _scan_rows(task.block.vectors, query, metric, k, task.mask, threads)
        ids = task.block.ids
    if (
        min(rows[0].tolist(), default=0) >= 0
        if len(rows) == 1 and k <= FEW
        else rows.min(initial=0) >= 0
    ):
        return Hits(ids[rows], distances)
    found = rows >= 0
    return Hits(np.where(found, ids[np.where(found, rows, 0)], -1), distances)


def _scan_rows(
    vectors: Vectors,
    query: Query,
    metric: MetricType,
    k: int,
    mask: RowMask | None,
    threads: int,
    picked: Vectors | None = None,
) -> tuple[Floats, Ids]:
    if metric.is_binary:
        return search_bits(query.vectors, vectors, metric, k, mask, threads)
    return search_exact(query.vectors, vectors, metric, k, mask, threads, picked)
