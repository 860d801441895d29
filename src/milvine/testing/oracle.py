"""Nearest neighbours by plain float64 arithmetic: what every kernel is held against."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from milvine.types import Bytes, Floats, Ids, MetricType


def pair_distances(queries: Floats, vectors: Floats, metric: MetricType) -> NDArray[np.float64]:
    """float64 (nq, rows): squared L2 or inner product of every pair; computed from differences, a
    query at a time.
    """
    wide = vectors.astype(np.float64)
    if metric is MetricType.IP:
        return np.asarray(queries.astype(np.float64) @ wide.T)
    return np.array([((wide - query) ** 2).sum(axis=1) for query in queries.astype(np.float64)])


def pair_bits(queries: Bytes, rows: Bytes, metric: MetricType) -> NDArray[np.float64]:
    """float64 (nq, rows): distance of every pair of uint8 vectors by a binary metric; NaN where it
    is no hit.
    """
    a, b = (np.unpackbits(part, axis=1).astype(np.float64) for part in (queries, rows))
    shared, in_a, in_b = a @ b.T, a.sum(axis=1)[:, None], b.sum(axis=1)
    either = in_a + in_b - shared
    if metric is MetricType.HAMMING:
        return np.asarray(either - shared)
    if metric in (MetricType.SUBSTRUCTURE, MetricType.SUPERSTRUCTURE):
        hit = shared == (in_a if metric is MetricType.SUBSTRUCTURE else in_b)
        return np.asarray(np.where(hit, 0.0, np.nan))
    similar = np.divide(shared, either, out=np.ones_like(shared), where=either > 0)
    if metric is MetricType.JACCARD:
        return np.asarray(1 - similar)
    with np.errstate(divide="ignore"):
        return np.asarray(np.abs(np.log2(similar)))


def nearest(
    queries: Floats,
    vectors: Floats,
    metric: MetricType,
    k: int,
    live: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.float64], Ids]:
    """The k nearest live finite rows, (nq, min(k, live rows)), nearest first, ties by row
    number.
    """
    eligible = np.isfinite(vectors).all(axis=1) & (True if live is None else live)
    rows = np.flatnonzero(eligible)
    distances = pair_distances(queries, vectors[rows], metric)
    key = -distances if metric.larger_is_closer else distances
    order = np.argsort(key, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, order, axis=1), rows[order]


def recall(
    found: Ids, distances: NDArray[np.float64], truth: NDArray[np.float64], metric: MetricType
) -> float:
    """Share of the k nearest that were found.

    Args:
        found: row numbers (nq, >= k), -1 where there was none.
        distances: of every pair, (nq, rows).
        truth: distances of the k nearest, (nq, k). A row as near as the k-th counts as one of them.
    """
    k, hits = truth.shape[1], 0
    for i in range(len(found)):
        rows = np.unique(found[i, :k][found[i, :k] >= 0])
        slack = 1e-6 * max(1.0, abs(float(truth[i, -1])))
        near = distances[i, rows] - truth[i, -1]
        hits += int(np.count_nonzero(near >= -slack if metric.larger_is_closer else near <= slack))
    return float(hits / (k * len(found)))
