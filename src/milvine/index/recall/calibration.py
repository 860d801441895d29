"""Measuring an index: rows of its own are searched for as if they were not there, at ever larger
values of its search parameter, and what is found is compared with what there is.

A row of the index is not like a query that comes later: a graph leads from a row to its neighbours,
and whoever has found the row has them all. So the links to the rows of the sample are hidden, in a
copy of the image, and neither side finds them. Rows in lists need no such care: their list is that
which any query at their place looks at.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from milvine.index.base import BuildJob, Kernel, OpenIndex
from milvine.index.binary import search_bits
from milvine.index.exact import search_exact
from milvine.index.flat import vectors_of
from milvine.index.recall.table import ENOUGH, Curve, RecallTable
from milvine.index.score import exact_distances
from milvine.index.spec import Breadth
from milvine.types import Bytes, Floats, Ids, MetricType, RecallPoint, RowMask, Vectors

STAGE = "calibrating"
HITS = (1, 10, 100)
"""Numbers of hits that are measured, in this order: what one leaves of its time, the next has."""

_SAMPLES_LEAST, _SAMPLES_MOST = 100, 300
_SAMPLES_FEWEST = 50
"""Fewer say too little."""
_PRODUCTS = 40_000_000_000
"""Multiply-adds of all exact answers together, about: a few seconds of one core."""
_ROWS_PER_SAMPLE = 32
"""Of so many rows one is hidden at most, or the graph would be another."""
_MANY, _MANY_STEP = 100, 3
_ROWS_PER_HIT = 8
_AGREES = 0.998
_SHARE, _SECONDS_LEAST = 0.05, 3.0
"""What searches may take, of the time of the build or in any case: larger values are left out. Of
processors, for on a busy machine the time of a clock would say little.
"""
_CLOCK_SHARE = 0.25
"""So much of a clock's time counts in any case: a search that waits for a disk takes none of a
processor.
"""


@dataclass(frozen=True, slots=True)
class Built:
    """An index that was built just now.

    Attributes:
        job, kernel: what it was built of, and by.
        data: its image, which is changed: a copy that is nobody else's.
        flat: the segment's vectors as `milvine.index.flat` describes, to read a row here and there.
        seconds: that the build took of processors.
    """

    job: BuildJob
    kernel: Kernel
    data: Bytes
    flat: Bytes
    seconds: float


class _Sample(NamedTuple):
    """Rows by number, those that are searched for, (n, width), and what a search of all `others`
    must find: distances (n, most hits). `vectors`: all rows, to read some of.
    """

    rows: Ids
    queries: Vectors
    distances: Floats
    others: RowMask
    vectors: Vectors

    def enough_for(self, k: int) -> _Sample:
        """All for few hits; a third for many, which say more a query and take longer."""
        step = max(1, min(_MANY_STEP, len(self.rows) // _SAMPLES_LEAST)) if k >= _MANY else 1
        some = slice(None, None, step)
        queries = np.ascontiguousarray(self.queries[some])
        return _Sample(self.rows, queries, self.distances[some], self.others, self.vectors)


class _Spent:
    """Seconds since it was made: of processors, or a part of the clock's where that is more."""

    def __init__(self) -> None:
        self._processors, self._clock = time.process_time(), time.monotonic()

    def __call__(self) -> float:
        clock = _CLOCK_SHARE * (time.monotonic() - self._clock)
        return max(time.process_time() - self._processors, clock)


def calibrate(built: Built, breadth: Breadth) -> RecallTable | None:
    """Measure it; None where there are too few rows to learn anything from.

    Raises:
        Whatever opening and searching the index raises.
    """
    job = built.job
    live = len(job.vectors) if job.live is None else job.live.live
    hits = [k for k in HITS if k * _ROWS_PER_HIT <= live]
    rows = _sampled(job)
    if len(rows) < _SAMPLES_FEWEST or not hits:
        return None
    job.report(STAGE, 0)
    sample = _answered(built, rows, max(hits))
    breadth.hide(built.data, len(job.vectors), rows)
    index = built.kernel.open(built.data, built.flat, job.metric)
    spent, most = _Spent(), max(_SHARE * built.seconds, _SECONDS_LEAST)
    ends = [most * number / len(hits) for number in range(1, len(hits) + 1)]
    curves = [
        Curve(k, tuple(_points(job, index, breadth, sample.enough_for(k), k, spent, until)))
        for k, until in zip(hits, ends, strict=True)
    ]
    measured = [each for each in curves if each.points]
    if not measured:
        return None
    return RecallTable(breadth.key, breadth.beside, live, len(rows), tuple(measured))


