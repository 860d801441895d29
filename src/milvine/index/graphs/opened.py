"""Graphs as files, and open for searches: the file holds the links and often codes, the vectors
stay where they are.

A walk over codes brings candidates, which are compared with the vectors. Where a query is none that
codes can stand for, the same links are walked over the vectors.
"""

from __future__ import annotations

import os
from functools import cached_property, partial
from typing import Any

import numpy as np

from milvine.errors import CorruptFile
from milvine.index.agreement import graph_agrees
from milvine.index.base import OpenIndex, Params, Write
from milvine.index.copies.chosen import Chosen
from milvine.index.copies.members import Living, Nodes
from milvine.index.exact import search_exact
from milvine.index.flat import open_flat, vectors_of
from milvine.index.graphs import points
from milvine.index.graphs.links import spread, spread_codes
from milvine.index.graphs.points import Coding
from milvine.index.image import Image, read_image, write_image
from milvine.index.native import faiss, parameters, search_index
from milvine.index.native import read_image as read_faiss
from milvine.index.padding import widened
from milvine.index.raw import OpenRaw
from milvine.index.refine import refined
from milvine.index.score import Found, for_finite, ordered
from milvine.index.spec import REFINE, integer
from milvine.index.threads import use_threads
from milvine.types import Bytes, Floats, Ids, MetricType, RowMask

FEW_LIVE = 0.12
"""Below this share of live rows the graph's paths are mostly dead: exact search is quicker, and
right.
"""

ROWS_PER_EF = 32
"""At most so many rows per unit of ef, comparing all of them is quicker than walking the graph, and
right.
"""

FARTHER = 2
"""So much more ef a walk over points has, for what their roundings hide from it. Of 40,000 rows of
glove100 ef 66 over points finds what ef 64 finds over vectors, or up to 0.003 more.
"""

CROWD = os.cpu_count() or 1
"""With more searches than processors, some wait. On two of these, 8 threads had 0.8 of the rate of
walks over vectors, and 2 threads 1.1.
"""

PER_POINT, MORE = 0.55, 1300
"""What a walk over points takes as a part of one over vectors, and what it takes to make points and
compare candidates: as long as a walk over vectors takes for so many numbers, ef times dimension.
"""


def write_graph(
    write: Write,
    index: Any,
    rows: int,
    nodes: Chosen,
    coded: bool = False,
    coding: Coding | None = None,
) -> None:
    """Pass the image of an HNSW index over `nodes` of `rows` rows to `write`; None over none of
    them.

    `coded`: it holds codes, not the vectors; those of `coding`, or of faiss's own making.
    """
    if index is None:
        return write_image(write, rows, 0, None)
    linked, flags = nodes.linked, 0 if coded else faiss.IO_FLAG_SKIP_STORAGE
    row_map = linked if coded and coding is None and len(linked) < rows else None
    if row_map is None and len(linked) < rows:
        if coding is None:
            index.storage.reset()  # to make room: it is not written
        else:
            spread_codes(faiss.downcast_index(index.storage), linked, rows)
        spread(index, linked, rows)
    table = None if coding is None else coding.table()
    write_image(write, rows, len(linked), index, row_map, flags, nodes.groups, nodes.beside, table)


def open_graph(
    data: Bytes, flat: Bytes, metric: MetricType, breadth: str, refine: int = 0
) -> OpenIndex:
    """Open such an image. `breadth` names the search parameter that says how many candidates a walk
    keeps.

    `refine`: the image holds codes, and so many candidates are compared exactly for each wanted hit
    where a search does not say how many.
    """
    vectors = vectors_of(flat)
    image = read_image(data, len(vectors))
    if not image.indexed:
        return OpenRaw(vectors, metric)
    if image.table is not None:
        return CodedGraph(image, flat, metric, breadth, refine)
    return OpenGraph(image, flat, metric, breadth, refine)


