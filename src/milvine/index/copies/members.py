"""Hits that stand for groups of rows, and what a search makes of them: the nearest rows of those
groups.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from milvine.index.copies.duplicates import Groups
from milvine.index.image import Image
from milvine.index.refine import CANDIDATES_MAX
from milvine.index.score import Found, exact_distances, nearest_of, nothing, ordered
from milvine.types import Floats, Ids, MetricType, RowMask

COMPARED_MAX = 1024
"""Rows of one group that are compared with a query, at least the wanted hits: they differ by
roundings.

Of equal rows as many as are wanted are enough, as they are all at one distance.
"""


class Living(NamedTuple):
    """What an index holds that is live.

    Attributes:
        mask: of its nodes, as its library numbers them; None where all stand for a live row.
        nodes: how many do.
        groups: with their live rows only; None where each node stands for itself.
        beside: rows that the library knows nothing of, and that every query is compared with; None
            for none.
    """

    mask: RowMask | None
    nodes: int
    groups: Groups | None = None
    beside: Ids | None = None

    def answer(
        self, queries: Floats, vectors: Floats, metric: MetricType, k: int, found: Found
    ) -> Found:
        """The k nearest live rows, from the nodes that a search `found`: exact distances, (nq, k),
        nearest first.

        Args:
            queries: float32 (nq, dimension), C-contiguous.
            vectors: float32 (rows, dimension) of the segment, C-contiguous.
        """
        if self.beside is not None:
            found = _with(self.beside, queries, vectors, metric, k, found)
        return (
            found
            if self.groups is None
            else expanded(queries, vectors, metric, k, found, self.groups)
        )


class Nodes:
    """The rows that an open index holds, and what they stand for. Thread-safe.

    Attributes:
        count: how many nodes.
        whole: what is live where all rows of the segment are.
    """

    def __init__(self, image: Image) -> None:
        self._row_map, self._groups, self._beside = image.row_map, image.groups, image.beside
        self._as_they_are = image.row_map is None and image.groups is None and image.beside is None
        self.whole = Living(None, image.indexed, image.groups, image.beside)
        self._last: tuple[RowMask | None, Living] = (None, self.whole)
        self.count = image.indexed

    def living(self, mask: RowMask | None) -> Living:
        """Under a mask of the segment's rows. What takes time to find is kept for the mask of last
        time.
        """
        if mask is None:
            return self.whole
        last = self._last
        if last[0] is not mask:
            last = self._last = (mask, self._found(mask))
        return last[1]

    def rows_of(self, nodes: Ids) -> Ids:
        """The segment's row of each node, of any shape; -1 for -1."""
        return (
            nodes
            if self._row_map is None
            else np.where(nodes < 0, -1, self._row_map[np.maximum(nodes, 0)])
        )

    def _found(self, mask: RowMask) -> Living:
        if not mask.dead:
            return self.whole
        if self._as_they_are:
            return Living(mask, mask.live)
        live, groups, count = mask.to_bool(), self._groups, mask.live
        if groups is not None:
            alive = live[groups.members]
            counts = np.add.reduceat(alive, groups.starts[:-1], dtype=np.int64)
            live[groups.heads] = counts > 0
            count += int(np.count_nonzero(counts) - counts.sum())
            groups = groups._replace(
                starts=np.append(0, np.cumsum(counts)), members=groups.members[alive]
            )
        beside = None if self._beside is None else self._beside[live[self._beside]]
        return Living(
            RowMask.from_bool(live if self._row_map is None else live[self._row_map]),
            count,
            groups,
            beside,
        )


def _with(
    beside: Ids, queries: Floats, vectors: Floats, metric: MetricType, k: int, found: Found
) -> Found:
    """The k nearest of some rows and of what a search found."""
    each = np.broadcast_to(beside, (len(queries), len(beside)))
    near = exact_distances(queries, vectors, each, metric)
    if len(queries) == 1 and found[1][0, -1] >= 0:  # mostly, all of them are too far away
        last = found[0][0, -1]
        closer = near[0] >= last if metric.larger_is_closer else near[0] <= last
        if 1 not in closer.tobytes():
            return found
    return ordered(np.column_stack([found[0], near]), np.column_stack([found[1], each]), metric, k)