def _sampled(job: BuildJob) -> Ids:
    """Live rows without NaN or infinity, ascending, drawn alike each time."""
    vectors, live = job.vectors, job.live
    rows = np.arange(len(vectors)) if live is None else np.flatnonzero(live.to_bool())
    wide = vectors.shape[1] * (8 if job.metric.is_binary else 1)
    count = max(_SAMPLES_LEAST, _PRODUCTS // max(len(rows) * wide, 1))
    count = min(count, _SAMPLES_MOST, len(rows) // _ROWS_PER_SAMPLE)
    chosen = np.sort(np.random.default_rng(0).choice(rows, count, replace=False))
    finite: Ids = chosen[np.isfinite(vectors[chosen]).all(axis=1)]
    return finite


def _answered(built: Built, rows: Ids, hits: int) -> _Sample:
    job = built.job
    kept = np.ones(len(job.vectors), bool) if job.live is None else job.live.to_bool()
    kept[rows] = False
    others = RowMask.from_bool(kept)
    queries = np.ascontiguousarray(job.vectors[rows])
    asked = queries, job.vectors, job.metric, hits, others, job.threads
    if job.metric.is_binary:
        return _Sample(rows, queries, search_bits(*asked)[0], others, job.vectors)
    looked = vectors_of(built.flat)
    return _Sample(rows, queries, search_exact(*asked, looked)[0], others, looked)


def _points(
    job: BuildJob,
    index: OpenIndex,
    breadth: Breadth,
    sample: _Sample,
    k: int,
    spent: _Spent,
    until: float,
) -> Iterator[RecallPoint]:
    """Recall at ever larger values, until it is about 1, grows no more, or the time is over."""
    first, last, before = 1.0, -1.0, spent()
    for value in _values(breadth, k):
        # Twice the value takes up to twice the time.
        now = spent()
        if now + 2 * (now - before) > until:
            return
        before, began = now, time.process_time()
        job.report(STAGE, 0)
        params = {**breadth.beside, breadth.key: value}
        found = index.search(sample.queries, k, params, sample.others, job.threads)
        took = time.process_time() - began
        shares = _shares(job, sample, k, *found)
        if shares.mean() >= ENOUGH and not _finds_all(job, index, sample, k, params):
            return
        recall, error = float(shares.mean()), float(shares.std() / len(shares) ** 0.5)
        seconds = took / len(shares)
        yield RecallPoint(value, round(recall, 5), round(error, 5), round(seconds, 8))
        first = min(first, recall)
        if recall >= ENOUGH or first < recall == last:
            return
        last = recall


def _finds_all(
    job: BuildJob, index: OpenIndex, sample: _Sample, k: int, params: Mapping[str, int]
) -> bool:
    """Whether a search finds all with the sample among the rows, too: where some are left out, an
    index that would read all the rest by their codes may compare the vectors instead.
    """
    distances, rows = index.search(sample.queries, k + 1, params, job.live, job.threads)
    ours = ~np.isin(rows, sample.rows) & (rows >= 0)
    near = (_near(job, sample, k, distances, rows) & ours).sum(axis=1)
    return bool(near.sum() >= _AGREES * np.minimum(ours.sum(axis=1), k).sum())


def _values(breadth: Breadth, k: int) -> Iterator[int]:
    """Each twice the one before, up to the last that may be."""
    value = max(breadth.least, breadth.per_hit * k)
    while value < breadth.most:
        yield value
        value *= 2
    yield breadth.most


def _shares(
    job: BuildJob, sample: _Sample, k: int, distances: Floats, rows: Ids
) -> NDArray[np.float64]:
    """Of the k nearest, the share that was found for each query, (n,)."""
    near = _near(job, sample, k, distances, rows) & (rows >= 0)
    shares: NDArray[np.float64] = near.sum(axis=1) / k
    return shares


def _near(
    job: BuildJob, sample: _Sample, k: int, distances: Floats, rows: Ids
) -> NDArray[np.bool_]:
    """Which hits are as near as the k-th nearest, shape of `rows`: any is one of the k, since rows
    at one distance stand for each other. Codes tell distances of their own, so they are computed
    anew.
    """
    farthest = sample.distances[:, k - 1 : k]
    if not job.metric.is_binary:
        distances = exact_distances(sample.queries, sample.vectors, rows, job.metric)
    near: NDArray[np.bool_]
    near = distances >= farthest if job.metric is MetricType.IP else distances <= farthest
    return near