class OpenGraph:
    """A graph whose storage is the segment's Flat image, or its own: codes of faiss's making, or
    vectors in files of earlier releases.
    """

    _farther = 0

    def __init__(
        self, image: Image, flat: Bytes, metric: MetricType, breadth: str, refine: int
    ) -> None:
        self._breadth, self._refine = breadth, refine
        self._image, self._flat = image, flat  # the index points into both
        self._rows = image.rows
        self._nodes = Nodes(image)
        self._vectors, self._metric = vectors_of(flat), metric
        self._again = self._inexact()
        self._index = self._opened()
        self._width = self._index.d  # faiss takes its time to tell

    def _inexact(self) -> bool:
        """Whether what the walk says of distances is not to be passed on."""
        return bool(self._refine) or not graph_agrees(self._vectors.shape[1], self._metric)

    def _opened(self) -> Any:
        if self._refine or self._image.row_map is not None:
            return read_faiss(self._image.body)
        index = read_faiss(self._image.body, faiss.IO_FLAG_SKIP_STORAGE)
        self._storage = open_flat(self._flat)
        index.storage = self._storage
        index.own_fields = False  # ours to free, or it would be freed twice
        return index

    @property
    def rows(self) -> int:
        return self._rows

    def search(
        self, queries: Floats, k: int, params: Params, mask: RowMask | None, threads: int = 1
    ) -> Found:
        use_threads(threads)
        nodes = self._nodes.count
        wanted = min(self._wanted(k, params), nodes)
        ef = max(integer(params, self._breadth) + self._farther, wanted)
        live, living = self._rows, self._nodes.whole
        if mask is not None:
            live, living = mask.live, self._nodes.living(mask)
        if living.nodes < FEW_LIVE * nodes or live <= ROWS_PER_EF * ef:
            return search_exact(queries, self._vectors, self._metric, k, mask, threads)
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        return for_finite(queries, k, lambda some: self._search(some, k, wanted, ef, living))

    def _wanted(self, k: int, params: Params) -> int:
        """How many candidates a walk has to bring."""
        return k * integer(params, REFINE, self._refine) if self._refine else k

    def _search(self, queries: Floats, k: int, wanted: int, ef: int, living: Living) -> Found:
        how = parameters("HNSW", "efSearch", ef, living.mask)
        if self._again:
            found = refined(
                queries,
                self._vectors,
                self._metric,
                k,
                wanted,
                partial(self._candidates, wanted, how),
            )
        else:
            found = ordered(*self._find(queries, wanted, how), self._metric, k)
        return living.answer(queries, self._vectors, self._metric, k, found)

    def _candidates(self, wanted: int, how: Any, queries: Floats) -> Ids:
        return self._find(queries, wanted, how)[1]

    def _find(self, queries: Floats, wanted: int, how: Any) -> Found:
        """By the distances that the graph holds, in the segment's row numbers."""
        distances, nodes = search_index(self._index, widened(queries, self._width), wanted, how)
        return distances, self._nodes.rows_of(nodes)


class CodedGraph(OpenGraph):
    """A graph with points of its rows, whose image says how queries become points.

    Its nodes are numbered as the segment's rows, so that its links serve over the vectors, too.
    """

    _farther = FARTHER

    def __init__(
        self, image: Image, flat: Bytes, metric: MetricType, breadth: str, refine: int
    ) -> None:
        assert image.table is not None
        self._coding = Coding.of(image.table, vectors_of(flat).shape[1])
        # One entry for each search; changing it needs no lock.
        self._under_way: dict[object, None] = {}
        super().__init__(image, flat, metric, breadth, refine)
        if self._width != self._coding.width or self._index.ntotal != image.rows:
            raise CorruptFile("An index file holds other codes than its table says")

    def _inexact(self) -> bool:
        return True

    def _opened(self) -> Any:
        return read_faiss(self._image.body)

    @cached_property
    def _over_vectors(self) -> OpenGraph:
        """The same links, for short walks, for crowds, and for queries without a point."""
        return OpenGraph(self._image, self._flat, self._metric, self._breadth, 0)

    def search(
        self, queries: Floats, k: int, params: Params, mask: RowMask | None, threads: int = 1
    ) -> Found:
        mine = object()
        try:
            self._under_way[mine] = None
            if not self._refine and not self._pays(len(queries), k, integer(params, self._breadth)):
                return self._over_vectors.search(queries, k, params, mask, threads)
            return super().search(queries, k, params, mask, threads)
        finally:
            self._under_way.pop(mine, None)

    def _pays(self, nq: int, k: int, ef: int) -> bool:
        """Whether a walk over points is the quicker one: not where the processor is slow with them
        (the file may come from another machine), not a short one, nor that of one query where
        threads wait for each other. It is two calls into faiss, and each gives the interpreter's
        lock away, for which all of them then wait.
        """
        if not points.QUICK or (nq == 1 and len(self._under_way) > CROWD):
            return False
        farther = max(ef + FARTHER, self._coding.wanted(k))
        return bool((ef - PER_POINT * farther) * self._vectors.shape[1] > MORE)

    def _wanted(self, k: int, params: Params) -> int:
        if self._refine and REFINE in params:
            return super()._wanted(k, params)
        return self._coding.wanted(k)

    def _candidates(self, wanted: int, how: Any, queries: Floats) -> Ids:
        coded, unfit = self._coding.of_queries(queries, self._metric)
        rows = search_index(self._index, coded, wanted, how)[1]
        if unfit is not None:
            rows[unfit] = self._over_vectors._candidates(wanted, how, queries[unfit])
        return rows
