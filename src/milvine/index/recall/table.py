"""What was measured of one index: its recall by the value of one search parameter, and which value
a search takes that asks for a recall.

A value is chosen to find too much rather than too little. Recall grows ever more slowly with the
value, so between two values that were tried a straight line lies below the truth. The value grows
with the wanted hits, in proportion at the most; between two numbers of them it is read on a
logarithmic scale, which lies above that.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from milvine.index.spec import Breadth
from milvine.types import RecallPoint

ENOUGH = 0.9995
"""A recall that is as good as 1."""

_VALUE_MOST = 1 << 62
_CHOSEN_MAX = 64  # a program asks for few things


@dataclass(frozen=True, slots=True)
class Curve:
    """Recall at one number of hits, `k`, by ascending values of the parameter.

    A value that finds all may have had the index compare all rows, which smaller ones do not: no
    line is drawn up to it.
    """

    k: int
    points: tuple[RecallPoint, ...]

    def value(self, recall: float) -> float | None:
        """The least value that surely finds so much; None where none that was tried does."""
        before: RecallPoint | None = None
        for point in self.points:
            if point.least >= recall:
                if before is None or point.recall >= ENOUGH:
                    return point.value
                part = (recall - before.least) / (point.least - before.least)
                return before.value + part * (point.value - before.value)
            before = point
        return None


@dataclass(frozen=True, slots=True)
class RecallTable:
    """Of one index.

    Attributes:
        key: the parameter.
        beside: other search parameters that it was measured with.
        rows: live rows of the segment then.
        samples: rows that were searched for, as if they were not there.
        curves: by ascending k, at least one, each of at least one point.
    """

    key: str
    beside: Mapping[str, int]
    rows: int
    samples: int
    curves: tuple[Curve, ...]

    def params(self, recall: float, k: int, live: int, breadth: Breadth) -> dict[str, int] | None:
        """The search parameters for k hits of the `live` rows that there are now; None where only a
        comparison with all rows is sure to find so much.

        Of rows deleted since, an index finds as many as ever, and they are no hits: then it is
        asked as for more hits.
        """
        if recall >= 1 or not live:
            return None
        depth = max(k, -(-k * self.rows // live))
        value = self._value(recall, depth)
        if value is None:
            return None
        chosen = max(math.ceil(round(value, 6)), breadth.least, breadth.per_hit * depth)
        if chosen > max(breadth.most, breadth.per_hit * k):
            return None
        return {**self.beside, self.key: min(chosen, breadth.most)}

    def curve(self, k: int) -> Curve:
        """That of so many hits, or of the next number that was measured; of the last beyond it."""
        at = bisect_left([each.k for each in self.curves], k)
        return self.curves[min(at, len(self.curves) - 1)]

    def _value(self, recall: float, k: int) -> float | None:
        ks = [each.k for each in self.curves]
        at = bisect_left(ks, k)
        if at == len(ks):
            return self._beyond(recall, k)
        above = self.curves[at].value(recall)
        if above is None or ks[at] == k or at == 0:
            return above
        below = self.curves[at - 1].value(recall)
        if below is None or below >= above:
            return above
        part = math.log(k / ks[at - 1]) / math.log(ks[at] / ks[at - 1])
        return below + part * (above - below)

    def _beyond(self, recall: float, k: int) -> float | None:
        """For more hits than were measured: it is taken to grow with a power of them that lies
        half-way between the last seen and proportion.
        """
        last, power = self.curves[-1].value(recall), 1.0
        if last is None:
            return None
        before = self.curves[-2].value(recall) if len(self.curves) > 1 else None
        if before is not None and before < last:
            steps = math.log(self.curves[-1].k / self.curves[-2].k)
            power = min((1 + math.log(last / before) / steps) / 2, 1.0)
        return last * float((k / self.curves[-1].k) ** power)

    def as_json(self) -> dict[str, Any]:
        """For the footer of the index's file; `from_json` reads it."""
        return {
            "key": self.key,
            "beside": dict(self.beside),
            "rows": self.rows,
            "samples": self.samples,
            "curves": [[each.k, [list(point) for point in each.points]] for each in self.curves],
        }


def from_json(value: object, breadth: Breadth) -> RecallTable | None:
    """What `as_json` made, of an index whose type has this breadth; None where it is nothing of the
    kind, or was measured by another parameter. It comes from a file, and decides what searches
    miss: whatever may not be is no table.
    """
    if not isinstance(value, dict) or value.get("key") != breadth.key:
        return None
    beside = value.get("beside")
    if not isinstance(beside, dict) or beside.keys() != breadth.beside.keys():
        return None
    rows, samples, curves = (value.get(key) for key in ("rows", "samples", "curves"))
    if not all(map(_count, (rows, samples, *beside.values()))) or not isinstance(curves, list):
        return None
    read = [_curve(each) for each in curves]
    sound = [each for each in read if each is not None]
    if not sound or len(sound) < len(read) or not _ascend([each.k for each in sound]):
        return None
    assert isinstance(rows, int) and isinstance(samples, int)
    return RecallTable(breadth.key, beside, rows, samples, tuple(sound))


def _curve(value: object) -> Curve | None:
    if not isinstance(value, list) or len(value) != 2 or not _count(value[0]):
        return None
    k, points = value
    if not isinstance(points, list) or not points or not all(map(_is_point, points)):
        return None
    made = tuple(RecallPoint(*point) for point in points)
    return Curve(k, made) if _ascend([each.value for each in made]) else None


def _is_point(value: object) -> bool:
    if not isinstance(value, list) or len(value) != 4 or not _count(value[0]):
        return False
    recall, error, seconds = value[1:]
    if not all(type(each) in (int, float) and math.isfinite(each) for each in value[1:]):
        return False
    return bool(0 <= recall <= 1 and error >= 0 and seconds >= 0)


def _count(value: object) -> bool:
    return type(value) is int and 0 < value <= _VALUE_MOST


def _ascend(values: Sequence[int]) -> bool:
    return all(left < right for left, right in pairwise(values))


class Tuning:
    """The search parameters that an open index takes for a recall. Thread-safe; keeps no file.

    Args:
        stored: what its file says of it, read when a recall is first asked for; None for nothing.
        live: rows of the segment that a search may find.
    """

    __slots__ = ("_breadth", "_chosen", "_live", "_stored", "_table")

    def __init__(self, stored: object, breadth: Breadth, live: int) -> None:
        self._stored, self._breadth, self._live = stored, breadth, live
        self._table: RecallTable | None = None
        self._chosen: dict[tuple[float, int], dict[str, int] | None] = {}

    @property
    def table(self) -> RecallTable | None:
        """What was measured of the index; None where that is not known."""
        stored = self._stored
        if stored is not None:
            self._table = from_json(stored, self._breadth)
            self._stored = None  # after the table: another thread looks here first
        return self._table

    def params(self, recall: float, k: int) -> dict[str, int] | None:
        """Those for so many hits; None where all rows have to be compared."""
        key = recall, k
        try:
            return self._chosen[key]
        except KeyError:
            pass
        table = self.table
        chosen = None if table is None else table.params(recall, k, self._live, self._breadth)
        if len(self._chosen) >= _CHOSEN_MAX:
            self._chosen.clear()
        self._chosen[key] = chosen
        return chosen

    def curve(self, k: int) -> tuple[RecallPoint, ...]:
        """What was measured for so many hits, or the next number of them; nothing where that is not
        known.
        """
        table = self.table
        return () if table is None else table.curve(k).points
