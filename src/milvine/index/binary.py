"""Exact search over binary vectors: every live row is compared with every query, block by block.

FLAT of binary collections is this and no index.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from milvine.index.base import Report, Write, untold
from milvine.index.bits import Nearest, bit_distances
from milvine.index.flat import bits_of
from milvine.index.score import Found, nothing
from milvine.index.threads import use_threads
from milvine.types import Bytes, Floats, Ids, MetricType, RowMask

_QUERIES = 64
_ROWS = 16384
_GATHER_BELOW = 0.5
"""Below this share of live rows in a block they are gathered first; above it the dead are compared
in vain.
"""


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
    for start in range(0, len(vectors), _ROWS):
        block = vectors[start : start + _ROWS]
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


class OpenBits:
    """Exact search over uint8 (rows, width)."""

    def __init__(self, vectors: Bytes, metric: MetricType) -> None:
        self._vectors, self._metric = vectors, metric

    @property
    def rows(self) -> int:
        return len(self._vectors)

    def search(
        self,
        queries: Bytes,
        k: int,
        params: Mapping[str, Any],
        mask: RowMask | None,
        threads: int = 1,
    ) -> tuple[Floats, Ids]:
        return search_bits(queries, self._vectors, self._metric, k, mask, threads)


class BinaryFlatKernel:
    def build(
        self,
        vectors: Bytes,
        metric: MetricType,
        params: Mapping[str, Any],
        threads: int,
        write: Write,
        report: Report = untold,
        memory: int = 0,
        live: RowMask | None = None,
    ) -> None:
        """Writes nothing."""

    def open(self, data: Bytes, flat: Bytes, metric: MetricType) -> OpenBits:
        return OpenBits(bits_of(flat), metric)


BINARY_FLAT = BinaryFlatKernel()
