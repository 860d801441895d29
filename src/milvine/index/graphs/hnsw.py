"""HNSW: a graph of neighbours over the segment's rows. The file holds the graph, the vectors stay
where they are.

The graph is built over one row of each group of copies (`alike`), and links no row that was deleted
before, nor one with NaN or infinity, which would break it (every comparison with them is false).

HNSW_SQ8, an addition to Milvus 1.x, walks over codes of a byte per dimension, which its file holds
for the rows in the graph. The candidates are compared again with the vectors.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from milvine.index.agreement import graph_agrees
from milvine.index.base import BuildJob, OpenIndex, Params, Write
from milvine.index.copies.chosen import Chosen
from milvine.index.copies.members import Living, Nodes
from milvine.index.exact import search_exact
from milvine.index.flat import open_flat, vectors_of
from milvine.index.graphs.hidden import hide_rows
from milvine.index.graphs.links import spread
from milvine.index.image import IMAGE_HEADER_BYTES, Image, read_image, write_image
from milvine.index.native import (
    FAISS_HEADER_BYTES,
    METRICS,
    faiss,
    parameters,
    portion_of,
    search_index,
)
from milvine.index.native import read_image as read_faiss
from milvine.index.padding import wide, widened
from milvine.index.raw import OpenRaw
from milvine.index.refine import refined
from milvine.index.score import Found, for_finite, ordered
from milvine.index.spec import REFINE, IndexInput, IndexSpec, Range, Sizes, integer, refining
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


_LINKS_SPARE = 1.02
"""Heights are random: room for somewhat more links than are expected."""

_PORTION = 16384
"""Rows that are added in one go: faiss says nothing meanwhile."""


class HnswKernel:
    """One of the two: `refine` 0 is HNSW over the vectors, more is HNSW_SQ8 with so many candidates
    per wanted hit.
    """

    def __init__(self, refine: int = 0) -> None:
        self._refine = refine

    def build(self, job: BuildJob) -> None:
        use_threads(job.threads)
        job.report("grouping", 0)
        nodes = Chosen.of(job.vectors, job.metric, job.live)
        index = self._built(job, nodes.linked) if len(nodes.linked) else None
        job.report("writing", 0)
        write_graph(job.write, index, len(job.vectors), nodes, bool(self._refine))

    def _built(self, job: BuildJob, nodes: Ids) -> Any:
        """The graph over some rows, numbered by their places."""
        vectors, report = job.vectors, job.report
        width = wide(vectors.shape[1]) if self._refine else vectors.shape[1]
        index = self._empty(width, integer(job.params, "M"), METRICS[job.metric])
        index.hnsw.efConstruction = integer(job.params, "efConstruction")
        if self._refine:
            report("training", 0)
            index.train(widened(_extremes(vectors, nodes), width))
        _make_room(index, len(nodes))
        for start in range(0, len(nodes), _PORTION):
            report("adding", start)
            index.add(widened(portion_of(vectors, nodes, start, _PORTION), width))
        return index

    def _empty(self, dimension: int, links: int, metric: int) -> Any:
        if self._refine:
            return faiss.IndexHNSWSQ(dimension, faiss.ScalarQuantizer.QT_8bit, links, metric)
        return faiss.IndexHNSWFlat(dimension, links, metric)

    def open(self, data: Bytes, flat: Bytes, metric: MetricType) -> OpenIndex:
        return open_graph(data, flat, metric, "ef", self._refine)


def _make_room(index: Any, rows: int) -> None:
    """Let an empty index have room for so many rows: when it has to grow, old and new are in memory
    together.
    """
    codes = faiss.downcast_index(index.storage).codes
    codes.resize(rows * index.storage.sa_code_size())
    codes.resize(0)  # the room stays
    links, above = index.hnsw.nb_neighbors(0), index.hnsw.nb_neighbors(1)
    index.hnsw.neighbors.resize(int(_LINKS_SPARE * rows * (links + above / (above - 1))))
    index.hnsw.neighbors.resize(0)


def _extremes(vectors: Floats, rows: Ids) -> Floats:
    """The least and the largest number in each dimension, shape (2, dimension): what codes of a
    byte are made from.
    """
    portions = (
        portion_of(vectors, rows, start, _PORTION) for start in range(0, len(rows), _PORTION)
    )
    ends = np.concatenate([(portion.min(axis=0), portion.max(axis=0)) for portion in portions])
    return np.stack([ends.min(axis=0), ends.max(axis=0)])


def write_graph(write: Write, index: Any, rows: int, nodes: Chosen, coded: bool = False) -> None:
    """Pass the image of an HNSW index over `nodes` of `rows` rows to `write`; None over none of
    them.

    `coded`: it holds codes, not the vectors.
    """
    if index is None:
        return write_image(write, rows, 0, None)
    linked, flags = nodes.linked, 0 if coded else faiss.IO_FLAG_SKIP_STORAGE
    row_map = linked if coded and len(linked) < rows else None
    if not coded and len(linked) < rows:
        index.storage.reset()  # to make room: it is not written
        spread(index, linked, rows)
    write_image(write, rows, len(linked), index, row_map, flags, nodes.groups, nodes.beside)


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
    return OpenGraph(image, flat, metric, breadth, refine)


class OpenGraph:
    """A graph whose storage is the segment's Flat image, or its own: codes, or vectors in files of
    earlier releases.
    """

    def __init__(
        self, image: Image, flat: Bytes, metric: MetricType, breadth: str, refine: int
    ) -> None:
        self._breadth, self._refine = breadth, refine
        self._image, self._flat = image, flat  # the index points into both
        self._rows = image.rows
        self._nodes = Nodes(image)
        self._vectors, self._metric = vectors_of(flat), metric
        self._again = bool(refine) or not graph_agrees(self._vectors.shape[1], metric)
        if refine or image.row_map is not None:
            self._index = read_faiss(image.body)
            self._width = self._index.d
            return
        self._index = read_faiss(image.body, faiss.IO_FLAG_SKIP_STORAGE)
        self._storage = open_flat(flat)
        self._index.storage = self._storage
        self._width = self._index.d  # faiss takes its time to tell
        self._index.own_fields = False  # ours to free, or it would be freed twice

    @property
    def rows(self) -> int:
        return self._rows

    def search(
        self, queries: Floats, k: int, params: Params, mask: RowMask | None, threads: int = 1
    ) -> Found:
        use_threads(threads)
        nodes = self._nodes.count
        wanted = min(k * (integer(params, REFINE, self._refine) if self._refine else 1), nodes)
        ef = max(integer(params, self._breadth), wanted)
        live, living = self._rows, self._nodes.whole
        if mask is not None:
            live, living = mask.live, self._nodes.living(mask)
        if living.nodes < FEW_LIVE * nodes or live <= ROWS_PER_EF * ef:
            return search_exact(queries, self._vectors, self._metric, k, mask, threads)
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        return for_finite(queries, k, lambda some: self._search(some, k, wanted, ef, living))

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


class GraphSizes(Sizes):
    """Of a graph in an HNSW container. `links` says how many link slots it has."""

    def links(self, of: IndexInput) -> int:
        """The lowest level, and what random heights are expected to add."""
        m = integer(of.params, "M")
        return of.rows * 2 * m + round(of.rows * m / (m - 1))

    def image(self, of: IndexInput) -> int:
        levels = (4 + 8) * of.rows  # level and offset of each row
        return IMAGE_HEADER_BYTES + FAISS_HEADER_BYTES + 4 * self.links(of) + levels

    def opened(self, of: IndexInput) -> int:
        return (4 + 8) * of.rows  # the links stay mapped

    def searching(self, of: IndexInput) -> int:
        return of.rows  # it notes which rows it has seen

    def read(self, of: IndexInput) -> int:
        return of.bytes + self.image(of)

    def building(self, of: IndexInput, memory: int = 0) -> int:
        return self._building(of, of.row_bytes)

    def _building(self, of: IndexInput, row: int) -> int:
        """Norms and row numbers; rows or their codes with the locks of the nodes and the order in
        which they are added; links.
        """
        return of.rows * (12 + row + 4 + 8 + 4 + 4) + 4 * self.links(of)


class CodedGraphSizes(GraphSizes):
    def image(self, of: IndexInput) -> int:
        return super().image(of) + (of.rows + 8) * wide(of.dimension)

    def read(self, of: IndexInput) -> int:
        return self.image(of)

    def building(self, of: IndexInput, memory: int = 0) -> int:
        return self._building(of, wide(of.dimension))


_REFINE = 2
"""Candidates for each wanted hit where a search does not say how many. On 80,000 rows of glove100
and 40,000 of wordnet_minilm384 more of them found nothing more, half as many 0.2 to 0.9 in 100
less.
"""
_BUILD = (Range("M", 4, 64), Range("efConstruction", 8, 512))
_EF = Range("ef", 1, 32_768, from_topk=True)

SPECS = (
    IndexSpec(
        number=11,
        name="HNSW",
        kernel=HnswKernel(),
        build=_BUILD,
        search=(_EF,),
        breadth=_EF.breadth(hide_rows, per_hit=1),
        sizes=GraphSizes(),
    ),
    IndexSpec(
        number=1003,
        name="HNSW_SQ8",
        kernel=HnswKernel(_REFINE),
        build=_BUILD,
        search=(_EF, refining(_REFINE)),
        breadth=_EF.breadth(partial(hide_rows, coded=True), per_hit=_REFINE),
        sizes=CodedGraphSizes(),
    ),
)
