"""Which rows of a segment an index is built over."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from milvine.index.copies.duplicates import Groups, alike
from milvine.index.graphs.hubs import HUBS_MAX, hubs
from milvine.index.native import squared_norms
from milvine.types import Floats, Ids, MetricType, RowMask

LARGE_SHARE = 1 / 512
"""Groups of this part of the rows are beside a graph: walks miss a node now and then, and it must
be none of these.
"""

_MOST = float(np.finfo(np.float32).max)
LONGEST = _MOST / 8
"""Squared. Distances between rows no longer than this fit into float32, and so do those to their
means.
"""


class Chosen(NamedTuple):
    """For a graph: the rows that it links and those beside it, both ascending; groups that rows of
    either stand for.

    No row that is not live or that has NaN or infinity is in any of them.
    """

    linked: Ids
    beside: Ids
    groups: Groups

    @classmethod
    def of(cls, vectors: Floats, metric: MetricType, live: RowMask | None = None) -> Chosen:
        nodes, groups = distinct(vectors, live)
        beside = groups.largest(LARGE_SHARE * len(vectors), HUBS_MAX)
        if metric is MetricType.L2 and len(nodes):
            beside = np.union1d(beside, hubs(vectors, nodes))
        if len(beside) == len(nodes):
            beside = beside[1:]  # something has to be in the graph
        return cls(
            np.setdiff1d(nodes, beside, assume_unique=True) if len(beside) else nodes,
            beside,
            groups,
        )


def distinct(
    vectors: Floats, live: RowMask | None = None, longest: float = _MOST
) -> tuple[Ids, Groups]:
    """Ascending rows, no two of which are equal or nearly so, and the groups that some of them
    stand for.
    """
    sound = sound_rows(vectors, live, longest)
    groups = alike(vectors, sound)
    return groups.without_followers(sound), groups


def sound_rows(vectors: Floats, live: RowMask | None = None, longest: float = _MOST) -> Ids:
    """The live rows whose distances are numbers, ascending. `longest` bounds their squared
    length.
    """
    sound = squared_norms(vectors) <= longest
    return np.flatnonzero(sound if live is None else sound & live.to_bool())
