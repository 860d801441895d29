"""Making the codes of a segment, where they pay: a sample says how many candidates it takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from milvine.index.base import BuildJob
from milvine.index.codes.bounds import proven
from milvine.index.codes.image import (
    KINDS_OF_K,
    Coded,
    empty_index,
    write_codes,
    write_no_codes,
)
from milvine.index.codes.quantizer import Codes, Learnt, learn, pays, pieces, sample_bytes
from milvine.index.exact import search_exact
from milvine.index.native import search_index
from milvine.types import Floats, Ids, MetricType

_QUERIES = 200
_ALMOST_ALL = 0.98
_NEEDED_LEAST = 16
_NEEDED_MOST = 20
"""Candidates a hit, of ten: beyond, rows are compared as soon."""
_TRIED = 1024


def build_codes(job: BuildJob) -> None:
    """Write the codes of a segment (`image`), or that there are none."""
    vectors = job.vectors
    rows, dimension = vectors.shape
    if not job.codes or not pays(dimension):
        return write_no_codes(job.write, rows, dimension)
    job.report("training", 0)
    learnt = learn(vectors)
    if learnt is None or (coded := _measured(job, learnt)) is None:
        return write_no_codes(job.write, rows, dimension)
    write_codes(job.write, coded, job.metric, rows, encoded(job, learnt))


def encoded(job: BuildJob, learnt: Learnt) -> Iterator[Codes]:
    """The codes of all rows, a piece at a time."""
    for start, some in pieces(job.vectors):
        job.report("writing", start)
        yield learnt.quantizer.encode(_finite(some, learnt.nonfinite, start))[0]


def _finite(some: Floats, nonfinite: Ids, start: int) -> Floats:
    """Rows from number `start` on, those with NaN or infinity as zeros."""
    first, last = np.searchsorted(nonfinite, (start, start + len(some)))
    if first == last:
        return some
    some = some.copy()
    some[nonfinite[first:last] - start] = 0
    return some


def _measured(job: BuildJob, learnt: Learnt) -> Coded | None:
    """What is to be known of the codes; None where they would not pay."""
    vectors = job.vectors
    job.report("measuring", 0)
    coded = lengths(vectors, learnt)
    sample = _sample(vectors, learnt, sample_bytes(job.memory))
    needed = _needed(sample, len(vectors) / len(sample), coded, job.metric)
    return None if needed is None else replace(coded, needed=needed)


def lengths(vectors: Floats, learnt: Learnt) -> Coded:
    """What proofs need to know of the codes of these rows; no candidates are known yet."""
    residual = code_length = row_length = 0.0
    apart = np.union1d(learnt.outside, learnt.nonfinite)
    for start, some in pieces(vectors):
        first, last = np.searchsorted(apart, (start, start + len(some)))
        inside = np.delete(some, apart[first:last] - start, axis=0) if first < last else some
        codes, left = learnt.quantizer.encode(inside)
        if len(codes):
            squares = np.einsum("ij,ij->i", codes, codes, dtype=np.float64)
            wide = inside.astype(np.float64)
            residual = max(residual, float(left.max()))
            code_length = max(code_length, float(np.sqrt(squares.max())))
            row_length = max(row_length, float(np.sqrt(np.einsum("ij,ij->i", wide, wide).max())))
    return Coded(learnt.quantizer, learnt.outside, residual, code_length, row_length, (0, 0, 0))


def _sample(vectors: Floats, learnt: Learnt, size: int) -> Floats:
    """Rows at equal distances that the grid holds."""
    dimension = vectors.shape[1]
    most = max(_QUERIES, size // (4 * dimension))
    rows = np.arange(0, len(vectors), -(-len(vectors) // most))
    apart = np.union1d(learnt.outside, learnt.nonfinite)
    sample: Floats = vectors[np.setdiff1d(rows, apart, assume_unique=True)]
    return sample


def _needed(
    sample: Floats, times: float, coded: Coded, metric: MetricType
) -> tuple[int, int, int] | None:
    """Candidates for 1, 10 and 100 hits in `times` as many rows as the sample; None where they
    would be too many.
    """
    codes, _ = coded.quantizer.encode(sample)
    index = empty_index(codes.shape[1], metric)
    index.add(codes.astype(np.float32))
    queries = np.ascontiguousarray(sample[:: max(1, len(sample) // _QUERIES)][:_QUERIES])
    points = coded.quantizer.encode_queries(queries, metric)
    tried = min(_TRIED, len(sample))
    scores, _ = search_index(index, points.points, tried, None)
    truth, _ = search_exact(queries, sample, metric, min(KINDS_OF_K[-1], len(sample)))
    found = []
    for k in KINDS_OF_K:
        last = truth[:, min(k, truth.shape[1]) - 1].tolist()
        enough = np.full(len(queries), tried + 1)
        for width in _widths(tried):
            sure = proven(queries, coded, points, metric, scores[:, width - 1].tolist(), last)
            enough = np.where(sure, np.minimum(enough, width), enough)
        least = float(np.quantile(enough, _ALMOST_ALL))
        if least > tried or (k == 10 and least > _NEEDED_MOST * k):
            return None
        found.append(max(round(k + (least - k) * times), k) + _NEEDED_LEAST)
    return found[0], found[1], found[2]


def _widths(most: int) -> list[int]:
    """Numbers of candidates, each an eighth more than the one before."""
    widths = {min(most, round(8 * 1.125**step)) for step in range(60)}
    return sorted(widths)
