"""How many candidates by the distances of codes hold the exact hits, and whether they do: what was
measured when an index was built (`trial`), and is kept with it.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

from milvine.errors import CorruptFile
from milvine.index.inverted.centre import Centre, Doubles
from milvine.index.inverted.margins import LEAST_MORE, Margins, Requirement
from milvine.types import Ids, MetricType

_HEAD = struct.Struct("<ddd8x")


def _length(points: int, centre: int) -> int:
    """Bytes of a table with so many points, and so many bytes of a centre."""
    return -(-(_HEAD.size + 24 * points + centre) // 16) * 16


class Candidates(NamedTuple):
    """For `hits` wanted hits, ascending, a search takes `wanted` candidates. They are enough if
    they reach `margin` beyond the hits, the query is at most so `peaked`, and distances from it are
    at least so far `apart`.

    int64, int64 and float64 (points,), and two numbers. `centre`: under L2.
    """

    hits: Ids
    wanted: Ids
    margin: Doubles
    peaked: float
    apart: float
    centre: Centre | None

    @classmethod
    def of(cls, table: Ids, dimension: int, metric: MetricType) -> Candidates:
        """What was kept with an index.

        Raises:
            CorruptFile: no measurement gives such a table.
        """
        error = CorruptFile("The candidates that an index file asks for make no table")
        data = table.tobytes()
        point = 4 * dimension if metric is MetricType.L2 else 0
        points = (len(data) - _HEAD.size - point) // 24
        if points < 1 or len(data) != _length(points, point):
            raise error
        peaked, apart, spread = _HEAD.unpack_from(data)
        hits, wanted = np.frombuffer(data, "<i8", 2 * points, _HEAD.size).reshape(2, -1)
        margin = np.frombuffer(data, "<f8", points, _HEAD.size + 16 * points)
        rising = hits[0] == 1 and (np.diff(hits) > 0).all() and (np.diff(wanted) >= 0).all()
        numbers = np.frombuffer(data, "<f4", point // 4, _HEAD.size + 24 * points)
        sound = np.isfinite(numbers).all() and peaked > 0 and apart >= 0 and spread >= 0
        if not (rising and sound) or (wanted < hits).any() or np.isnan(margin).any():
            raise error
        centre = Centre(numbers.astype(np.float64), spread) if point else None
        return cls(hits, wanted, margin, peaked, apart, centre)

    @property
    def table(self) -> Ids:
        """As an image has it, int64 (n, 2): how peaked, how far apart, and the spread of distances
        from the centre; hits, candidates, margins; the centre as float32.
        """
        point, spread = (b"", 0.0)
        if self.centre is not None:
            point, spread = self.centre.point.astype("<f4").tobytes(), self.centre.spread
        head = _HEAD.pack(self.peaked, self.apart, spread)
        numbers = b"".join(each.tobytes() for each in (self.hits, self.wanted, self.margin))
        data = (head + numbers + point).ljust(_length(len(self.hits), len(point)), b"\0")
        return np.frombuffer(data, dtype="<i8").reshape(-1, 2)

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
        return Requirement(margins, k, margin, self.peaked, self.apart)
