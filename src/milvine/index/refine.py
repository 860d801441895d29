"""Candidates by the distances of codes, compared again with the segment's own vectors."""

from __future__ import annotations

from collections.abc import Callable

from milvine.index.score import Found, nearest_of, nothing
from milvine.limits import MIB
from milvine.types import Floats, Ids, MetricType

CANDIDATE_BYTES = 24
"""A row number and a distance, twice over."""
CANDIDATES_MAX = 8 * MIB // CANDIDATE_BYTES
"""Compared in one go. More would be no quicker."""


def refined(
    queries: Floats,
    vectors: Floats,
    metric: MetricType,
    k: int,
    width: int,
    nominate: Callable[[Floats], Ids],
) -> Found:
    """The k nearest of the candidates that `nominate` has for queries, by exact distance.

    Args:
        queries: float32 (nq, dimension), finite and C-contiguous; they go to `nominate` in portions
            of bounded memory.
        vectors: float32 (rows, dimension), C-contiguous, may be mapped and read-only.
        width: of what `nominate` returns: int64 (queries, width), -1 for none.
    """
    portion = max(1, CANDIDATES_MAX // width)
    if len(queries) <= portion:
        return nearest_of(queries, vectors, nominate(queries), metric, k)
    distances, rows = nothing(len(queries), k)
    for start in range(0, len(queries), portion):
        some = queries[start : start + portion]
        part = slice(start, start + len(some))
        distances[part], rows[part] = nearest_of(some, vectors, nominate(some), metric, k)
    return distances, rows
