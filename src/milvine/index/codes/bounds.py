"""What codes prove: how near a row can be of which no more is known than that its code was worse
than those of the candidates.

**Setting.** A row x is x = o + s (c + e): origin, step, its code c (whole numbers) and what is left
over, of length s |e| <= r, the largest of all rows, measured in float64 when codes are made. A
query q is q = o + s (p + f) under L2, and q = t (p + f), with a step t of its own, under IP; p is
rounded to whole numbers from -127 to 127. The kernel computes |p - c|^2 or p.c, whole numbers whose
sums float32 may round: the computed score differs by at most g times itself under L2, and by
g |p| |c| under IP, where g = `products.unit_error`. Let w be the worst computed score among the
candidates; a row that is no candidate has no better one.

**L2.** Let f = a + b, where b are the dimensions in which q lies beyond the grid (|f| > 1/2 there,
which rounding alone cannot be) and a the others. In a dimension of b the rounded p is at the end of
the grid and f points away from it, so that p - c and f have the same sign for every code, and
(p - c + f)^2 >= (p - c)^2 + f^2. With the triangle inequality in the other dimensions

    |p - c + f|^2 >= max(0, |p - c| - |a|)^2 + |b|^2

and, by the triangle inequality again, |q - x| >= s |p - c + f| - r. So no row that is no candidate
is nearer than

    s sqrt(max(0, sqrt(w (1 - g)) - |a|)^2 + |b|^2) - r

**IP.** q.x = q.o + t s (p + f).(c + e) = q.o + t s p.c + t s f.c + q.(s e). By Cauchy and Schwarz
the last two are at most t s |f| C and |q| r, where C is the length of the longest code. So no row
that is no candidate has an inner product above

    q.o + t s (w + g |p| C) + t s |f| C + |q| r

**Answers.** Hits are ordered by distances that were computed in float32. Those differ from the true
ones by at most g times the squared distance under L2 and by g |q| |x| under IP, with |x| at most
the length of the longest row. A row that is no candidate is no hit when even its computed distance
must be worse than the k-th computed one: strictly, since of equal distances the lower row number
counts. Bounds are computed in float64, whose rounding SLACK covers, as TINY does underflow.

Rows outside the grid and those with NaN have codes that mean nothing. The former are always
candidates, the latter never hits, so that nothing need be said of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import hypot, inf, sqrt

import numpy as np

from milvine.index.codes.image import Coded
from milvine.index.codes.quantizer import CodedQueries
from milvine.index.products import unit_error
from milvine.types import Floats, MetricType

SLACK = 1e-9
TINY = 1e-30


def proven(
    queries: Floats,
    coded: Coded,
    points: CodedQueries,
    metric: MetricType,
    worst: Sequence[float],
    last: Sequence[float],
) -> list[bool]:
    """Which queries have an answer that no row outside their candidates can improve.

    Args:
        queries: float32 (nq, dimension), finite; `points` are those of them on the grid.
        worst: of each query, the worst score of a candidate as the kernel computed it.
        last: of each query, the distance of the last hit, in the metric's own sense; not finite
            where a hit is missing.
    """
    if metric is MetricType.IP:
        bounds = _largest_products(queries, coded, points, worst)
        return [bound < far < inf for bound, far in zip(bounds, last, strict=True)]
    share = 1 - unit_error(coded.quantizer.dimension)
    nearest = _smallest_distances(coded, points, worst)
    return [far < near * near * share - TINY for near, far in zip(nearest, last, strict=True)]


def _smallest_distances(
    coded: Coded, points: CodedQueries, worst: Sequence[float]
) -> Iterator[float]:
    """For each query: no row that is no candidate is nearer, not squared."""
    share = 1 - unit_error(coded.quantizer.width)
    step, residual = coded.quantizer.step * (1 - SLACK), coded.residual * (1 + SLACK)
    parts = zip(worst, points.rounded.tolist(), points.outside.tolist(), strict=True)
    for score, rounded, outside in parts:
        inside = max(sqrt(score * share) - rounded, 0.0)
        yield max(step * hypot(inside, outside) - residual, 0.0)


def _largest_products(
    queries: Floats, coded: Coded, points: CodedQueries, worst: Sequence[float]
) -> Iterator[float]:
    """For each query: no row that is no candidate has a larger inner product as float32 computes
    it.
    """
    quantizer, wide = coded.quantizer, queries.astype(np.float64)
    g = unit_error(quantizer.width)
    lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide)).tolist()
    at_origin = (wide @ quantizer.origin).tolist()
    parts = zip(
        worst, lengths, at_origin, points.steps.tolist(), points.rounded.tolist(), strict=True
    )
    for score, length, product, unit, rounded in parts:
        # |t p| is at most |q| and what rounding left over.
        over = unit * rounded
        largest = (
            product
            + unit * quantizer.step * score
            + quantizer.step * coded.code_length * (g * (length + over) + over)
            + length * coded.residual
        )
        size = length * (coded.row_length + coded.origin_length)
        yield largest + (g + SLACK) * size + SLACK * abs(largest) + TINY
