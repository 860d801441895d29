"""Exact search over binary vectors: every live row is compared with every query, block by block.

Every binary metric follows from three counts: h, the bits in which two vectors differ, and the bits
set in each of them, p and q. They share (p + q - h) / 2 bits, and (p + q + h) / 2 are set in
either. faiss counts h by SIMD.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from milvine.index.native import faiss, pointer
from milvine.index.score import Found, nothing
from milvine.index.threads import use_threads
from milvine.types import Bytes, Floats, Ids, MetricType, RowMask

_QUERIES = 64
BLOCK_ROWS = 16384
_GATHER_BELOW = 0.5
"""Below this share of live rows in a block they are gathered first; above it the dead are compared
in vain.
"""
_WORD = 8
"""faiss compares whole words of so many bytes."""
_COUNTED = frozenset(
    {MetricType.JACCARD, MetricType.TANIMOTO, MetricType.SUBSTRUCTURE, MetricType.SUPERSTRUCTURE},
)

Counts = NDArray[np.int32]


def search_bits(
    queries: Bytes,
    vectors: Bytes,
    metric: MetricType,
    k: int,
    mask: RowMask | None = None,
    threads: int = 1,
) -> Found:
    """The k nearest live rows of each query.

    Args:
        queries: uint8 (nq, width), eight dimensions to a byte.
        vectors: uint8 (rows, width), C-contiguous, may be mapped and read-only.
        metric: a binary one.
        k: at least 1; may exceed the rows.
        mask: of as many rows; None when all are live.
        threads: OpenMP threads for this call.

    Returns:
        float32 distances and int64 row numbers, both (nq, k), nearest first, equal distances by row
        number. Missing hits are row -1 with float32 max; a TANIMOTO hit may be at infinity.
        SUBSTRUCTURE and SUPERSTRUCTURE find their hits only, all at distance 0.
    """
    use_threads(threads)
    distances, rows = nothing(len(queries), k)
    live = None if mask is None or not mask.dead else mask.to_bool()
    for start in range(0, len(queries), _QUERIES):
        some = slice(start, start + _QUERIES)
        near, which = _search(queries[some], vectors, metric, min(k, len(vectors)), live)
        distances[some, : near.shape[1]], rows[some, : near.shape[1]] = near, which
    return distances, rows


def _search(queries: Bytes, vectors: Bytes, metric: MetricType, k: int, live: Any) -> Found:
    nearest = Nearest(len(queries), k, ascending=True)
    for start in range(0, len(vectors), BLOCK_ROWS):
        block = vectors[start : start + BLOCK_ROWS]
        numbers = np.arange(start, start + len(block))
        here = None if live is None else live[start : start + len(block)]
        if here is not None and np.count_nonzero(here) < _GATHER_BELOW * len(block):
            block, numbers, here = block[here], numbers[here], None
        distances = bit_distances(queries, block, metric)
        if here is not None:
            distances[:, ~here] = np.nan
        for query, each in enumerate(distances):
            nearest.offer(query, each, numbers)
    return nearest.found()


def differing_bits(queries: Bytes, rows: Bytes) -> Counts:
    """Hamming distances, int32 (nq, rows), between uint8 (nq, width) and (rows, width)."""
    queries, rows = _words(queries), _words(rows)
    out = np.empty((len(queries), len(rows)), dtype=np.int32)
    faiss.hammings(
        pointer(queries), pointer(rows), len(queries), len(rows), queries.shape[1], pointer(out)
    )
    return out


def set_bits(rows: Bytes) -> Counts:
    """Bits set in each of uint8 (rows, width): int32 (rows,)."""
    return differing_bits(np.zeros((1, rows.shape[1]), dtype=np.uint8), rows).reshape(-1)


def bit_distances(queries: Bytes, rows: Bytes, metric: MetricType) -> Floats:
    """Distance of every pair by a binary metric (specification 2.3), float32 (nq, rows).

    Equal vectors are at 0 by every metric, also two without a set bit, of which 1.x says 1 under
    JACCARD. TANIMOTO of others that share none is +infinity. NaN says that the pair is no hit of
    SUBSTRUCTURE (all bits of the query are set in the row) or SUPERSTRUCTURE (the other way round).
    """
    apart = differing_bits(queries, rows)
    if metric not in _COUNTED:
        return apart.astype(np.float32)
    in_query, in_row = set_bits(queries)[:, None], set_bits(rows)
    if metric is MetricType.SUBSTRUCTURE:
        return _hits(apart == in_row - in_query)
    if metric is MetricType.SUPERSTRUCTURE:
        return _hits(apart == in_query - in_row)
    # Twice the shared bits are either - apart, twice those in one or both either + apart.
    either = in_query + in_row
    with np.errstate(divide="ignore", invalid="ignore"):
        if metric is MetricType.TANIMOTO:
            ratio = np.log2((either + apart) / (either - apart))
            ratio[either == apart] = np.inf
        else:
            ratio = 2 * apart / (either + apart)
    if not in_query.all() and not in_row.all():
        ratio[either == 0] = 0.0
    return ratio.astype(np.float32)


def _hits(hit: NDArray[np.bool_]) -> Floats:
    return np.where(hit, np.float32(0), np.float32(np.nan))


def _words(vectors: Bytes) -> Bytes:
    """The vectors with zero bytes at their ends up to a whole word; the same array where there is
    nothing to add.
    """
    spare = -vectors.shape[1] % _WORD
    return np.pad(vectors, ((0, 0), (0, spare))) if spare else np.ascontiguousarray(vectors)


class Nearest:
    """The k nearest of what each of `nq` queries was offered, equal distances by row number.

    `ascending` promises that later offers to a query have greater row numbers.
    """

    def __init__(self, nq: int, k: int, ascending: bool = False) -> None:
        self._k = k
        self._beyond: Any = np.greater_equal if ascending else np.greater
        self._bound = np.full(nq, np.nan, dtype=np.float32)
        self._kept: list[list[tuple[Floats, Ids]]] = [[] for _ in range(nq)]
        self._size = [0] * nq

    def offer(self, query: int, distances: Floats, rows: Ids) -> None:
        """Some rows with their distances, both (n,); NaN is no hit, infinity is one."""
        no_use = np.isnan(distances) | self._beyond(distances, self._bound[query])
        near = np.flatnonzero(~no_use)
        if not len(near):
            return
        self._kept[query].append((distances[near], rows[near]))
        self._size[query] += len(near)
        if self._size[query] > self._k:
            self._cut(query)

    def found(self) -> Found:
        """Distances and row numbers, both (nq, k)."""
        distances, rows = nothing(len(self._kept), self._k)
        for query in range(len(self._kept)):
            near, which = self._sorted(query)
            distances[query, : len(near)], rows[query, : len(near)] = near, which
        return distances, rows

    def _cut(self, query: int) -> None:
        distances, rows = self._sorted(query)
        self._kept[query], self._size[query] = [(distances, rows)], len(rows)
        self._bound[query] = distances[-1]

    def _sorted(self, query: int) -> tuple[Floats, Ids]:
        """The k nearest, in order."""
        kept = self._kept[query]
        if not kept:
            return np.empty(0, np.float32), np.empty(0, np.int64)
        distances = np.concatenate([part[0] for part in kept])
        rows = np.concatenate([part[1] for part in kept])
        if len(rows) > self._k:
            near = np.flatnonzero(distances <= np.partition(distances, self._k - 1)[self._k - 1])
            distances, rows = distances[near], rows[near]
        order = np.lexsort((rows, distances))[: self._k]
        return distances[order], rows[order]
