"""Codes of a byte in each dimension: where a row lies on a grid of equal steps around an origin.

All dimensions have the same step, so the distance of two codes, a whole number, is the distance of
two points of the grid in steps. Codes are signed, -127 to 127, and padded with zeros to a width
at which faiss compares them soonest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from milvine.types import Floats, Ids, MetricType

Doubles: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int8]

LARGEST = 127
WIDTH_UNIT, _NARROW_UNIT = 32, 16
"""faiss compares codes as whole numbers where their width is a multiple of the first; at other
multiples of the second it makes floats of them, and takes half as long again or twice as long.
"""
PIECE_BYTES = 4 << 20
"""Of vectors that are looked at in one go."""
_SAMPLE_BYTES, _SAMPLE_BYTES_LEAST, _SAMPLE_SHARE = 32 << 20, 2 << 20, 8
_SHARE_MAX = 1 / 3
_ROUNDED = 1e-4
"""More than float32 may lose of a place on the grid of a row inside, in steps: three roundings of
at most 127 * 2**-24.
"""
_SAMPLE = 4096
_TAIL = 0.005
_OUTSIDE_LEAST, _OUTSIDE_SHARE = 16, 1 / 2000
_STRETCH = 1.25
"""So much coarser the grid may be for the sake of its farthest rows."""


def padded(dimension: int, unit: int = WIDTH_UNIT) -> int:
    """The next multiple of a unit."""
    return dimension + -dimension % unit


def small(width: int, dimension: int) -> bool:
    """Whether codes of so many bytes are small beside the rows, float32 of this dimension."""
    return width <= _SHARE_MAX * 4 * dimension


def code_width(dimension: int) -> int:
    """Bytes of a code."""
    width = padded(dimension)
    return width if small(width, dimension) else padded(dimension, _NARROW_UNIT)


def sample_bytes(memory: int) -> int:
    """Of the rows that a build measures with, where `memory` bytes may be used; 0: any number."""
    if not memory:
        return _SAMPLE_BYTES
    return min(max(memory // _SAMPLE_SHARE, _SAMPLE_BYTES_LEAST), _SAMPLE_BYTES)


def pays(dimension: int) -> bool:
    """Whether codes are small beside the rows, which tiny ones are not when they are padded."""
    return small(code_width(dimension), dimension)


class CodedQueries(NamedTuple):
    """Queries on a grid: `points` + what is left over, in units of `steps`.

    Attributes:
        points: float32 (nq, width), whole numbers from -127 to 127.
        steps: float64 (nq,), the length of a unit.
        rounded: float64 (nq,), the length of what rounding left over, in units.
        outside: float64 (nq,), the length of what lies beyond the grid, in units; under IP 0.
    """

    points: Floats
    steps: Doubles
    rounded: Doubles
    outside: Doubles

    def of(self, some: Ids) -> CodedQueries:
        """Those of some of the queries."""
        return CodedQueries(
            self.points[some], self.steps[some], self.rounded[some], self.outside[some]
        )


class Quantizer:
    """A grid: `origin` float32 (dimension,), `step` the distance of neighbouring points. Codes have
    `width` bytes.
    """

    __slots__ = ("_origin", "dimension", "origin", "step", "width")

    def __init__(self, origin: Floats, step: float) -> None:
        self.origin, self.step = origin, step
        self._origin = origin.astype(np.float64)
        self.dimension = len(origin)
        self.width = code_width(self.dimension)

    def encode(self, vectors: Floats) -> tuple[Codes, Doubles]:
        """Codes (rows, width) of finite vectors, and float64 (rows,): each is no farther from its
        point of the grid.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # of rows outside the grid
            places = vectors - self.origin
            places *= np.float32(1 / self.step)
            points = np.rint(places)
            np.clip(points, -LARGEST, LARGEST, out=points)
            places -= points
        codes = np.zeros((len(vectors), self.width), dtype=np.int8)
        codes[:, : self.dimension] = points
        lengths = np.sqrt(np.einsum("ij,ij->i", places, places, dtype=np.float64))
        return codes, self.step * (lengths + _ROUNDED * np.sqrt(self.dimension))

    def encode_queries(self, queries: Floats, metric: MetricType) -> CodedQueries:
        """Finite queries (nq, dimension). Under IP only their direction counts, so each has a grid
        of its own that it fills, around zero.
        """
        nq, dimension = queries.shape
        if metric is MetricType.IP:
            largest = np.maximum(queries.max(axis=1), -queries.min(axis=1)).astype(np.float64)
            largest[largest == 0] = LARGEST
            steps = largest / LARGEST
            places = queries / steps[:, None]
        else:
            steps = np.full(nq, self.step)
            places = (queries - self._origin) / self.step
        points = np.rint(places)
        ends = points.min(), points.max()
        clipped = metric is not MetricType.IP and (ends[0] < -LARGEST or ends[1] > LARGEST)
        if clipped:
            np.clip(points, -LARGEST, LARGEST, out=points)
        out = np.zeros((nq, self.width), dtype=np.float32)
        out[:, :dimension] = points
        places -= points
        outside = np.zeros(nq)
        if clipped:
            beyond = np.where(np.abs(places) > 0.5, places, 0.0)
            outside = np.sqrt(np.einsum("ij,ij->i", beyond, beyond))
            places -= beyond
        return CodedQueries(out, steps, np.sqrt(np.einsum("ij,ij->i", places, places)), outside)


