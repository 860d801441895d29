"""Searches that ask alike, as one: which they are, the search of all their queries, and each one's
hits of it.

One pass over the data for several queries costs little more than for one. Who waits for whom is
not decided here: `server/operations/query_batching.py` joins requests that a door found waiting,
`engine/sharing.py` exact searches of several threads.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from milvine.types import Hits, Vectors


def ask_key(vectors: Vectors, k: int, tags: tuple[str, ...], params: Hashable) -> Hashable:
    """The same for searches of one collection that differ in nothing but the numbers of their
    vectors (nq, width). `params`: the search parameters in any form that is the same for the same.
    """
    return k, tags, params, vectors.dtype.str, vectors.shape[1]


def groups(keys: Sequence[Hashable]) -> list[list[int]]:
    """The places of equal keys, in the order in which each came first."""
    found: dict[Hashable, list[int]] = {}
    for place, key in enumerate(keys):
        found.setdefault(key, []).append(place)
    return list(found.values())


def joined(vectors: Sequence[Vectors]) -> Vectors:
    """The queries of searches that ask alike, one below the other, in memory of their own."""
    return np.concatenate(vectors)


def hits_of(hits: Hits, row: int) -> Hits:
    """Those of one query, (1, k): views."""
    return Hits(hits.ids[row : row + 1], hits.distances[row : row + 1])
