"""Whole-number points that stand for rows and queries while a graph is built and walked, and what
an index file says of them.

Under L2 they lie on a grid of equal steps around an origin, so a distance of points is a distance
of rows in steps, but for roundings. Under inner product the grid is around zero, and each query has
a grid of its own that it fills, since its length changes no order.

The notes of an image: float64 step, float64 `peaked`, int64 how many pairs, the pairs as int64
(hits, candidates), ascending, and float32 origin, padded with zeros to a multiple of 8 bytes.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from milvine.errors import CorruptFile
from milvine.index.codes.quantizer import LARGEST
from milvine.types import Bytes, Floats, MetricType

WIDTH_UNIT = 32
"""faiss compares codes as whole numbers where their width is a multiple of it, and otherwise
number by number.
"""
_EDGE = LARGEST + 0.49
"""What is farther out has no point."""
_NOTES = struct.Struct("<ddq")
_PAIRS_MAX = 16


def points_width(dimension: int) -> int:
    """Bytes of a code."""
    return dimension + -dimension % WIDTH_UNIT


class Pair(NamedTuple):
    """So many candidates are compared where so many hits are wanted."""

    hits: int
    candidates: int


class Points(NamedTuple):
    """What a graph is walked with: float32 (nq, width), whole numbers from -127 to 127.

    `unfit`: bool (nq,), the queries that have none; None where all have one.
    """

    points: Floats
    unfit: NDArray[np.bool_] | None


@dataclass(frozen=True)
class Coding:
    """How rows and queries become points, and how many candidates those have to bring.

    Attributes:
        origin: float32 (dimension,), the middle of the grid; zeros under IP.
        step: the distance of neighbouring points.
        peaked: under IP, the largest number of a query may be so many times what the numbers are in
            the root of their mean square. Of one that is more peaked the others would round to
            nothing.
        pairs: ascending.
    """

    origin: Floats
    step: float
    peaked: float
    pairs: tuple[Pair, ...]

    @cached_property
    def width(self) -> int:
        return points_width(len(self.origin))

    @cached_property
    def _edges(self) -> tuple[Floats, Floats]:
        reach = np.float32(_EDGE * self.step)
        return self.origin - reach, self.origin + reach

    @cached_property
    def _scale(self) -> Any:
        return np.float32(1 / self.step)

    def of_rows(self, rows: Floats) -> Floats:
        """The points of finite rows, float32 (rows, width): the nearest of the grid."""
        return self._on_grid(np.minimum(np.maximum(rows, self._edges[0]), self._edges[1]))

    def of_queries(self, queries: Floats, metric: MetricType) -> Points:
        """The points of finite queries, float32 (nq, dimension)."""
        if metric is MetricType.IP:
            return self._of_directions(queries)
        within = np.maximum(queries, self._edges[0])
        np.minimum(within, self._edges[1], out=within)
        unfit = None
        # Bytes are sooner compared than numpy begins, and mistake only the two zeros.
        if within.tobytes() != queries.tobytes():
            unfit = (within != queries).any(axis=1)
        return Points(self._on_grid(within), unfit if unfit is not None and unfit.any() else None)

    def _on_grid(self, within: Floats) -> Floats:
        out = np.zeros((len(within), self.width), dtype=np.float32)
        part = out[:, : within.shape[1]]
        np.subtract(within, self.origin, out=part)
        np.multiply(part, self._scale, out=part)
        np.rint(part, out=part)
        return out

    def _of_directions(self, queries: Floats) -> Points:
        nq, dimension = queries.shape
        out = np.zeros((nq, self.width), dtype=np.float32)
        part = out[:, :dimension]
        largest = np.maximum(queries.max(axis=1), -queries.min(axis=1))
        np.divide(queries, np.where(largest > 0, largest, 1)[:, None], out=part)
        unfit = np.einsum("ij,ij->i", part, part) * self.peaked**2 < dimension
        part *= LARGEST
        np.rint(part, out=part)
        unfit &= largest > 0
        return Points(out, unfit if unfit.any() else None)

    def wanted(self, k: int) -> int:
        """How many candidates hold the k nearest."""
        before = self.pairs[0]
        for pair in self.pairs:
            if k <= pair.hits:
                return _between(before, pair, k)
            before = pair
        return math.ceil(k * before.candidates / before.hits)

    def notes(self) -> bytes:
        """As an image has them."""
        numbers = np.array(self.pairs, dtype="<i8").tobytes()
        head = _NOTES.pack(self.step, self.peaked, len(self.pairs))
        origin = self.origin.astype("<f4").tobytes()
        return head + numbers + origin + bytes(-len(origin) % 8)


def _between(before: Pair, after: Pair, k: int) -> int:
    """Candidates that come on top of the hits grow about as the logarithm of these."""
    share = math.log(k / before.hits) / math.log(after.hits / before.hits) if k > before.hits else 0
    more, most = before.candidates - before.hits, after.candidates - after.hits
    return k + math.ceil(more + share * (most - more))


def read_notes(notes: Bytes, dimension: int) -> Coding:
    """What `Coding.notes` wrote.

    Raises:
        CorruptFile: it was not that, or about another dimension.
    """
    data, wrong = notes.tobytes(), CorruptFile("An index file has no notes on its codes")
    if len(data) < _NOTES.size:
        raise wrong
    step, peaked, count = _NOTES.unpack_from(data)
    if not 1 <= count <= _PAIRS_MAX:
        raise wrong
    begin = _NOTES.size + 16 * count
    if len(data) != begin + 4 * (dimension + dimension % 2):
        raise wrong
    table = np.frombuffer(data, "<i8", 2 * count, _NOTES.size).reshape(count, 2)
    pairs = tuple(Pair(*pair) for pair in table.tolist())
    origin = np.frombuffer(data, "<f4", dimension, begin)
    ascending = all(a.hits < b.hits for a, b in pairwise(pairs))
    sound = all(1 <= each.hits <= each.candidates for each in pairs)
    if not (
        ascending and sound and 0 < step < math.inf and peaked >= 0 and np.isfinite(origin).all()
    ):
        raise wrong
    return Coding(origin, step, peaked, pairs)
