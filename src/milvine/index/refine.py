"""Candidates by the distances of codes, compared again with the segment's own vectors."""

from __future__ import annotations

from collections.abc import Callable

from milvine.index.score import Found, in_portions, nearest_of
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

    def find(some: Floats) -> Found:
        return nearest_of(some, vectors, nominate(some), metric, k)

    return in_portions(queries, k, at_a_time(width), find)


def at_a_time(width: int) -> int:
    """Queries with so many candidates each, in one go."""
    return max(1, CANDIDATES_MAX // width)
