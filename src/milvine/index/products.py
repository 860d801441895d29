"""Candidates for many queries at once, from matrix products, with proof of which answers are
complete.

A product of a block of rows with all queries is several times quicker than comparing pairs, but it
computes a distance as a difference of large numbers, and rounding may swap neighbours or invent
them. So the products only nominate: each query keeps the `width` rows with the best scores, and a
bound on all rows that it did not keep. The caller computes the exact distances of the kept rows and
compares the k-th with the bound.

**Scores.** Let y be a row with `origin` subtracted and q a query, with `origin` subtracted under
L2. (Distances do not depend on where the origin is, but rounding does. Under IP the shift adds one
constant to all scores of a query.)

    L2   s = q.y - |y|^2 / 2    and the squared distance is |q|^2 - 2 s
    IP   s = q.y                and the inner product is s + q.origin

**The bound.** With unit roundoff u and g = 1.1 (d + 8) u, whatever the order in which the products
are summed, the computed score differs from the true one by at most (standard forward error
analysis, and |q||y| <= (|q|^2 + |y|^2) / 2)

    L2   g (|q|^2 / 2 + 3/2 |y|^2)
    IP   g (|q|^2 / 2 + 1/2 |y|^2)

The part with |y| is added to the row's score through its bias, which costs nothing; the part with
|q| is one number per query. So (worst kept score + g |q|^2 / 2) bounds the true score of every row
that was not kept, and one row of enormous length cannot spoil the proof for the others. Under IP
queries are scaled by a power of two to the length of the rows, so that the inequality between the
means loses little.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from milvine.index.native import faiss, pointer, squared_norms
from milvine.limits import MIB
from milvine.types import Floats, Ids, MetricType, RowMask

_SAMPLE_ROWS = 256
_BLOCK_FLOATS = 1 << 21
_BLOCK_ROWS = 4096
_SCORES = 16 * MIB // 4
_GATHER_BELOW = 0.5
_SCALE_MAX = 60
_TINY = 1e-30
"""Covers what underflow may take from squares and products."""
_SQUARE_MAX = 1e37
"""Products with a longer query may overflow, so they prove nothing."""

Doubles = NDArray[np.float64]


def unit_error(dimension: int) -> float:
    """The g of the module's bound."""
    return 1.1 * (dimension + 8) * 2.0**-24


