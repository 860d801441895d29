"""Whether faiss reports the distances that `score` computes, to the last bit: then hits need no
second look.

Lists and graphs compare float32 vectors with the very functions that `score` calls, but a graph
takes four rows at a time, and which instructions that means depends on the processor, the dimension
and faiss's release. So nothing is taken for granted: a small index is made and searched once for
each dimension, and its distances are compared. Another order of additions would show in one of ten
of them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from milvine.index.native import METRICS, faiss, search_index
from milvine.index.score import exact_distances
from milvine.index.threads import threads, use_threads
from milvine.types import MetricType

_ROWS = 67  # no multiple of what is taken at a time
_QUERIES = 16


@lru_cache(maxsize=256)
def lists_agree(dimension: int, metric: MetricType) -> bool:
    """About a faiss.IndexIVFFlat under L2 or IP."""
    quantizer = faiss.IndexFlat(dimension, METRICS[metric])
    quantizer.add(np.zeros((1, dimension), dtype=np.float32))
    index = faiss.IndexIVFFlat(quantizer, dimension, 1, METRICS[metric])
    index.is_trained = True
    return _agrees(index, metric)


@lru_cache(maxsize=256)
def graph_agrees(dimension: int, metric: MetricType) -> bool:
    """About a faiss.IndexHNSWFlat under L2 or IP."""
    index = faiss.IndexHNSWFlat(dimension, 8, METRICS[metric])
    index.hnsw.efSearch = _ROWS
    return _agrees(index, metric)


def _agrees(index: Any, metric: MetricType) -> bool:
    before = threads()
    try:
        use_threads(1)
        return _same_distances(index, metric)
    finally:
        use_threads(before)


def _same_distances(index: Any, metric: MetricType) -> bool:
    drawn = np.random.default_rng(0)
    rows = drawn.standard_normal((_ROWS, index.d), dtype=np.float32)
    queries = rows[:_QUERIES] + drawn.standard_normal((_QUERIES, index.d), dtype=np.float32)
    index.add(rows)
    distances, found = search_index(index, queries, _ROWS, None)
    hit = found >= 0  # a graph need not find all
    same = distances == exact_distances(queries, rows, found, metric)
    return bool(hit.sum() > found.size // 2 and same[hit].all())
