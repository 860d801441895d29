"""How many candidates by the distances of codes hold the exact hits, and whether they do: what was
measured when an index was built (`trial`), and is kept with it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from milvine.errors import CorruptFile
from milvine.index.inverted.margins import LEAST_MORE, Doubles, Margins, Requirement
from milvine.types import Ids


class Candidates(NamedTuple):
    """For `hits` wanted hits, ascending, a search takes `wanted` candidates. They are enough if
    they reach `margin` beyond the hits, and the query is at most so `peaked` and at least so far
    from the `middle`.

    int64, int64 and float64 (points,), and two numbers.
    """

    hits: Ids
    wanted: Ids
    margin: Doubles
    peaked: float
    middle: float

    @classmethod
    def of(cls, table: Ids) -> Candidates:
        """What was kept with an index.

        Raises:
            CorruptFile: no measurement gives such a table.
        """
        points = len(table) // 2
        hits, wanted = np.ascontiguousarray(table[:points].T)
        margin, others = np.ascontiguousarray(table[points:].T).view(np.float64)
        rising = len(table) % 2 and points and hits[0] == 1 and (np.diff(hits) > 0).all()
        if not rising or (wanted < hits).any() or (np.diff(wanted) < 0).any():
            raise CorruptFile("The candidates that an index file asks for make no table")
        if np.isnan(margin).any() or not others[-1] > 0:
            raise CorruptFile("The margins that an index file asks for are none")
        return cls(hits, wanted, margin[:-1], float(others[-1]), float(margin[-1]))

    @property
    def table(self) -> Ids:
        """int64 (2 * points + 1, 2): hits and candidates, then the bits of margins beside zeros,
        and of the middle beside how peaked.
        """
        last = [self.middle, self.peaked]
        margins = np.column_stack([self.margin, np.zeros(len(self.margin))])
        shown = np.append(margins, [last], axis=0).view(np.int64)
        return np.concatenate([np.column_stack([self.hits, self.wanted]), shown])

    def number(self, k: int) -> int:
        """For k hits, at least 1. More hits take fewer candidates each: between two points as many
        a hit as at the one before, or as many as at the one behind if that is less.
        """
        return max(self._number(k), k + LEAST_MORE)

    def _number(self, k: int) -> int:
        behind = int(np.searchsorted(self.hits, k))
        if behind < len(self.hits) and self.hits[behind] == k:
            return int(self.wanted[behind])
        hits, wanted = int(self.hits[behind - 1]), int(self.wanted[behind - 1])
        number = -(-wanted * k // hits)
        return min(number, int(self.wanted[behind])) if behind < len(self.hits) else number

    def required(self, k: int, margins: Margins) -> Requirement:
        """Of candidates for k hits: what the points before and behind ask for."""
        behind = min(int(np.searchsorted(self.hits, k)), len(self.hits) - 1)
        before = behind if self.hits[behind] <= k else behind - 1
        margin = float(self.margin[before : behind + 1].max())
        return Requirement(margins, k, margin, self.peaked, self.middle)
