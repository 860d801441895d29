"""How many candidates by the distances of codes hold the exact hits: measured on the rows of a
segment when its index is built, and kept with the index.

Codes put a true neighbour some places behind where it belongs. How many places depends on the rows
and on the queries, so both are tried: rows of the segment, which lie where rows are dense, points
between two rows, and rows with as much noise in each dimension as all of them deviate there. Of
each kind so many candidates are counted as hold all but a few of the hits, and the
kind that needs most decides.

All lists are read for that. A search that reads some of them has fewer rows to tell apart: whatever
true neighbour is among these has no more rows before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from milvine.errors import CorruptFile
from milvine.index.exact import search_exact
from milvine.index.score import all_finite
from milvine.types import Floats, Ids, MetricType, RowMask

POINTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Numbers of hits that candidates are counted for."""
DEPTH = 8
"""Candidates for each of the most hits that are looked at; a hit behind them counts as not there.
"""
_LOSS = 0.0004
"""The part of the hits that may be missing, a little less than is promised."""
_MARGIN = 1.0
"""Over what was measured for one hit; for more of them that much less, as more are looked at."""
_SPARE = 4
_QUERIES_MAX, _QUERIES_LEAST = 480, 48
_COMPARISONS = 30_000_000
"""Rows times queries: samples shall take a small part of a build."""
AT_A_TIME = 48
"""Queries that candidates are found for."""

Nominate: TypeAlias = Callable[[Floats, int], Ids]
"""Row numbers by the distances of codes over all lists, (nq, width), nearest first; -1 for none."""


class Candidates(NamedTuple):
    """For so many `hits`, ascending, so many candidates are `wanted`. Both int64 (points,)."""

    hits: Ids
    wanted: Ids

    @classmethod
    def of(cls, table: Ids) -> Candidates:
        """What was kept with an index.

        Raises:
            CorruptFile: no measurement gives such a table.
        """
        hits, wanted = np.ascontiguousarray(table.T)
        rising = len(hits) and hits[0] == 1 and (np.diff(hits) > 0).all()
        if not rising or (wanted < hits).any() or (np.diff(wanted) < 0).any():
            raise CorruptFile("The candidates that an index file asks for make no table")
        return cls(hits, wanted)

    @property
    def table(self) -> Ids:
        """int64 (points, 2)."""
        return np.column_stack(self)

    def number(self, k: int) -> int:
        """For k hits, at least 1. More hits take fewer candidates each: between two points as many
        a hit as at the one before, or as many as at the one behind if that is less.
        """
        behind = int(np.searchsorted(self.hits, k))
        if behind < len(self.hits) and self.hits[behind] == k:
            return int(self.wanted[behind])
        hits, wanted = int(self.hits[behind - 1]), int(self.wanted[behind - 1])
        number = -(-wanted * k // hits)
        return min(number, int(self.wanted[behind])) if behind < len(self.hits) else number


def measured(
    vectors: Floats,
    live: RowMask | None,
    rows: Ids,
    heads: Ids,
    metric: MetricType,
    by: Nominate,
    threads: int = 1,
) -> Candidates:
    """Of the codes of a segment.

    Args:
        vectors: float32 (rows of the segment, dimension), may be mapped.
        live: its rows that may be found.
        rows: numbers of those that are sound, ascending, int64, at least one.
        heads: for each row of the segment the one whose code stands for it, int64.
        by: what is measured.
        threads: OpenMP threads to use, in `by` as well.
    """
    most = min(POINTS[-1], len(rows))
    points = np.array([k for k in POINTS if k <= most], dtype=np.int64)
    wanted = points.copy()
    for queries, own in _kinds(vectors, rows, metric):
        ranks = _ranks(vectors, live, queries, own, heads, metric, most, by, threads)
        if ranks.size:
            wanted = np.maximum(wanted, [_enough(ranks[:, :k]) for k in points.tolist()])
    return Candidates(points, _never_more_a_hit(points, np.maximum.accumulate(wanted)))


def _kinds(vectors: Floats, rows: Ids, metric: MetricType) -> Iterator[tuple[Floats, Ids | None]]:
    """Queries of each kind, float32 (nq, dimension), and the rows that they are, where they are
    rows.
    """
    random = np.random.default_rng(0)
    many = int(np.clip(_COMPARISONS // len(rows), _QUERIES_LEAST, _QUERIES_MAX)) // 3
    some, others = (rows[random.integers(len(rows), size=many)] for _ in range(2))
    own, other = vectors[some], vectors[others]
    yield own, some if metric is MetricType.L2 else None
    yield np.float32(0.5) * (own + other), None
    noise: Floats = own.std(axis=0) * random.standard_normal(own.shape, dtype=np.float32)
    yield own + noise, None


def _ranks(
    vectors: Floats,
    live: RowMask | None,
    queries: Floats,
    own: Ids | None,
    heads: Ids,
    metric: MetricType,
    most: int,
    by: Nominate,
    threads: int,
) -> NDArray[np.int32]:
    """How many candidates come before each hit, and it: (nq, about `most`), nearest hit first."""
    if not all_finite(queries):
        queries = queries[np.isfinite(queries).all(axis=1)]
    _, hits = search_exact(queries, vectors, metric, most, live, threads)
    depth = min(DEPTH * most, len(vectors))
    places = np.full(len(vectors), depth + 1, dtype=np.int32)
    ranks = np.empty(hits.shape, dtype=np.int32)
    for start in range(0, len(queries), AT_A_TIME):
        for at, found in enumerate(by(queries[start : start + AT_A_TIME], depth), start):
            found = found[found >= 0]
            places[found] = np.arange(1, len(found) + 1)
            ranks[at] = places[heads[hits[at]]]
            if own is not None:
                ranks[at] -= ranks[at] > places[heads[own[at]]]
            places[found] = depth + 1
    return ranks if own is None else ranks[:, 1:]


def _enough(ranks: NDArray[np.int32]) -> int:
    """Candidates among which nearly all of some hits are."""
    ordered = np.sort(ranks, axis=None)
    missed = int(len(ordered) * _LOSS)
    more = 1 + _MARGIN / ranks.shape[1]
    return int(ordered[len(ordered) - 1 - missed] * more) + _SPARE


def _never_more_a_hit(points: Ids, wanted: Ids) -> Ids:
    """At least as many as are wanted, and no more a hit at a point than at the one before."""
    each = np.maximum.accumulate((wanted / points)[::-1])[::-1]
    out: Ids = np.maximum.accumulate(np.ceil(each * points - 1e-9).astype(np.int64))
    return out
