"""How many candidates by the distances of codes hold the exact hits: measured on the rows of a
segment when its index is built.

Codes put a true neighbour some places behind where it belongs. How many places depends on the rows
and on the queries, so both are tried: rows of the segment, which lie where rows are dense, points
between two rows, and rows with as much noise in each dimension as all of them deviate there. Of
each kind so many candidates are counted as hold all but a few of the hits, and the
kind that needs most decides.

All lists are read for that. A search that reads some of them has fewer rows to tell apart: whatever
true neighbour is among these has no more rows before it.

Queries of other kinds are told by the `margins` of what they find, which are measured here as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from milvine.index.exact import search_exact
from milvine.index.inverted.candidates import Candidates
from milvine.index.inverted.margins import LEAST_MORE, Margins
from milvine.index.score import nearest_of
from milvine.types import Floats, Ids, MetricType, RowMask

POINTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Numbers of hits that candidates are counted for."""
DEPTH = 8
"""Candidates for each of the most hits that are looked at; a hit behind them counts as not there.
"""
AT_A_TIME = 48
"""Queries that candidates are found for."""
_LOSS = 0.0004
"""The part of the hits that may be missing, a little less than is promised."""
_MARGIN = 1.0
"""Over what was measured for one hit; for more of them that much less, as more are looked at."""
_SPARE, _LEAST = 4, 32
"""Candidates more than were counted, and at least: of fewer the margin would say little."""
_QUERIES_MAX, _QUERIES_LEAST = 480, 48
_COMPARISONS = 30_000_000
"""Rows times queries: samples shall take a small part of a build."""
_JUDGED = 64
"""Queries of a kind whose margins are looked at. The least of a kind counts, and the kind in the
middle decides, for between rows others may lie much less densely than around them.
"""
_SURE = 5.0
"""Deviations that are enough whatever was measured."""
_PEAKED, _NEARER = 1.1, 0.9
"""So much more peaked, and so much nearer to the centre, squared, may a query be than all of them.
"""

Nominate: TypeAlias = Callable[[Floats, int], Ids]
"""Row numbers by the distances of codes over all lists, (nq, width), nearest first; -1 for none."""


class _Sample(NamedTuple):
    """Queries of one kind, and what was found for them.

    Attributes:
        ranks: how many candidates come before each hit, and it: (nq, about `most`), nearest first.
        found: the candidates of some of the queries, (fewer, width), nearest first by their codes.
        themselves: whether the queries are rows and, under this metric, their own nearest.
    """

    queries: Floats
    ranks: NDArray[np.int32]
    found: NDArray[np.int32]
    themselves: bool


@dataclass(frozen=True)
class Trial:
    """Of the codes of a segment.

    Attributes:
        vectors: float32 (rows of the segment, dimension), may be mapped.
        live: its rows that may be found.
        rows: numbers of those that are sound, ascending, int64, at least one.
        heads: for each row of the segment the one whose code stands for it, int64.
        by: what is measured.
        threads: OpenMP threads to use, in `by` as well.
    """

    vectors: Floats
    live: RowMask | None
    rows: Ids
    heads: Ids
    metric: MetricType
    margins: Margins
    by: Nominate
    threads: int = 1

    def measured(self) -> Candidates:
        most = min(POINTS[-1], len(self.rows))
        points = np.array([k for k in POINTS if k <= most], dtype=np.int64)
        wanted, kinds = points.copy(), []
        for queries, own in self._kinds():
            sample = self._sampled(queries, own, most)
            if sample.ranks.size:
                counted = [_needed(sample.ranks[:, :k]) for k in points.tolist()]
                wanted = np.maximum(wanted, counted)
                kinds.append(sample)
        wanted = _never_more_a_hit(points, np.maximum.accumulate(wanted))
        shown = [self._shown(sample, points, wanted) for sample in kinds]
        margin = np.minimum(np.median([each[0] for each in shown], axis=0), _SURE)
        peaked = _PEAKED * max(each[1] for each in shown)
        apart = _NEARER * min(each[2] for each in shown)
        return Candidates(points, wanted, margin, peaked, apart, self.margins.centre)

    def _kinds(self) -> Iterator[tuple[Floats, Ids | None]]:
        """Queries of each kind, float32 (nq, dimension), and the rows that they are, where they are
        rows.
        """
        random, rows, vectors = np.random.default_rng(0), self.rows, self.vectors
        many = int(np.clip(_COMPARISONS // len(rows), _QUERIES_LEAST, _QUERIES_MAX)) // 3
        some, others = (rows[random.integers(len(rows), size=many)] for _ in range(2))
        own, other = vectors[some], vectors[others]
        yield own, some if self.metric is MetricType.L2 else None
        noise: Floats = own.std(axis=0) * random.standard_normal(own.shape, dtype=np.float32)
        for made in (np.float32(0.5) * own + np.float32(0.5) * other, own + noise):
            yield made[np.isfinite(made).all(axis=1)], None

    def _sampled(self, queries: Floats, own: Ids | None, most: int) -> _Sample:
        vectors, heads = self.vectors, self.heads
        _, hits = search_exact(queries, vectors, self.metric, most, self.live, self.threads)
        depth = min(DEPTH * most, len(vectors))
        places = np.full(len(vectors), depth + 1, dtype=np.int32)
        ranks = np.empty(hits.shape, dtype=np.int32)
        kept = np.empty((min(_JUDGED, len(queries)), depth), dtype=np.int32)
        for start in range(0, len(queries), AT_A_TIME):
            for at, found in enumerate(self.by(queries[start : start + AT_A_TIME], depth), start):
                if at < len(kept):
                    kept[at] = found
                found = found[found >= 0]
                places[found] = np.arange(1, len(found) + 1)
                ranks[at] = places[heads[hits[at]]]
                if own is not None:
                    ranks[at] -= ranks[at] > places[heads[own[at]]]
                places[found] = depth + 1
        return _Sample(queries, ranks if own is None else ranks[:, 1:], kept, own is not None)

    def _shown(self, sample: _Sample, points: Ids, wanted: Ids) -> tuple[list[float], float, float]:
        """The least margin at each point, how peaked queries are at most, and how far apart
        distances from them are at least.
        """
        margins: list[float] = []
        peaked = apart = np.empty(0)  # no matter at which point
        queries = np.ascontiguousarray(sample.queries[: len(sample.found)])
        for k, width in zip(points.tolist(), wanted.tolist(), strict=True):
            rows = sample.found[:, : max(width, k + LEAST_MORE + 1)].astype(np.int64)
            distances, _ = nearest_of(queries, self.vectors, rows, self.metric, rows.shape[1])
            margin, peaked, apart = self.margins.shown_by_each(
                queries, distances, k, int(sample.themselves)
            )
            margins.append(float(margin.min()))
        return margins, float(peaked.max()), float(apart.min())


def _needed(ranks: NDArray[np.int32]) -> int:
    """Candidates among which nearly all of some hits are."""
    ordered = np.sort(ranks, axis=None)
    missed = int(len(ordered) * _LOSS)
    more = 1 + _MARGIN / ranks.shape[1]
    return max(_LEAST, int(ordered[len(ordered) - 1 - missed] * more) + _SPARE)


def _never_more_a_hit(points: Ids, wanted: Ids) -> Ids:
    """At least as many as are wanted, and no more a hit at a point than at the one before."""
    each = np.maximum.accumulate((wanted / points)[::-1])[::-1]
    out: Ids = np.maximum.accumulate(np.ceil(each * points - 1e-9).astype(np.int64))
    return out
