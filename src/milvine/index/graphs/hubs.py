"""Rows that stand in the middle of all others, for which a graph has no use: they are kept beside
it.

A row of zeros among rows of one length is the clearest: it is nearer to each of them than nearly
all the others are. Graphs keep a link only where no kept one leads nearer, so the link to such a
row displaces the long ones of every row, and its own few links lead hardly anywhere: one row of
zeros among 12,000 embeddings hid a third of them. There are few of its kind, and comparing a query
with all of them costs next to nothing.
"""

from __future__ import annotations

import numpy as np

from milvine.index.native import faiss, pointer, portion_of
from milvine.types import Floats, Ids

HUBS_MAX = 256
CENTRAL = 0.6
"""A hub is nearer to the centre than this part of what is usual."""
NEIGHBOURS = 32
_SHARE = 0.25
"""A hub is among the nearest NEIGHBOURS of at least this part of the rows, when a sample is looked
at.
"""
_SAMPLE, _ASKED = 16_384, 256
_PORTION = 16_384


def hubs(vectors: Floats, nodes: Ids) -> Ids:
    """The hubs among the `nodes` of float32 (rows, dimension) under L2, ascending; at most
    HUBS_MAX.
    """
    drawn = np.random.default_rng(0)
    sample = np.sort(drawn.choice(nodes, min(_SAMPLE, len(nodes)), replace=False))
    points = vectors[sample]
    central = _central(vectors, nodes, points.mean(axis=0, dtype=np.float64))
    asked = points[~np.isin(sample, central)][:_ASKED]
    if not len(central) or len(asked) < 2:
        return central[:0]
    usual = _squares(asked, points)
    near = min(NEIGHBOURS, usual.shape[1] - 1)
    reach = np.partition(usual, near, axis=1)[:, near]  # the nearest is the row itself
    share = np.mean(_squares(asked, vectors[central]) <= reach[:, None], axis=0)
    found: Ids = central[share >= _SHARE]
    return found


def _central(vectors: Floats, nodes: Ids, centre: np.ndarray) -> Ids:
    """Up to HUBS_MAX nodes that are far nearer to the centre than usual, ascending."""
    place = centre.astype(np.float32)[None]
    parts = (
        portion_of(vectors, nodes, start, _PORTION) for start in range(0, len(nodes), _PORTION)
    )
    squares = np.concatenate([_squares(place, part)[0] for part in parts])
    near = np.flatnonzero(squares < CENTRAL**2 * np.median(squares))
    return np.sort(nodes[near[np.argsort(squares[near], kind="stable")[:HUBS_MAX]]])


def _squares(some: Floats, others: Floats) -> Floats:
    """Squared distances of all pairs, float32 (some, others)."""
    some, others = np.ascontiguousarray(some), np.ascontiguousarray(others)
    out = np.empty((len(some), len(others)), dtype=np.float32)
    faiss.pairwise_L2sqr(
        some.shape[1], len(some), pointer(some), len(others), pointer(others), pointer(out)
    )
    return out
