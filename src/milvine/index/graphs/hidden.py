"""A graph without the ways to some of its nodes, as if they had never been added: for measuring
what searches for rows find that it does not hold.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from milvine.index.image import Image, read_image
from milvine.index.native import faiss
from milvine.index.native import read_image as read_faiss
from milvine.types import Bytes, Ids


class _Links(NamedTuple):
    """Where in the links of a graph some of them are: (n,) each.

    Attributes:
        nodes, levels: whose they are.
        starts: of their lists.
    """

    nodes: Ids
    levels: Ids
    starts: Ids


def hide_rows(data: Bytes, rows: int, hidden: Ids, coded: bool = False) -> None:
    """Lead each link to one of the `hidden` rows on to a neighbour of that row, in the image of a
    graph over `rows` rows, in place. A row that stands for copies of it keeps its links, and so
    does the one that all walks begin at.

    Args:
        data: uint8 (bytes,), writable.
        hidden: int64 (n,), ascending.
        coded: the graph holds codes of faiss's making, not the vectors.
    """
    image = read_image(data, rows)
    if not image.indexed:
        return
    coded = coded or image.table is not None
    index = read_faiss(image.body, 0 if coded else faiss.IO_FLAG_SKIP_STORAGE)
    hnsw = index.hnsw
    links = faiss.rev_swig_ptr(hnsw.neighbors.data(), hnsw.neighbors.size())  # within `data`
    gone = np.zeros(index.ntotal + 1, bool)  # the last is where there is no link
    gone[_nodes(image, hidden)] = True
    gone[hnsw.entry_point] = False
    at = np.flatnonzero(gone[links])
    places, offsets = _places(hnsw, at), faiss.vector_to_array(hnsw.offsets).astype(np.int64)
    before = faiss.vector_to_array(hnsw.cum_nneighbor_per_level).astype(np.int64)
    targets = offsets[links[at]] + before[places.levels]
    sizes = before[places.levels + 1] - before[places.levels]
    links[at] = _led_on(links, gone, places, targets, sizes)


def _nodes(image: Image, hidden: Ids) -> Ids:
    """The nodes that stand for some of these rows and for no other."""
    if image.groups is not None:
        hidden = np.setdiff1d(hidden, image.groups.members)
    if image.beside is not None:
        hidden = np.setdiff1d(hidden, image.beside)
    if image.row_map is None:
        return hidden
    return np.flatnonzero(np.isin(image.row_map, hidden))


def _places(hnsw: Any, at: Ids) -> _Links:
    """Of links by their place among all."""
    offsets = faiss.vector_to_array(hnsw.offsets).astype(np.int64)
    before = faiss.vector_to_array(hnsw.cum_nneighbor_per_level).astype(np.int64)
    nodes = np.searchsorted(offsets, at, "right") - 1
    levels = np.searchsorted(before, at - offsets[nodes], "right") - 1
    return _Links(nodes, levels, offsets[nodes] + before[levels])


def _led_on(
    links: Any, gone: NDArray[np.bool_], places: _Links, targets: Ids, sizes: Ids
) -> NDArray[np.int32]:
    """For each hidden link a link of the node that it led to, whose list at that level begins at
    `targets` and has room for `sizes`: one drawn at random, or the next that is neither hidden nor
    leads back; where there is none, the first of its own list that stays, or no link.

    Not the first of them: those are the nearest, and a walk to the row would be led to its
    neighbours as by the row itself.
    """
    filled = _filled(links, targets, sizes)
    first = np.random.default_rng(0).integers(0, np.maximum(filled, 1))
    found = np.full(len(targets), -1, np.int32)
    for source, starts, counts in ((targets, first, filled), (places.starts, 0 * first, sizes)):
        for step in range(int(counts.max(initial=0))):
            missing = np.flatnonzero((found < 0) & (step < counts))
            if not len(missing):
                break
            inner = (starts[missing] + step) % counts[missing]
            link = links[source[missing] + inner]
            fits = (link >= 0) & ~gone[link] & (link != places.nodes[missing])
            found[missing[fits]] = link[fits]
    return found


def _filled(links: Any, starts: Ids, sizes: Ids) -> Ids:
    """How many links there are in each list: they stand first in it."""
    filled = np.zeros(len(starts), np.int64)
    for step in range(int(sizes.max(initial=0))):
        within = np.flatnonzero((filled == step) & (step < sizes))
        filled[within] += links[starts[within] + step] >= 0
    return filled
