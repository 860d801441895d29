"""Whether the rows of a segment can be told apart by their points, and how many candidates that
takes: tried out before a graph is built.

Some of the rows, and queries that lie between rows, are compared with every row, by vectors and by
points. What the points put behind their candidates is lost; so the candidates are as many as it
takes to lose next to nothing. Where that is too many, or many rows share a point, there are no
codes: a graph over them would be slower, or end in heaps of equal points as it does in copies.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from milvine.index.base import BuildJob
from milvine.index.codes.quantizer import LARGEST, learn, padded, small
from milvine.index.graphs.points import Coding, Pair
from milvine.index.native import METRICS, faiss, portion_of
from milvine.types import Floats, Ids, MetricType

ROWS_MIN = 1024
LOST = 0.0005
"""Of the hits, for want of candidates."""
DEPTH = 100
_HITS = (1, 10, DEPTH)
_MOST = {1: 16, 10: 24, DEPTH: 130}
"""More candidates would be too many to compare, and points that want them too coarse for links."""
_OWN, _BETWEEN = 112, 64
_NOISE = 0.25
_SHARED, _SHARED_LEAST, _SHARED_MOST = 1 / 2000, 16, 16
"""Rows whose point others have too: of all, at least, and of one point."""
_PEAKED = 1.25
"""So much more peaked than those of the trial may queries be."""
_PORTION = 8192
_EXACT = 1 << 24
"""float32 holds whole numbers up to here."""


def worth_codes(dimension: int) -> bool:
    """Whether rows of this dimension may have codes at all."""
    return small(padded(dimension), dimension)


def tried(job: BuildJob, nodes: Ids) -> Coding | None:
    """How the rows `nodes` become points; None where the graph is better built over vectors."""
    vectors = job.vectors
    if not job.codes or len(nodes) < ROWS_MIN or not worth_codes(vectors.shape[1]):
        return None
    job.report("training", 0)
    grid = _grid(vectors, nodes, job.metric)
    if grid is None:
        return None
    queries, own = _asked(vectors, nodes)
    if job.metric is MetricType.IP:
        grid = Coding(grid.origin, grid.step, _PEAKED * _most_peaked(queries), ())
    looked = _Looked(grid, queries, job.metric, len(nodes))
    for start, portion in _portions(vectors, nodes):
        looked.at(start, portion)
    if looked.heaps():
        return None
    places = looked.places(np.concatenate([np.searchsorted(nodes, own), np.full(_BETWEEN, -1)]))
    pairs = [_pair(places[:_OWN], places[_OWN:], hits) for hits in _HITS]
    if any(pair.candidates > _MOST[pair.hits] for pair in pairs):
        return None
    return Coding(grid.origin, grid.step, grid.peaked, tuple(pairs))


def _portions(vectors: Floats, nodes: Ids) -> Iterator[tuple[int, Floats]]:
    for start in range(0, len(nodes), _PORTION):
        yield start, np.ascontiguousarray(portion_of(vectors, nodes, start, _PORTION))


def _grid(vectors: Floats, nodes: Ids, metric: MetricType) -> Coding | None:
    """Around the middle of the rows, or under IP around zero and as wide as the longest: these are
    the ones that are found.
    """
    if metric is MetricType.L2:
        learnt = learn(vectors)
        if learnt is None:
            return None
        return Coding(learnt.quantizer.origin, learnt.quantizer.step, 0.0, ())
    largest = max(
        float(max(portion.max(), -portion.min())) for _, portion in _portions(vectors, nodes)
    )
    step = largest / LARGEST
    if not 1e-30 < step < 1e30:
        return None
    return Coding(np.zeros(vectors.shape[1], dtype=np.float32), step, 0.0, ())


def _asked(vectors: Floats, nodes: Ids) -> tuple[Floats, Ids]:
    """Some of the rows and, behind them, what lies about half-way between two; and the numbers of
    those rows.
    """
    drawn = np.random.default_rng(0)
    own = np.sort(drawn.choice(nodes, _OWN, replace=False))
    ends = vectors[drawn.choice(nodes, (2, _BETWEEN))].astype(np.float64)
    noise = drawn.standard_normal((_BETWEEN, vectors.shape[1]))
    between = ends.mean(axis=0) + _NOISE * vectors[own].std(axis=0, dtype=np.float64) * noise
    return np.concatenate([vectors[own], between.astype(np.float32)]), own


def _most_peaked(queries: Floats) -> float:
    numbers = queries.astype(np.float64)
    usual = np.sqrt((numbers**2).mean(axis=1))
    return float((np.abs(numbers).max(axis=1)[usual > 0] / usual[usual > 0]).max(initial=1))


class _Looked:
    """The nearest rows of each query among those that were looked at, by vectors and by points."""

    def __init__(self, grid: Coding, queries: Floats, metric: MetricType, rows: int) -> None:
        self._grid, self._metric = grid, metric
        self._queries = queries
        self._points = grid.of_queries(queries, metric).points
        self._near = _Nearest(len(queries), DEPTH + 1, metric)
        self._coded = _Nearest(len(queries), 2 * DEPTH + 1, metric)
        self._keys = np.empty(rows, dtype=np.int64)
        most = max(1, _EXACT // (LARGEST * grid.width) - 1)
        self._weights = np.random.default_rng(1).integers(-most, most, (grid.width, 2), np.int64)

    def at(self, start: int, rows: Floats) -> None:
        points = self._grid.of_rows(rows)
        self._near.among(self._queries, rows, start)
        self._coded.among(self._points, points, start)
        first, second = (points @ self._weights.astype(np.float32)).astype(np.int64).T
        self._keys[start : start + len(rows)] = first * (2 * _EXACT) + second

    def heaps(self) -> bool:
        """Whether many rows share their points with others."""
        counts = np.unique(self._keys, return_counts=True)[1]
        shared = int(counts[counts > 1].sum())
        return bool(
            counts.max() > _SHARED_MOST or shared > max(_SHARED_LEAST, _SHARED * len(self._keys))
        )

    def places(self, themselves: Ids) -> Ids:
        """Where in the order of points each of the nearest is, (nq, DEPTH); very far where it was
        not seen. `themselves`: (nq,), the row that asks, which is no answer; -1 for none.
        """
        near, coded = (_without(found.rows, themselves) for found in (self._near, self._coded))
        out = np.full(near.shape, len(self._keys) + DEPTH, dtype=np.int64)
        for each, one, other in zip(out, near, coded, strict=True):
            order = np.argsort(other)
            at = np.minimum(np.searchsorted(other[order], one), len(other) - 1)
            seen = other[order][at] == one
            each[seen] = order[at[seen]]
        return out


class _Nearest:
    """The k nearest rows of each query, of portions that come one after the other."""

    def __init__(self, queries: int, k: int, metric: MetricType) -> None:
        self._k, self._kind = k, METRICS[metric]
        self._sign = -1 if metric.larger_is_closer else 1
        self._far = np.empty((queries, 0), dtype=np.float32)
        self._rows: Ids = np.empty((queries, 0), dtype=np.int64)

    @property
    def rows(self) -> Ids:
        """Nearest first."""
        return np.take_along_axis(self._rows, np.argsort(self._far, axis=1, kind="stable"), axis=1)

    def among(self, queries: Floats, rows: Floats, start: int) -> None:
        distances, found = faiss.knn(queries, rows, min(self._k, len(rows)), metric=self._kind)
        far = np.concatenate([self._far, self._sign * distances], axis=1)
        numbers = np.concatenate([self._rows, start + found], axis=1)
        if far.shape[1] > self._k:
            near = np.argpartition(far, self._k - 1, axis=1)[:, : self._k]
            far, numbers = (np.take_along_axis(each, near, axis=1) for each in (far, numbers))
        self._far, self._rows = far, numbers


def _without(rows: Ids, themselves: Ids) -> Ids:
    """All but one of the rows of each query: itself, or where it is not there the last."""
    keep = rows != themselves[:, None]
    keep[keep.all(axis=1), -1] = False
    others: Ids = rows[keep].reshape(len(rows), -1)
    return others


def _pair(own: Ids, between: Ids, hits: int) -> Pair:
    """Candidates that hold next to all of so many hits, of either kind of query."""
    most = max(
        _deepest(_of_first(each) if hits == 1 else each[:, :hits]) for each in (own, between)
    )
    return Pair(hits, most + 1 + math.ceil((most + 1 - hits) / 4))


def _deepest(places: Ids) -> int:
    """The place that no more than the lost ones are behind."""
    ordered = np.sort(places, axis=None)
    return int(ordered[len(ordered) - 1 - int(LOST * len(ordered))])


def _of_first(places: Ids) -> Ids:
    """Each of the ten nearest taken for the first: its place among those that are not nearer."""
    first = places[:, :10]
    nearer = np.tril(first[:, None, :] < first[:, :, None], -1).sum(axis=2)
    found: Ids = first - nearer
    return found