@dataclass(frozen=True, slots=True)
class Frame:
    """Where the rows lie: the `origin` (dimension,) to subtract, None for zero, and their usual
    squared length then.
    """

    origin: Floats | None
    spread: float

    @classmethod
    def around(cls, vectors: Floats) -> Frame:
        """Judged by a sample of rows. Any origin is right; a good one makes the bound tight."""
        sample = vectors[:: max(1, len(vectors) // _SAMPLE_ROWS)][:_SAMPLE_ROWS].astype(np.float64)
        sample = sample[np.isfinite(sample).all(axis=1)]
        if not len(sample):
            return cls(None, 0.0)
        mean = sample.mean(axis=0)
        spread = float(np.einsum("ij,ij->", sample, sample)) / len(sample)
        if mean @ mean < 0.25 * spread:
            return cls(None, spread)
        origin = mean.astype(np.float32)
        return cls(origin, max(0.0, spread - float(mean @ mean)))

    def moved(self, points: Floats) -> Floats:
        return points if self.origin is None else points - self.origin


@dataclass(frozen=True, slots=True)
class Nominees:
    """Rows (nq, width), -1 where there are no more, and per query a bound on every eligible row
    that is not among them.

    `bound` is a float64 (nq,): the least squared distance under L2, the largest inner product under
    IP.
    """

    rows: Ids
    bound: Doubles


class Block:
    """Some rows with their biases, in the memory of a faiss linear transform: the way to its matrix
    product.
    """

    def __init__(self, dimension: int, rows: int) -> None:
        self.size = rows
        self._transform = faiss.LinearTransform(dimension, rows, True)
        self._transform.A.resize(rows * dimension)
        self._transform.b.resize(rows)
        self._transform.is_trained = True
        self.rows: Floats = faiss.rev_swig_ptr(self._transform.A.data(), rows * dimension).reshape(
            rows, dimension
        )
        self.biases: Floats = faiss.rev_swig_ptr(self._transform.b.data(), rows)

    def scores(self, queries: Floats, out: Floats) -> None:
        """out (nq, size) = queries . rows + biases."""
        self._transform.apply_noalloc(len(queries), pointer(queries), pointer(out))


class Eligible:
    """The rows that may be found, loaded block by block. Many dead rows are skipped, few get a bias
    of -infinity.
    """

    def __init__(
        self, vectors: Floats, frame: Frame, metric: MetricType, mask: RowMask | None
    ) -> None:
        self._vectors, self._frame = vectors, frame
        g = unit_error(vectors.shape[1])
        self._bias = 0.5 * g if metric is MetricType.IP else -0.5 * (1 - 3 * g)
        self._live = None if mask is None or not mask.dead else mask.to_bool()
        self._gathered: Ids | None = None
        if self._live is not None and np.count_nonzero(self._live) < _GATHER_BELOW * len(vectors):
            self._gathered, self._live = np.flatnonzero(self._live), None

    def __len__(self) -> int:
        return len(self._vectors if self._gathered is None else self._gathered)

    def numbers(self, positions: Ids) -> Ids:
        """Row numbers of positions (any shape, -1 stays -1)."""
        if self._gathered is None:
            return positions
        return np.where(positions < 0, -1, self._gathered[np.maximum(positions, 0)])

    def load(self, block: Block, start: int) -> bool:
        """Fill `block` from position `start`. False when a finite row is too long for float32
        scores.
        """
        rows = self._rows(start, block.size)
        count = len(rows)
        if self._frame.origin is None:
            block.rows[:count] = rows
        else:
            np.subtract(rows, self._frame.origin, out=block.rows[:count])
        norms = squared_norms(block.rows[:count])
        np.multiply(norms, self._bias, out=block.biases[:count])
        block.biases[count:] = -np.inf
        if self._live is not None:
            block.biases[:count][~self._live[start : start + count]] = -np.inf
        odd = np.flatnonzero(~np.isfinite(norms))
        block.biases[odd] = -np.inf  # NaN and infinity: never found
        return not len(odd) or not np.isfinite(rows[odd]).all(axis=1).any()

    def _rows(self, start: int, count: int) -> Floats:
        if self._gathered is None:
            return self._vectors[start : start + count]
        return self._vectors[self._gathered[start : start + count]]


def nominate(
    queries: Floats,
    vectors: Floats,
    metric: MetricType,
    width: int,
    mask: RowMask | None,
    frame: Frame,
) -> Nominees | None:
    """The `width` best rows of each finite query by score; None when some row is too long
    for that.
    """
    eligible = Eligible(vectors, frame, metric, mask)
    with np.errstate(over="ignore", invalid="ignore"):
        if metric is MetricType.IP:
            moved, scale = _scaled(queries, frame.spread)
        else:
            moved, scale = frame.moved(queries), np.ones(len(queries))
        kept = _best_scores(moved, eligible, width)
        if kept is None:
            return None
        scores, positions = kept
        worst = np.where(positions[:, -1] < 0, -np.inf, scores[:, -1].astype(np.float64))
        return Nominees(
            eligible.numbers(positions), _bound(queries, moved, scale, worst, metric, frame)
        )


def _best_scores(queries: Floats, eligible: Eligible, width: int) -> tuple[Floats, Ids] | None:
    nq, dimension = queries.shape
    size = max(16, min(_BLOCK_ROWS, _BLOCK_FLOATS // dimension, _SCORES // nq, len(eligible)))
    block, out = Block(dimension, size), np.empty((nq, size), dtype=np.float32)
    scores, positions = (
        np.empty((nq, width), dtype=np.float32),
        np.empty((nq, width), dtype=np.int64),
    )
    heaps = faiss.float_minheap_array_t()
    heaps.nh, heaps.k, heaps.val, heaps.ids = nq, width, pointer(scores), pointer(positions)
    heaps.heapify()
    for start in range(0, len(eligible), size):
        if not eligible.load(block, start):
            return None
        block.scores(queries, out)
        heaps.addn(size, pointer(out), start, 0, nq)
    heaps.reorder()
    return scores, positions


def _scaled(queries: Floats, spread: float) -> tuple[Floats, Doubles]:
    """Queries times a power of two each, so that their squared length is about `spread`; and those
    powers.
    """
    squares = np.einsum("ij,ij->i", queries, queries, dtype=np.float64)
    power = np.zeros(len(queries), dtype=np.int32)
    if spread > 0:
        known = squares > 0
        ideal = np.round(0.5 * np.log2(spread / squares[known]))
        power[known] = np.clip(ideal, -_SCALE_MAX, _SCALE_MAX).astype(np.int32)
    return np.ldexp(queries, power[:, None]).astype(np.float32, copy=False), np.ldexp(1.0, power)


def _bound(
    queries: Floats, moved: Floats, scale: Doubles, worst: Doubles, metric: MetricType, frame: Frame
) -> Doubles:
    g = unit_error(queries.shape[1])
    squares: Doubles = np.einsum("ij,ij->i", moved, moved, dtype=np.float64)
    usable = squares <= _SQUARE_MAX
    if metric is not MetricType.IP:
        nearest = squares * (1 - g) - 2 * worst - _TINY
        return np.where(usable, nearest, -np.inf)
    largest = (worst + 0.5 * g * squares + _TINY) / scale
    if frame.origin is not None:
        wide, origin = queries.astype(np.float64), frame.origin.astype(np.float64)
        largest += wide @ origin + 1e-12 * (np.abs(wide) @ np.abs(origin))
    return np.where(usable, largest, np.inf)
