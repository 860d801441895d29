"""Whether the candidates of a query reach far enough beyond its hits for no hit to be behind them.

How many candidates are enough was measured with queries that lie about where rows lie. Others ask
for more: from near the middle of rows that are all equally long, all of them are equally far; and
of a query that is large in few dimensions, only the few bits of these tell rows apart. So
candidates must reach beyond the hits by so many times what codes are usually off, as they did when
that was measured; and a query must be as far from the middle, by as many dimensions, as others are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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

Doubles = NDArray[np.float64]


class Shown(NamedTuple):
    """What a query and its candidates show.

    Attributes:
        margin: how far they reach beyond the hits, in deviations of what codes are off.
        peaked: 1 over the number of dimensions by which the query is from the middle of the rows.
        middle: how far that is, squared, in deviations of codes. 0 under IP, which has no middle.
    """

    margin: float
    peaked: float
    middle: float


class Doubtful(NamedTuple):
    """Queries by number: those that more candidates may serve, and those that codes do not."""

    more: list[int]
    all_rows: list[int]


class Margins:
    """For searches of the rows that a codebook, float32 (dimension, values), was made of.

    In float64, in which fourth powers of what float32 holds are numbers still.
    """

    def __init__(self, book: Floats, metric: MetricType) -> None:
        self._l2 = metric is MetricType.L2
        squares = (np.diff(book.astype(np.float64), axis=1) ** 2).mean(axis=1) / 12
        self._off = np.sqrt(squares)
        self._unit = float(self._off.max()) or 1.0
        self._off /= self._unit
        self._middle = book.mean(axis=1, dtype=np.float64)
        # Dimensions in which rows lie farther apart make more of a distance.
        fourth, second = float(squares @ squares), float(squares.sum())
        self._each, self._least = 4 * fourth / second if second else 0.0, 2 * fourth

    def shown(self, query: Floats, distances: Floats, k: int, behind: int = 0) -> Shown:
        """By a query (dimension,) and its candidates for k hits, nearest first, (k + LEAST_MORE or
        more,).

        `behind`: the hit that counts is so many more places behind.

        The sums are no `dot`: that gives the interpreter's lock away, and this thread would wait to
        get it back.
        """
        hit = k - 1 + _BEHIND + behind
        near, far = distances.item(hit), distances.item((len(distances) + hit + 1) // 2)
        parts = (query - self._middle if self._l2 else query) * self._off
        parts *= parts
        total = float(np.add.reduce(parts))
        parts *= parts
        peaked = float(np.add.reduce(parts)) / (total * total) if total else 1.0
        if self._l2:
            reach, spread = far - near, sqrt(self._each * near + self._least)
        else:
            reach, spread = near - far, sqrt(total) * self._unit
        return Shown(reach / spread if spread else 0.0, peaked, total if self._l2 else 0.0)


@dataclass(frozen=True, slots=True)
class Requirement:
    """What searches for k hits must show to be believed: a margin, which is at least so large, of
    queries that are at most so peaked and at least so far from the middle.
    """

    margins: Margins
    k: int
    margin: float
    peaked: float
    middle: float

    def farther(self, times: float) -> Requirement:
        """So many times as large a margin, also of queries near the middle."""
        return replace(self, margin=times * self.margin, middle=0.0)

    def doubtful(self, queries: Floats, distances: Floats, rows: Ids) -> Doubtful:
        """Which of the queries (nq, dimension) may have hits that are none of their candidates,
        (nq, width), nearest first.
        """
        found = Doubtful([], [])
        for at in range(len(queries)):
            margin, peaked, middle = self.margins.shown(queries[at], distances[at], self.k)
            if peaked <= self.peaked and margin >= self.margin and middle >= self.middle:
                continue
            if rows.item(at, -1) >= 0:  # or there are no others
                (found.more if peaked <= self.peaked else found.all_rows).append(at)
        return found
