"""Merging partial hits: equal to sorting everything by distance, then id."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from milvine.index.score import FEW
from milvine.limits import FILLER_DISTANCE, FILLER_ID
from milvine.types import Hits, MetricType


def reduce(partials: Sequence[Hits], nq: int, width: int, metric: MetricType) -> Hits:
    """The `width` nearest of all partial hits per query, fillers last (specification 3.13)."""
    only = partials[0] if len(partials) == 1 and _none_alike(partials[0]) else None
    if only is not None and only.ids.shape[1] == width:
        return only
    out = fillers(nq, width)
    if not partials:
        return out
    if only is not None:
        keep = min(width, only.ids.shape[1])
        out.ids[:, :keep] = only.ids[:, :keep]
        out.distances[:, :keep] = only.distances[:, :keep]
        return out
    ids = (
        np.concatenate([part.ids for part in partials], axis=1)
        if len(partials) > 1
        else partials[0].ids
    )
    parts = [part.distances for part in partials]
    distances = np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]
    key = -distances if metric.larger_is_closer else distances
    missing = ids == FILLER_ID
    if missing.any():  # a stored row may carry id -1: kernels say missing by the distance as well
        # NaN sorts after +infinity.
        key = np.where(missing & (distances == np.float32(FILLER_DISTANCE)), np.nan, key)
    order = _order(key, ids, width)
    keep = order.shape[1]
    out.ids[:, :keep] = np.take_along_axis(ids, order, axis=1)
    out.distances[:, :keep] = np.take_along_axis(distances, order, axis=1)
    return out


def fillers(nq: int, width: int) -> Hits:
    """Hits that are all missing."""
    return Hits(
        np.full((nq, width), FILLER_ID, np.int64), np.full((nq, width), FILLER_DISTANCE, np.float32)
    )


def _none_alike(part: Hits) -> bool:
    """Whether no two hits of a query are at one distance. A kernel returns the nearest first, and
    only those at one distance would change places by their ids.
    """
    distances = part.distances
    if len(distances) == 1 and distances.size <= FEW:  # numpy takes longer to begin
        numbers = distances[0].tolist()
        return len(set(numbers)) == len(numbers)
    return bool((distances[:, 1:] != distances[:, :-1]).all())


def _order(key: np.ndarray, ids: np.ndarray, width: int) -> np.ndarray:
    """Column numbers of the `width` smallest keys per row, ties by id."""
    # Narrow first; ties with the last one kept are all kept, and fillers (NaN).
    if key.shape[1] > 4 * width:
        bound = np.partition(key, width - 1, axis=1)[:, width - 1 : width]
        columns = int(np.count_nonzero(~(key > bound), axis=1).max())
        near = np.argsort(key, axis=1, kind="stable")[:, :columns]
        order = np.lexsort(
            (np.take_along_axis(ids, near, 1), np.take_along_axis(key, near, 1)), axis=1
        )
        return np.take_along_axis(near, order[:, :width], axis=1)
    return np.lexsort((ids, key), axis=1)[:, :width]
