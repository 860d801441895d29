"""Whether the candidates of a query reach far enough beyond its hits for no hit to be behind them.

How many candidates are enough was measured with queries that lie about where rows lie. Others ask
for more: from near the `centre` all rows are about equally far; and of a query that is large in few
dimensions, only the few bits of these tell rows apart. So candidates must reach beyond the hits by
so many times what codes are usually off, as they did when that was measured; and a query must be as
far from the centre, by as many dimensions, as others are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt
from typing import NamedTuple

import numpy as np

from milvine.index.inverted.centre import Centre, Doubles
from milvine.types import Floats, Ids

LEAST_MORE = 4
"""Candidates beyond the hits that there must be, to tell."""
_BEHIND = 2
"""A query that is a row, or lies between two, has these as its nearest hits, which say nothing of
the others: the hit that counts is behind as many."""

_FEW = 5
"""Queries that are looked at one by one in less time than numpy takes to begin with all of them."""

_AT_ONCE = 256
"""Queries whose numbers are float64 at a time."""


class Shown(NamedTuple):
    """What a query and its candidates show.

    Attributes:
        margin: how far they reach beyond the hits, in deviations of what codes are off.
        peaked: 1 over the number of dimensions by which the query is from the centre of the rows.
        apart: how much distances differ from there: how far that is, squared, and what they differ
            from the centre. 0 under IP, which has no centre.
    """

    margin: float
    peaked: float
    apart: float


class Doubtful(NamedTuple):
    """Queries by number: those that more candidates may serve, and those that codes do not."""

    more: list[int]
    all_rows: list[int]


def weights_of(book: Floats) -> tuple[Doubles, float]:
    """What codes are off in each dimension, float64 (dimension,), as parts of the largest, and
    that.
    """
    off = np.sqrt((np.diff(book.astype(np.float64), axis=1) ** 2).mean(axis=1) / 12)
    unit = float(off.max()) or 1.0
    return off / unit, unit


def places(k: int, width: int, behind: int = 0) -> list[int]:
    """Of so many candidates for k hits, nearest first: the hit that counts, and the one that tells.

    `behind`: the hit that counts is so many more places behind.
    """
    hit = k - 1 + _BEHIND + behind
    return [hit, (width + hit + 1) // 2]


class Margins:
    """For searches of the rows that a codebook, float32 (dimension, values), was made of.

    In float64, in which fourth powers of what float32 holds are numbers still.
    """

    def __init__(self, book: Floats, centre: Centre | None) -> None:
        """`centre`: under L2."""
        self._off, self._unit = weights_of(book)
        self.centre = centre
        squares = (self._off * self._unit) ** 2
        # Dimensions in which rows lie farther apart make more of a distance.
        fourth, second = float(squares @ squares), float(squares.sum())
        self._each, self._least = 4 * fourth / second if second else 0.0, 2 * fourth

    def shown(self, query: Floats, near: float, far: float) -> Shown:
        """By a query (dimension,) and the distances of the hit that counts and of the candidate
        that tells (`places`).

        Sums and no `dot`, with which 8 threads had 0.9 of the rate, nor `@`, which took longer.
        """
        centre = self.centre
        parts = (query if centre is None else query - centre.point) * self._off
        parts *= parts
        total = float(np.add.reduce(parts))
        parts *= parts
        peaked = float(np.add.reduce(parts)) / (total * total) if total else 1.0
        if centre is None:
            reach, spread, apart = near - far, sqrt(total) * self._unit, 0.0
        else:
            reach, spread = far - near, sqrt(self._each * near + self._least)
            apart = total + centre.spread
        return Shown(reach / spread if spread else 0.0, peaked, apart)

    @np.errstate(invalid="ignore")  # distances may be infinite, and then margins are no numbers
    def shown_by_each(
        self, queries: Floats, distances: Floats, k: int, behind: int = 0
    ) -> tuple[Doubles, Doubles, Doubles]:
        """The same of each of many queries (nq, dimension), as float64 (nq,).

        `behind`: the hit that counts is so many more places behind.
        """
        ends = distances[:, places(k, distances.shape[1], behind)].astype(np.float64)
        near, far = ends.T
        centre = self.centre
        parts = (queries if centre is None else queries - centre.point) * self._off
        parts *= parts
        total = parts.sum(axis=1)
        parts *= parts
        peaked = np.ones(len(queries))
        np.divide(parts.sum(axis=1), total * total, out=peaked, where=total != 0)
        if centre is None:
            reach, spread, apart = near - far, np.sqrt(total) * self._unit, np.zeros(len(queries))
        else:
            reach, spread = far - near, np.sqrt(self._each * near + self._least)
            apart = total + centre.spread
        margin = np.zeros(len(queries))
        np.divide(reach, spread, out=margin, where=spread != 0)
        return margin, peaked, apart


@dataclass(frozen=True, slots=True)
class Requirement:
    """What searches for k hits must show to be believed: a margin, which is at least so large, of
    queries that are at most so peaked and from which distances differ so much at least.
    """

    margins: Margins
    k: int
    margin: float
    peaked: float
    apart: float

    def farther(self, times: float) -> Requirement:
        """So many times as large a margin."""
        return replace(self, margin=times * self.margin)

    def met_by(self, query: Floats, near: float, far: float) -> tuple[bool, bool]:
        """Whether codes serve such a query (dimension,), and whether it has candidates enough; see
        `Margins.shown`.
        """
        margin, peaked, apart = self.margins.shown(query, near, far)
        served = peaked <= self.peaked and apart >= self.apart
        return served, served and margin >= self.margin

    def doubtful(self, queries: Floats, distances: Floats, rows: Ids) -> Doubtful:
        """Which of the queries (nq, dimension) may have hits that are none of their candidates,
        (nq, width), nearest first.
        """
        found = Doubtful([], [])
        if len(queries) <= _FEW:
            near, far = places(self.k, distances.shape[1])
            for number, query in enumerate(queries):
                ends = distances.item(number, near), distances.item(number, far)
                served, met = self.met_by(query, *ends)
                if not met and rows.item(number, -1) >= 0:  # else there are no others
                    (found.more if served else found.all_rows).append(number)
            return found
        for start in range(0, len(queries), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            self._add_doubtful(found, start, queries[part], distances[part], rows[part])
        return found

    def _add_doubtful(
        self, found: Doubtful, start: int, queries: Floats, distances: Floats, rows: Ids
    ) -> None:
        margin, peaked, apart = self.margins.shown_by_each(queries, distances, self.k)
        served = (peaked <= self.peaked) & (apart >= self.apart)
        unsure = ~(served & (margin >= self.margin)) & (rows[:, -1] >= 0)
        found.more.extend((start + np.flatnonzero(unsure & served)).tolist())
        found.all_rows.extend((start + np.flatnonzero(unsure & ~served)).tolist())
