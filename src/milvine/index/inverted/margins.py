"""Whether the candidates of a query reach far enough beyond its hits for no hit to be behind them.

How many candidates are enough was measured with queries that lie about where rows lie. Others ask
for more: from near the middle of rows that are all equally long, all of them are equally far; and
of a query that is large in few dimensions, only the few bits of these tell rows apart. So
candidates must reach beyond the hits by so many times what codes are usually off, as they did when
that was measured; and a query must be as far from the middle, by as many dimensions, as others are.
"""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from milvine.types import Floats, Ids, MetricType

LEAST_MORE = 4
"""Candidates beyond the hits that there must be, to tell."""
_BEHIND = 2
"""A query that is a row, or lies between two, has these as its nearest hits, which say nothing of
the others: the hit that counts is behind as many."""
_TINY = 1e-30

Doubles = NDArray[np.float64]


class Enough(NamedTuple):
    """What a query and its candidates show, or what they have to.

    Attributes:
        margin: how far they reach beyond the hits, in deviations of what codes are off; at least.
        peaked: 1 over the number of dimensions by which the query is from the middle; at most.
        middle: how far that is, squared; at least. 0 under IP, which has no middle.
    """

    margin: float
    peaked: float
    middle: float

    def reaches(self, least: Enough) -> bool:
        return (
            self.margin >= least.margin
            and self.peaked <= least.peaked
            and self.middle >= least.middle
        )


class Margins:
    """For searches of the rows that a codebook, float32 (dimension, values), was made of."""

    def __init__(self, book: Floats, metric: MetricType) -> None:
        self._l2 = metric is MetricType.L2
        squares = (np.diff(book.astype(np.float64), axis=1) ** 2).mean(axis=1) / 12
        self._off = np.sqrt(squares).astype(np.float32)
        self._middle = book.mean(axis=1, dtype=np.float32)
        # Dimensions in which rows lie farther apart make more of a distance.
        mean = float(squares @ squares) / max(float(squares.sum()), _TINY)
        self._each, self._least = 4 * mean, max(2 * float(squares @ squares), _TINY)

    def shown(self, query: Floats, distances: Floats, k: int, behind: int = 0) -> Enough:
        """By a query (dimension,) and its candidates for k hits, nearest first, (k + LEAST_MORE or
        more,).

        `behind`: the hit that counts is so many more places behind.

        Sums are by functions of numpy that keep the interpreter's lock, as `dot` does not: other
        threads would wait for it.
        """
        hit = k - 1 + _BEHIND + behind
        near, far = distances.item(hit), distances.item((len(distances) + hit + 1) // 2)
        parts = (query - self._middle if self._l2 else query) * self._off
        parts *= parts
        total = float(np.add.reduce(parts)) + _TINY
        parts *= parts
        peaked = float(np.add.reduce(parts)) / (total * total)
        if self._l2:
            return Enough((far - near) / sqrt(self._each * near + self._least), peaked, total)
        return Enough((near - far) / sqrt(total), peaked, 0.0)

    def doubtful(
        self, queries: Floats, distances: Floats, rows: Ids, k: int, least: Enough
    ) -> list[int]:
        """Which of the queries (nq, dimension) may have hits that are none of their candidates,
        (nq, width).
        """
        found = []
        for at in range(len(queries)):
            shown = self.shown(queries[at], distances[at], k)
            if not shown.reaches(least) and rows.item(at, -1) >= 0:
                found.append(at)  # where the last is no row, there are no others
        return found