def expanded(
    queries: Floats, vectors: Floats, metric: MetricType, k: int, heads: Found, groups: Groups
) -> Found:
    """The k nearest of the rows that some hits stand for: themselves, or the rows of a group.

    Args:
        queries: float32 (nq, dimension), C-contiguous.
        vectors: float32 (rows, dimension) of the segment, C-contiguous.
        heads: exact distances and row numbers, (nq, k), nearest first; -1 for none.
        groups: those of live rows.
    """
    distances, rows = heads
    places = np.minimum(np.searchsorted(groups.heads, rows), len(groups.heads) - 1)
    stands = groups.heads[places] == rows
    touched = np.flatnonzero(stands.any(axis=1))
    if not len(touched):
        return heads
    places = np.where(stands, places, -1)
    counts = _counts(rows, places, groups, k)
    counts[_beyond(queries, distances, groups.radii[places] * stands, counts, metric, k)] = 0
    start = 0
    while start < len(touched):
        some = touched[start : start + _portion(counts[touched[start:]])]
        candidates = _rows_of(rows[some], places[some], counts[some], groups)
        distances[some], rows[some] = nearest_of(
            np.ascontiguousarray(queries[some]), vectors, candidates, metric, rows.shape[1]
        )
        start += len(some)
    return distances, rows


def _counts(rows: Ids, places: Ids, groups: Groups, k: int) -> Ids:
    """How many rows to compare for each hit, the shape of `rows`: one where it stands for itself,
    none for none.
    """
    most = np.where(groups.radii > 0, max(k, COMPARED_MAX), k)
    sizes = np.minimum(np.diff(groups.starts), most)
    return np.where(places >= 0, sizes[places], rows >= 0)


def _beyond(
    queries: Floats, distances: Floats, radii: NDArray[Any], counts: Ids, metric: MetricType, k: int
) -> NDArray[np.bool_]:
    """Hits none of whose rows can be among the k nearest, since nearer ones stand for that many."""
    if metric.larger_is_closer:
        key = -distances.astype(np.float64)
        radii = radii * np.linalg.norm(queries.astype(np.float64), axis=1)[:, None]
    else:
        key = np.sqrt(distances, dtype=np.float64)
    enough = np.cumsum(counts, axis=1) >= k
    last = np.argmax(enough, axis=1)[:, None]
    reach = np.take_along_axis(np.maximum.accumulate(key + radii, axis=1), last, axis=1)
    beyond: NDArray[np.bool_] = (key - radii > reach) & np.asarray(enough.any(axis=1))[:, None]
    return beyond


def _portion(counts: Ids) -> int:
    """How many queries have no more rows to compare than may be compared in one go."""
    width = np.maximum.accumulate(counts.sum(axis=1)) * np.arange(1, len(counts) + 1)
    return max(1, int(np.searchsorted(width, CANDIDATES_MAX, side="right")))


def _rows_of(rows: Ids, places: Ids, counts: Ids, groups: Groups) -> Ids:
    """The first `counts` rows of each hit's group, or its own: int64 (nq, most of a query), -1
    behind them.
    """
    each = counts.ravel()
    begins = np.cumsum(each) - each
    within = np.arange(each.sum()) - np.repeat(begins, each)
    place = np.repeat(places.ravel(), each)
    taken, grouped = np.repeat(rows.ravel(), each), place >= 0
    taken[grouped] = groups.members[groups.starts[place[grouped]] + within[grouped]]
    totals = counts.sum(axis=1)
    _, out = nothing(len(rows), max(int(totals.max()), rows.shape[1]))
    query = np.repeat(np.arange(len(rows)), totals)
    out[query, np.arange(len(taken)) - np.repeat(np.cumsum(totals) - totals, totals)] = taken
    return out
