"""Exact search over a segment's rows: the k nearest, whatever the number of queries and wherever
the data lies.

Few queries are compared with every row (`direct`). Many are answered from matrix products
(`products`): candidates with a proven bound on all the others, exact distances for the candidates,
and where the proof fails (near ties beyond the candidates) a wider second round, then `direct`.
Both ways end in the same exact distances.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from milvine.index import direct, products
from milvine.index.refine import CANDIDATE_BYTES
from milvine.index.score import Found, for_finite, in_portions, nearest_of, nothing
from milvine.index.threads import use_threads
from milvine.limits import MIB
from milvine.types import Floats, Ids, MetricType, RowMask

FEW_QUERIES = 7
"""As many are always compared pair by pair: products would not pay for loading the rows."""
SPARE = 22
WIDER = 8
CANDIDATES_MAX = 96 * MIB // CANDIDATE_BYTES
"""In one go: fewer would have the rows read more often. What a search brings at a time
(`search/portions.py`) has fewer where memory is short.
"""
_QUERIES = 2048


def search_exact(
    queries: Floats,
    vectors: Floats,
    metric: MetricType,
    k: int,
    mask: RowMask | None = None,
    threads: int = 1,
    picked: Floats | None = None,
) -> Found:
    """The k nearest live rows of each query.

    Args:
        queries: float32 (nq, dimension). A query with NaN or infinity finds nothing.
        vectors: float32 (rows, dimension), C-contiguous, may be mapped and read-only. Rows with NaN
            or infinity, and
            rows whose distance overflows float32, are never found.
        metric: L2 (squared distances) or IP.
        k: at least 1; may exceed the rows.
        mask: of as many rows; None when all are live.
        threads: OpenMP threads for this call; more than one pays for large batches only.
        picked: the same vectors again, where they are mapped for a reader of a row here and a row
            there.

    Returns:
        float32 distances and int64 row numbers, both (nq, k), nearest first, equal distances by row
        number. Missing hits are row -1 with float32 max. L2 distances of identical vectors are
        exactly 0.0.
    """
    use_threads(threads)
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    live = len(vectors) if mask is None else mask.live
    if not live or not len(queries):
        return nothing(len(queries), k)
    rows = Rows(vectors, vectors if picked is None else picked)
    return for_finite(queries, k, lambda some: _search(some, rows, metric, k, min(k, live), mask))


class Rows(NamedTuple):
    """The vectors twice: to be read all of them one after the other, and a few of them."""

    scanned: Floats
    picked: Floats


def products_pay(nq: int, rows: int, dimension: int) -> bool:
    """Whether products are quicker than pairs, by microseconds measured on one core (up to 100,000
    rows of 128).
    """
    floats = rows * dimension
    pairs = nq * (8 + 1e-4 * floats)
    return nq > FEW_QUERIES and 400 + (nq * 3e-5 + 4e-4) * floats < pairs


def _search(
    queries: Floats, rows: Rows, metric: MetricType, k: int, wanted: int, mask: RowMask | None
) -> Found:
    """In portions, so that candidates take bounded memory."""
    count, dimension = rows.scanned.shape
    if len(queries) == 1 or not products_pay(
        len(queries), count if mask is None else mask.live, dimension
    ):
        return _direct(queries, rows, metric, k, wanted, mask)
    portion = max(FEW_QUERIES, min(_QUERIES, CANDIDATES_MAX // (wanted + SPARE)))
    return in_portions(
        queries, k, portion, lambda some: _batch(some, rows, metric, k, wanted, mask)
    )


def _direct(
    queries: Floats, rows: Rows, metric: MetricType, k: int, wanted: int, mask: RowMask | None
) -> Found:
    return nearest_of(
        queries, rows.picked, direct.scan(queries, rows.scanned, metric, wanted, mask), metric, k
    )


def _batch(
    queries: Floats, rows: Rows, metric: MetricType, k: int, wanted: int, mask: RowMask | None
) -> Found:
    distances, numbers = nothing(len(queries), k)
    frame, open_queries = products.Frame.around(rows.picked), np.arange(len(queries))
    narrow = wanted + max(SPARE, wanted // 8)
    for width in (narrow, narrow * WIDER):
        if len(open_queries) <= FEW_QUERIES:
            break
        some = queries[open_queries]
        nominees = products.nominate(
            some, rows.scanned, metric, min(width, len(rows.scanned)), mask, frame
        )
        if nominees is None:
            break
        found = nearest_of(some, rows.picked, nominees.rows, metric, k)
        proven = _proven(some, rows.picked, metric, wanted, found, nominees)
        done = open_queries[proven]
        distances[done], numbers[done] = found[0][proven], found[1][proven]
        open_queries = open_queries[~proven]
    if len(open_queries):
        found = _direct(queries[open_queries], rows, metric, k, wanted, mask)
        distances[open_queries], numbers[open_queries] = found
    return distances, numbers


def _proven(
    queries: Floats,
    vectors: Floats,
    metric: MetricType,
    wanted: int,
    found: Found,
    nominees: products.Nominees,
) -> NDArray[np.bool_]:
    """Which queries have an answer that no row outside their candidates can improve: bool, shape
    (nq,).
    """
    last: Ids = found[1][:, wanted - 1]
    proven: NDArray[np.bool_]
    if metric is MetricType.IP:
        rows = vectors[np.maximum(last, 0)].astype(np.float64)
        products_of_last = np.einsum("ij,ij->i", queries.astype(np.float64), rows)
        proven = (last >= 0) & (products_of_last >= nominees.bound) | (nominees.bound == -np.inf)
    else:
        farthest = found[0][:, wanted - 1].astype(np.float64) * (
            1 + products.unit_error(queries.shape[1])
        )
        proven = (last >= 0) & (farthest <= nominees.bound) | (nominees.bound == np.inf)
    return proven
