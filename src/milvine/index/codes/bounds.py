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

import numpy as np
from numpy.typing import NDArray

from milvine.index.codes.image import Coded
from milvine.index.codes.quantizer import CodedQueries, Doubles
from milvine.index.products import unit_error
from milvine.types import Floats, MetricType

SLACK = 1e-9
TINY = 1e-30


def proven(
    queries: Floats,
    coded: Coded,
    points: CodedQueries,
    metric: MetricType,
    worst: Doubles,
    last: Doubles,
) -> NDArray[np.bool_]:
    """Which queries have an answer that no row outside their candidates can improve.

    Args:
        queries: float32 (nq, dimension), finite; `points` are those of them on the grid.
        worst: float64 (nq,), the worst score of a candidate as the kernel computed it.
        last: float64 (nq,), the distance of the last hit, in the metric's own sense; not finite
            where a hit is missing.

    Returns:
        bool (nq,).
    """
    if metric is MetricType.IP:
        largest, error = _largest_product(queries, coded, points, worst)
        good: NDArray[np.bool_] = largest + error < last
        return good & np.isfinite(last)
    nearest = _smallest_distance(coded, points, worst)
    g = unit_error(coded.quantizer.dimension)
    return np.asarray(last < nearest * nearest * (1 - g) - TINY)


def _smallest_distance(coded: Coded, points: CodedQueries, worst: Doubles) -> Doubles:
    """No row that is no candidate is nearer: float64 (nq,), not squared."""
    g = unit_error(coded.quantizer.width)
    inside = np.maximum(np.sqrt(worst * (1 - g)) - points.rounded, 0)
    away = np.sqrt(inside * inside + points.outside * points.outside)
    nearest: Doubles = np.maximum(
        coded.quantizer.step * away * (1 - SLACK) - coded.residual * (1 + SLACK), 0
    )
    return nearest


def _largest_product(
    queries: Floats, coded: Coded, points: CodedQueries, worst: Doubles
) -> tuple[Doubles, Doubles]:
    """No row that is no candidate has a larger inner product, and by how much a computed one may
    be larger than a true one: float64 (nq,) each.
    """
    quantizer, wide = coded.quantizer, queries.astype(np.float64)
    g = unit_error(quantizer.width)
    lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    at_origin = wide @ quantizer.origin.astype(np.float64)
    unit = points.steps * quantizer.step
    # |t p| is at most |q| and what rounding left over.
    rounding = points.steps * points.rounded
    spread = quantizer.step * coded.code_length * (g * (lengths + rounding) + rounding)
    largest = at_origin + unit * worst + spread + lengths * coded.residual
    size = lengths * (coded.row_length + float(np.linalg.norm(quantizer.origin)))
    return largest, (g + SLACK) * size + SLACK * np.abs(largest) + TINY
