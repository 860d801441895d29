"""Which rows of a segment an index is built over."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from milvine.index.alike import Groups, alike
from milvine.index.hubs import hubs
from milvine.index.native import squared_norms
from milvine.types import Floats, Ids, MetricType, RowMask


class Chosen(NamedTuple):
    """For a graph: the rows that it links and those beside it, both ascending; groups that rows of either stand for.

    No row that is not live or that has NaN or infinity is in any of them.
    """

    linked: Ids
    beside: Ids
    groups: Groups

    @classmethod
    def of(cls, vectors: Floats, metric: MetricType, live: RowMask | None = None) -> Chosen:
        nodes, groups = distinct(vectors, live)
        if metric is not MetricType.L2 or not len(nodes):
            return cls(nodes, nodes[:0], groups)
        beside = hubs(vectors, nodes)
        return cls(np.setdiff1d(nodes, beside, assume_unique=True) if len(beside) else nodes, beside, groups)


def distinct(vectors: Floats, live: RowMask | None = None) -> tuple[Ids, Groups]:
    """Ascending rows, no two of which are equal or nearly so, and the groups that some of them stand for."""
    sound = sound_rows(vectors, live)
    groups = alike(vectors, sound)
    return groups.without_followers(sound), groups


def sound_rows(vectors: Floats, live: RowMask | None = None) -> Ids:
    """The live rows whose distances are numbers, ascending."""
    sound = np.isfinite(squared_norms(vectors))
    return np.flatnonzero(sound if live is None else sound & live.to_bool())
