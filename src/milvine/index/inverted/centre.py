"""The point from which the rows of a segment are most nearly equally far: of unit vectors zero, not
their mean.

From near it no row is much nearer than another, and what codes are off hides which. How much the
distances of rows differ from a query grows with the square of its way from there; where rows are
not on a sphere, they differ from that point as well.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from milvine.types import Floats

_BYTES = 24 << 20
"""Of rows as float64."""
_ROWS_MAX, _ROWS_LEAST = 4096, 256
_ROUNDS = 24
_SOLVED = 1e-20

Doubles = NDArray[np.float64]


class Centre(NamedTuple):
    """Such a point, float64 (dimension,), and by how much distances differ from there: as much as
    from a point so far away, squared, in units of the deviations of each dimension.
    """

    point: Doubles
    spread: float


def centre_of(sample: Floats, weights: Doubles) -> Centre:
    """Of rows, float32 (n, dimension).

    `weights`: by which the way of a query is measured in each dimension, (dimension,).
    """
    many = min(_ROWS_MAX, _BYTES // (8 * sample.shape[1]))
    rows = sample[:many].astype(np.float64)
    mean = rows.mean(axis=0)
    if many < _ROWS_LEAST:
        return Centre(mean, np.inf)
    rows -= mean
    squares = (rows * rows).sum(axis=1)
    squares -= squares.mean()
    way = _solved(rows, squares / 2)
    left = squares - 2 * (rows @ way)
    # 4 times the variance along the way of a query is what that adds.
    variance = rows.var(axis=0)
    weight = float(weights @ weights)
    each = 4 * float(variance.sum()) / weight if weight else 0.0
    return Centre(mean + way, float(left.var()) / each if each else np.inf)


def _solved(rows: Doubles, target: Doubles) -> Doubles:
    """The way (dimension,) with the least squares of `rows @ way - target`, about: conjugate
    gradients, ended before they follow the noise of a small sample.
    """
    way = np.zeros(rows.shape[1])
    left = target.copy()
    downhill = rows.T @ left
    step, slope = downhill.copy(), float(downhill @ downhill)
    end = _SOLVED * slope
    for _ in range(_ROUNDS):
        moved = rows @ step
        length = float(moved @ moved)
        if slope <= end or not length:
            break
        part = slope / length
        way += part * step
        left -= part * moved
        downhill = rows.T @ left
        before, slope = slope, float(downhill @ downhill)
        step = downhill + (slope / before) * step
    return way
