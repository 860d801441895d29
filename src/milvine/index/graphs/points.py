"""Whole-number points that stand for rows and queries while a graph is built and walked, and what
an index file says of them.

Under L2 they lie on a grid of equal steps around an origin, so a distance of points is a distance
of rows in steps, but for roundings. Under inner product the grid is around zero, and each query has
a grid of its own that it fills, since its length changes no order.

In the table of an image stand float64 step and `peaked`, int64 how many pairs there are and zero,
the pairs as int64 (hits, candidates), ascending, and float32 origin, padded with zeros.
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
from milvine.index.codes.quantizer import LARGEST, padded
from milvine.index.native import faiss
from milvine.index.padding import widened
from milvine.types import Floats, Ids, MetricType

QUICK = "AVX512" in faiss.get_compile_options()
"""Whether a walk over points is quicker than one over vectors. With AVX-512 faiss multiplies bytes,
and it takes about half the time. With less it makes floats of them first: over 64 to 768 dimensions
and ef 16 to 512, walks and comparing their candidates took 0.9 to 1.5 times as long, and builds as
long as over vectors.
"""

_TINY = np.float32(np.finfo(np.float32).tiny)
_LARGEST = np.float32(LARGEST)
_EDGE = LARGEST + 0.49
"""What is farther out has no point."""
_HEAD = struct.Struct("<ddq8x")
_PAIRS_MAX = 16


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
        return padded(len(self.origin))

    @cached_property
    def _grid(self) -> tuple[Floats, Floats, Floats, Any]:
        """Origin and both edges, (1, dimension), which numpy is quicker with than with
        (dimension,), and points a unit.
        """
        origin, reach = self.origin[None], np.float32(_EDGE * self.step)
        # Inwards, for where the origin is far from zero they may have been rounded outwards.
        low, high = (np.nextafter(edge, origin) for edge in (origin - reach, origin + reach))
        return origin, low, high, np.float32(1 / self.step)

    @cached_property
    def _least_squares(self) -> float:
        """What the squares of a query's numbers come to, where the largest is 1."""
        return len(self.origin) / self.peaked**2 if self.peaked else 0.0

    def of_rows(self, rows: Floats) -> Floats:
        """The points of finite rows, float32 (rows, width): the nearest of the grid."""
        _, low, high, _ = self._grid
        return self._on_grid(np.minimum(np.maximum(rows, low), high))

    def of_queries(self, queries: Floats, metric: MetricType) -> Points:
        """The points of finite queries, float32 (nq, dimension)."""
        if metric is MetricType.IP:
            return self._of_directions(queries)
        _, low, high, _ = self._grid
        within = np.minimum(np.maximum(queries, low), high)
        # Bytes are sooner compared than numpy begins, and mistake only the two zeros.
        if within.tobytes() == queries.tobytes():
            return Points(self._on_grid(within), None)
        unfit = (within != queries).any(axis=1)
        return Points(self._on_grid(within), unfit if unfit.any() else None)

    def _on_grid(self, within: Floats) -> Floats:
        """Of (n, dimension) that may be overwritten."""
        origin, _, _, scale = self._grid
        within -= origin
        within *= scale
        np.rint(within, out=within)
        return widened(within, self.width)

    def _of_directions(self, queries: Floats) -> Points:
        largest = np.maximum.reduce(np.abs(queries), axis=1, keepdims=True)
        parts: Any = queries / np.maximum(largest, _TINY)
        unfit = np.add.reduce(parts * parts, axis=1) < self._least_squares
        parts *= _LARGEST
        np.rint(parts, out=parts)
        return Points(widened(parts, self.width), unfit if 1 in unfit.tobytes() else None)

    def wanted(self, k: int) -> int:
        """How many candidates hold the k nearest."""
        before = self.pairs[0]
        for pair in self.pairs:
            if k <= pair.hits:
                return _between(before, pair, k)
            before = pair
        return _beyond(self.pairs, k)

    def table(self) -> Ids:
        """As an image has it, int64 (n, 2)."""
        head = _HEAD.pack(self.step, self.peaked, len(self.pairs))
        data = head + np.array(self.pairs, "<i8").tobytes() + self.origin.astype("<f4").tobytes()
        return np.frombuffer(data + bytes(-len(data) % 16), dtype="<i8").reshape(-1, 2)

    @classmethod
    def of(cls, table: Ids, dimension: int) -> Coding:
        """What `table` made.

        Raises:
            CorruptFile: it did not, or of another dimension.
        """
        data = table.tobytes()
        step, peaked, count = _HEAD.unpack_from(data.ljust(_HEAD.size, b"\0"))
        begin = _HEAD.size + 16 * count
        if 1 <= count <= _PAIRS_MAX and len(data) == begin + 4 * dimension + -4 * dimension % 16:
            numbers = np.frombuffer(data, "<i8", 2 * count, _HEAD.size).reshape(-1, 2).tolist()
            origin = np.frombuffer(data, "<f4", dimension, begin)
            made = cls(origin, step, peaked, tuple(Pair(*pair) for pair in numbers))
            if made._sound():
                return made
        raise CorruptFile("The table of an index file does not say how rows are coded")

    def _sound(self) -> bool:
        return (
            0 < self.step < math.inf
            and 0 <= self.peaked < math.inf
            and bool(np.isfinite(self.origin).all())
            and all(1 <= pair.hits <= pair.candidates for pair in self.pairs)
            and all(one.hits < other.hits for one, other in pairwise(self.pairs))
        )


def _between(before: Pair, after: Pair, k: int) -> int:
    """Candidates that come on top of the hits grow about as the logarithm of these."""
    share = math.log(k / before.hits) / math.log(after.hits / before.hits) if k > before.hits else 0
    more, most = before.candidates - before.hits, after.candidates - after.hits
    return k + math.ceil(more + share * (most - more))


def _beyond(pairs: tuple[Pair, ...], k: int) -> int:
    """And farther out about as the same power of the hits as before, which is at most the first."""
    last, before = pairs[-1], pairs[-2] if len(pairs) > 1 else pairs[-1]
    more, less = last.candidates - last.hits, before.candidates - before.hits
    power = 1.0
    if 0 < less < more:
        power = math.log(more / less) / math.log(last.hits / before.hits)
    return k + math.ceil(more * math.pow(k / last.hits, min(max(power, 0.5), 1)))