class Learnt(NamedTuple):
    """A grid for some rows, and the numbers of rows that it cannot hold, ascending: those beyond
    it, and those with NaN or infinity.
    """

    quantizer: Quantizer
    outside: Ids
    nonfinite: Ids


def learn(vectors: Floats) -> Learnt | None:
    """The grid for the rows of a segment, (rows, dimension); None where too many would be outside.

    A few rows far away do not make it coarser for all: they stay outside.
    """
    origin = _origin(vectors)
    if origin is None:
        return None
    rows = len(vectors)
    reach = np.empty(rows)
    with np.errstate(over="ignore", invalid="ignore"):
        for start, some in pieces(vectors):
            offsets = some - origin
            np.maximum(
                offsets.max(axis=1), -offsets.min(axis=1), out=reach[start : start + len(some)]
            )
    strange = np.flatnonzero(~np.isfinite(reach))
    nonfinite = strange[~np.isfinite(vectors[strange]).all(axis=1)]
    allowed = max(_OUTSIDE_LEAST, int(rows * _OUTSIDE_SHARE))
    if len(nonfinite) > allowed or len(nonfinite) == rows:
        return None
    reach[nonfinite] = 0
    largest = float(reach.max())  # infinity where float32 has no such number
    last = max(0, rows - 1 - allowed)
    usual = float(np.partition(reach, last)[last])
    limit = largest if largest <= usual * _STRETCH or not usual else usual
    step = limit / LARGEST if limit else 1.0
    if not 1e-30 < step < 1e30:
        return None
    outside = np.flatnonzero(reach > limit)
    return Learnt(Quantizer(origin, step), outside, nonfinite)


def pieces(vectors: Floats) -> Iterator[tuple[int, Floats]]:
    """The rows a bounded piece at a time, each with the number of its first."""
    step = max(1, PIECE_BYTES // (4 * vectors.shape[1]))
    for start in range(0, len(vectors), step):
        yield start, vectors[start : start + step]


def _origin(vectors: Floats) -> Floats | None:
    """The middle of what most rows have in each dimension, by a sample; None without a finite row
    in it.
    """
    sample = vectors[:: max(1, len(vectors) // _SAMPLE)][:_SAMPLE].astype(np.float64)
    sample = np.sort(sample[np.isfinite(sample).all(axis=1)], axis=0)
    if not len(sample):
        return None
    cut = int(_TAIL * len(sample))
    origin: Floats = ((sample[cut] + sample[-1 - cut]) / 2).astype(np.float32)
    return origin
