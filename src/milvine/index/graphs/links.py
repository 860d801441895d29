"""The links of faiss's HNSW graphs, as arrays: read, filled, and numbered anew."""

from __future__ import annotations

from typing import Any

import numpy as np

from milvine.index.native import faiss
from milvine.types import Ids

_NODES = 1 << 16
"""Nodes whose links are moved in one go."""


def slots(hnsw: Any, level: int, rows: Ids) -> tuple[Any, Ids]:
    """All links of a graph, int32, as a view; and where in it those of some rows at one level are,
    (rows, slots).
    """
    starts = faiss.vector_to_array(hnsw.offsets).astype(np.int64)
    first = starts[rows] + hnsw.cum_nb_neighbors(level)
    return _all_links(hnsw), first[:, None] + np.arange(hnsw.nb_neighbors(level))


def spread(index: Any, nodes: Ids, rows: int) -> None:
    """Number the nodes of a graph as the rows of a segment that they are; its other rows have no
    links.

    No walk comes to those, since no link leads there. They take the room of a row on the lowest
    level all the same: faiss reads no graph in which a row is on no level, or shares the room of
    another.

    Args:
        index: an HNSW index over `len(nodes)` rows. Its storage is left as it is, numbered
            otherwise.
        nodes: ascending row numbers.
        rows: of the segment.
    """
    hnsw = index.hnsw
    levels, before = (
        np.ones(rows, dtype=np.int32),
        faiss.vector_to_array(hnsw.offsets).astype(np.int64),
    )
    levels[nodes] = faiss.vector_to_array(hnsw.levels)
    sizes = faiss.vector_to_array(hnsw.cum_nneighbor_per_level).astype(np.int64)
    after = np.append(0, np.cumsum(sizes[levels]))
    hnsw.neighbors.resize(int(after[-1]))
    _move(_all_links(hnsw), nodes, before, after)
    faiss.copy_array_to_vector(levels, hnsw.levels)
    faiss.copy_array_to_vector(after.astype(np.uint64), hnsw.offsets)
    hnsw.entry_point, index.ntotal = int(nodes[hnsw.entry_point]), rows


def spread_codes(storage: Any, nodes: Ids, rows: int) -> None:
    """The same for codes: each moves to where its row has it. What is left between them stands for
    nothing.
    """
    size = storage.sa_code_size()
    storage.codes.resize(rows * size)
    codes = faiss.rev_swig_ptr(storage.codes.data(), rows * size).reshape(rows, size)
    # No node has a larger number than its row, so whatever is overwritten was moved before.
    for last in range(len(nodes), 0, -_NODES):
        first = max(0, last - _NODES)
        codes[nodes[first:last]] = codes[first:last].copy()
    storage.ntotal = rows


def _move(links: Any, nodes: Ids, before: Ids, after: Ids) -> None:
    """Move the links of each node to where its row has them: the last first, so that none is
    overwritten unread.
    """
    end = len(links)
    for last in range(len(nodes), 0, -_NODES):
        first = max(0, last - _NODES)
        moved = links[before[first] : before[last]].copy()
        starts, sizes = after[nodes[first:last]], np.diff(before[first : last + 1])
        links[starts[0] : end] = -1
        places = np.arange(before[first], before[last]) + np.repeat(
            starts - before[first:last], sizes
        )
        links[places] = np.where(moved < 0, -1, nodes[np.maximum(moved, 0)])
        end = starts[0]
    links[:end] = -1


def _all_links(hnsw: Any) -> Any:
    return faiss.rev_swig_ptr(hnsw.neighbors.data(), hnsw.neighbors.size())
