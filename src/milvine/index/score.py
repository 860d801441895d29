"""Exact distances of found rows, and their order.

Every kernel whose distances are exact has them computed here, by one function and one pair at a
time, but where `agreement` has shown that faiss's search reports the same: so the same pair has the
same distance, to the last bit, whichever kernel or batch size found it, and identical vectors have
exactly 0.0.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import TypeAlias

import numpy as np

from milvine.index.native import compiled, pointer
from milvine.limits import FILLER_DISTANCE
from milvine.types import Floats, Ids, MetricType

_IP = MetricType.IP  # Python 3.11 is slow to find a member by its class
FEW = 64
"""Hits that are looked at one by one in less time than numpy takes to begin."""

_SORTED = 256

Found: TypeAlias = "tuple[Floats, Ids]"
"""Distances and row numbers, both (nq, k), nearest first; a missing hit is row -1 with
FILLER_DISTANCE.
"""


def nothing(nq: int, k: int) -> Found:
    """No hit for any query."""
    return np.full((nq, k), FILLER_DISTANCE, dtype=np.float32), np.full((nq, k), -1, dtype=np.int64)


def exact_distances(queries: Floats, vectors: Floats, rows: Ids, metric: MetricType) -> Floats:
    """Distance of each query to each of its rows, shape of `rows` (nq, width); not finite where the
    row is -1.
    """
    rows = np.ascontiguousarray(rows)
    nq, width = rows.shape
    distances = np.empty((nq, width), dtype=np.float32)
    by_row = compiled.fvec_inner_products_by_idx if metric is _IP else compiled.fvec_L2sqr_by_idx
    by_row(
        pointer(distances),
        pointer(queries),
        pointer(vectors),
        pointer(rows),
        queries.shape[1],
        nq,
        width,
    )
    return distances


def ordered(distances: Floats, rows: Ids, metric: MetricType, k: int) -> Found:
    """The k nearest of (nq, width) hits, equal distances by row number. Distances that are not
    finite are no hits.
    """
    width = rows.shape[1]
    if width == k and settled(distances, rows, metric):
        return distances, rows
    if width > k and (found := _front(distances, rows, metric, k)) is not None:
        return found
    return _sorted(distances, rows, metric, k)


def _sorted(distances: Floats, rows: Ids, metric: MetricType, k: int) -> Found:
    nq, width = rows.shape
    hit = np.isfinite(distances) & (rows >= 0)
    key = np.where(hit, -distances if metric is _IP else distances, np.inf)
    rows = np.where(hit, rows, -1)
    nearest = np.lexsort((rows, key), axis=-1)[:, :k]
    rows = np.take_along_axis(rows, nearest, axis=1)
    distances = np.take_along_axis(distances, nearest, axis=1)
    distances[rows < 0] = FILLER_DISTANCE
    if width >= k:
        return distances, rows
    wide_distances, wide_rows = nothing(nq, k)
    wide_distances[:, :width], wide_rows[:, :width] = distances, rows
    return wide_distances, wide_rows


def _front(distances: Floats, rows: Ids, metric: MetricType, k: int) -> Found | None:
    """The k nearest of more hits than that, where no two of them nor the next one are alike: then
    row numbers order nothing. None where they may.

    Queries of many whose hits are alike are ordered by themselves.
    """
    if len(rows) == 1:
        return _front_of_one(distances[0], rows[0], metric, k)
    keys = -distances if metric is _IP else distances
    places = np.argpartition(keys, k, axis=1)[:, : k + 1]
    places = np.take_along_axis(
        places, np.take_along_axis(keys, places, axis=1).argsort(axis=1), axis=1
    )
    some, near = np.take_along_axis(keys, places, axis=1), np.take_along_axis(rows, places, axis=1)
    sure = (some[:, 1:] > some[:, :-1]).all(axis=1) & np.isfinite(some[:, 0]) & (near >= 0).all(1)
    alike = np.flatnonzero(~sure)
    if 2 * len(alike) > len(rows):
        return None
    out = np.take_along_axis(distances, places[:, :k], axis=1), near[:, :k].copy()
    if len(alike):
        out[0][alike], out[1][alike] = _sorted(distances[alike], rows[alike], metric, k)
    return out


def _front_of_one(distances: Floats, rows: Ids, metric: MetricType, k: int) -> Found | None:
    """The same for the hits of one query, (width,)."""
    keys = -distances if metric is _IP else distances
    if len(keys) < max(_SORTED, 4 * k):
        places = keys.argsort()
    else:
        some = keys.argpartition(k)[: k + 1]
        places = some[keys[some].argsort()]
    near, found = distances[places[: k + 1]][None], rows[places[:k]][None]
    if k < FEW:
        sure = rises(near[0].tolist(), metric is _IP) and min(found[0].tolist()) >= 0
    else:
        sure = found.min() >= 0 and settled(near, places[None], metric)
    return (near[:, :k], found) if sure else None


def rises(distances: list[float], falling: bool) -> bool:
    """Whether the distances of one query are all finite, and each farther than the one before.

    `falling`: farther is smaller. A list, since numpy takes longer to begin than a few numbers do.
    """
    if not isfinite(sum(distances)) or len(set(distances)) < len(distances):
        return False
    return distances == sorted(distances, reverse=falling)


def settled(distances: Floats, rows: Ids, metric: MetricType) -> bool:
    """All are hits, nearest first and no two alike, as a scan of few queries leaves them: nothing
    is left to order.
    """
    if len(rows) == 1 and rows.size <= FEW:
        found = min(rows[0].tolist(), default=0) >= 0
        return found and rises(distances[0].tolist(), metric is _IP)
    if rows.min(initial=0) < 0:
        return False
    before, after = distances[:, :-1], distances[:, 1:]
    rising = after < before if metric is _IP else after > before
    # Where all rise, NaN is nowhere, and infinity could only be first or last.
    return bool(rising.all() and np.isfinite(distances[:, :: max(1, distances.shape[1] - 1)]).all())


def nearest_of(queries: Floats, vectors: Floats, rows: Ids, metric: MetricType, k: int) -> Found:
    """The k nearest of the candidate `rows` (nq, width; -1 is none), by exact distance."""
    return ordered(exact_distances(queries, vectors, rows, metric), rows, metric, k)


def all_finite(queries: Floats) -> bool:
    """Whether no query has NaN or infinity."""
    finite = np.isfinite(queries)
    if len(queries) == 1:  # numpy takes longer
        return 0 not in finite.tobytes()
    return bool(finite.all())


def in_portions(queries: Floats, k: int, portion: int, find: Callable[[Floats], Found]) -> Found:
    """What `find` says of queries, at most `portion` at a time, so that what it holds for them
    takes bounded memory.
    """
    if len(queries) <= portion:
        return find(queries)
    distances, rows = nothing(len(queries), k)
    for start in range(0, len(queries), portion):
        part = slice(start, start + portion)
        distances[part], rows[part] = find(queries[part])
    return distances, rows


def for_finite(queries: Floats, k: int, find: Callable[[Floats], Found]) -> Found:
    """What `find` says of the queries without NaN and infinity; the others find nothing."""
    if all_finite(queries):
        return find(queries)
    finite = np.isfinite(queries).all(axis=1)
    distances, rows = nothing(len(queries), k)
    if finite.any():
        distances[finite], rows[finite] = find(queries[finite])
    return distances, rows
