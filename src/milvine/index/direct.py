"""Exact candidates for few queries: every live row is compared with each query, pair by pair.

Few at a time, because faiss answers large calls from matrix products, whose distances are not
exact, and decides so by thresholds that belong to the whole process (and differ between its
releases).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from milvine.index.native import faiss, live_selector, pointer
from milvine.index.score import nearest_of
from milvine.types import Floats, Ids, MetricType, RowMask

FEW_LIVE = 0.15
"""Below this share of live rows a list of them is quicker than asking the bitmap about every row.
"""
FEW_DEAD = 0.25
"""Below this share of dead rows it is quicker to compare all rows and leave the dead out of the
answer.
"""
SPARE = 16
BLOCK_BYTES = 2 << 20
SHARED_BYTES_MIN = 8 << 20
"""Fewer rows stay in the cache from one query to the next by themselves."""
_SHARED_K_MAX = 256


def scan(queries: Floats, vectors: Floats, metric: MetricType, k: int, mask: RowMask | None) -> Ids:
    """The k nearest live rows of each query, shape (nq, k), in no promised order; -1 where there
    are no more.
    """
    whole = mask is None or not mask.dead
    if len(queries) > 1 and whole and k <= _SHARED_K_MAX and vectors.nbytes >= SHARED_BYTES_MIN:
        shared = _in_blocks(queries, vectors, metric, k)
        if shared is not None:
            return shared
    if len(queries) == 1:
        return _nearest(queries, vectors, metric, k, mask).reshape(1, k)
    rows = np.empty((len(queries), k), dtype=np.int64)
    for i in range(len(queries)):
        rows[i] = _nearest(queries[i : i + 1], vectors, metric, k, mask)
    return rows


def _in_blocks(queries: Floats, vectors: Floats, metric: MetricType, k: int) -> Ids | None:
    """As `scan` of live rows: each block of rows is compared with all queries while it is in the
    processor's cache.

    None under IP where a row gives infinity, for such rows come first and would hide the others.
    """
    nq, (count, dimension) = len(queries), vectors.shape
    size = max(BLOCK_BYTES // (4 * dimension), k)
    starts = np.arange(0, count, size)
    distances = np.empty((len(starts), nq, k), dtype=np.float32)
    rows = np.empty((len(starts), nq, k), dtype=np.int64)
    for at, start in enumerate(starts.tolist()):
        block = vectors[start : start + size]
        found = (pointer(distances[at]), pointer(rows[at]))
        if metric is MetricType.IP:
            faiss.knn_inner_product(
                pointer(queries), pointer(block), dimension, nq, len(block), k, *found, None
            )
        else:
            faiss.knn_L2sqr(
                pointer(queries), pointer(block), dimension, nq, len(block), k, *found, None, None
            )
    missing = rows < 0
    key = np.where(missing, np.inf, -distances if metric is MetricType.IP else distances)
    if metric is MetricType.IP and np.isneginf(key).any():
        return None
    numbers = np.where(missing, -1, rows + starts[:, None, None])
    nearest = np.argpartition(_by_query(key), k - 1, axis=1)[:, :k]
    chosen: Ids = np.take_along_axis(_by_query(numbers), nearest, axis=1)
    return chosen


def _by_query(hits: NDArray[Any]) -> NDArray[Any]:
    """(blocks, nq, k) as (nq, blocks * k)."""
    return hits.transpose(1, 0, 2).reshape(hits.shape[1], -1)


def _nearest(
    query: Floats, vectors: Floats, metric: MetricType, k: int, mask: RowMask | None
) -> Ids:
    distances, rows = _live_nearest(query, vectors, metric, k, mask)
    if metric is MetricType.IP and np.isposinf(distances).any():
        # Rows that give infinity come first under IP and would hide the others.
        live = np.arange(len(vectors)) if mask is None else np.flatnonzero(mask.to_bool())
        rows = nearest_of(query, vectors, live[None], metric, k)[1][0]
    return rows


def _live_nearest(
    query: Floats, vectors: Floats, metric: MetricType, k: int, mask: RowMask | None
) -> tuple[Floats, Ids]:
    if mask is None or not mask.dead:
        return _knn(query, vectors, metric, k, None)
    if mask.live < FEW_LIVE * mask.rows:
        live = np.flatnonzero(mask.to_bool())
        return _knn(query, vectors, metric, k, faiss.IDSelectorArray(len(live), pointer(live)))
    if mask.dead < FEW_DEAD * mask.rows:
        wide = min(mask.rows, k + SPARE + 2 * k * mask.dead // mask.live)
        distances, rows = _knn(query, vectors, metric, wide, None)
        live_hits = np.flatnonzero((rows >= 0) & mask.contains(np.maximum(rows, 0)))[:k]
        if len(live_hits) == k:
            return distances[live_hits], rows[live_hits]
    return _knn(query, vectors, metric, k, live_selector(mask))


def _knn(
    query: Floats, vectors: Floats, metric: MetricType, k: int, selector: Any
) -> tuple[Floats, Ids]:
    """faiss's exhaustive search for one query: both (k,), nearest first."""
    distances, rows = np.empty(k, dtype=np.float32), np.empty(k, dtype=np.int64)
    dimension, found = query.shape[1], (pointer(distances), pointer(rows))
    if metric is MetricType.IP:
        faiss.knn_inner_product(
            pointer(query), pointer(vectors), dimension, 1, len(vectors), k, *found, selector
        )
    else:
        faiss.knn_L2sqr(
            pointer(query), pointer(vectors), dimension, 1, len(vectors), k, *found, None, selector
        )
    return distances, rows
