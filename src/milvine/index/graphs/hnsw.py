"""HNSW: a graph of neighbours over the segment's rows. The file holds the graph, the vectors stay
where they are.

The graph is built over one row of each group of copies (`alike`), and links no row that was deleted
before, nor one with NaN or infinity, which would break it (every comparison with them is false).

Where points tell the rows apart (`trial`) and the processor is quick with them, the graph is built
and walked over codes of those, a byte per dimension, which its file holds besides. HNSW_SQ8, an
addition to Milvus 1.x, always walks over codes, and its searches read little else: where points are
not enough, over codes of steps that faiss makes for each dimension, of the rows in the graph. The
candidates of either are compared again with the vectors.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from milvine.index.base import BuildJob, OpenIndex
from milvine.index.codes.quantizer import padded
from milvine.index.copies.chosen import Chosen
from milvine.index.graphs import points
from milvine.index.graphs.hidden import hide_rows
from milvine.index.graphs.opened import open_graph, write_graph
from milvine.index.graphs.points import Coding
from milvine.index.graphs.trial import tried, worth_codes
from milvine.index.image import IMAGE_HEADER_BYTES
from milvine.index.native import FAISS_HEADER_BYTES, METRICS, faiss, portion_of
from milvine.index.padding import wide, widened
from milvine.index.spec import IndexInput, IndexSpec, Range, Sizes, integer, refining
from milvine.index.threads import use_threads
from milvine.types import Bytes, Floats, Ids, MetricType

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
        coding = tried(job, nodes.linked) if points.QUICK or self._refine else None
        index = self._built(job, nodes.linked, coding) if len(nodes.linked) else None
        job.report("writing", 0)
        coded = bool(self._refine) or coding is not None
        write_graph(job.write, index, len(job.vectors), nodes, coded, coding)

    def _built(self, job: BuildJob, nodes: Ids, coding: Coding | None) -> Any:
        """The graph over some rows, numbered by their places."""
        vectors, report = job.vectors, job.report
        index = self._empty(job, nodes, coding)
        index.hnsw.efConstruction = integer(job.params, "efConstruction")
        _make_room(index, len(nodes), len(nodes) if coding is None else len(vectors))
        for start in range(0, len(nodes), _PORTION):
            report("adding", start)
            rows = portion_of(vectors, nodes, start, _PORTION)
            index.add(widened(rows, index.d) if coding is None else coding.of_rows(rows))
        return index

    def _empty(self, job: BuildJob, nodes: Ids, coding: Coding | None) -> Any:
        links, metric = integer(job.params, "M"), METRICS[job.metric]
        dimension, codes = job.vectors.shape[1], faiss.ScalarQuantizer
        if coding is not None:
            return faiss.IndexHNSWSQ(coding.width, codes.QT_8bit_direct_signed, links, metric)
        if not self._refine:
            return faiss.IndexHNSWFlat(dimension, links, metric)
        index = faiss.IndexHNSWSQ(wide(dimension), codes.QT_8bit, links, metric)
        job.report("training", 0)
        index.train(widened(_extremes(job.vectors, nodes), index.d))
        return index

    def open(self, data: Bytes, flat: Bytes, metric: MetricType) -> OpenIndex:
        return open_graph(data, flat, metric, "ef", self._refine)


def _make_room(index: Any, rows: int, stored: int) -> None:
    """Let an empty index have room for so many rows, and as many in its storage: when it has to
    grow, old and new are in memory together.
    """
    codes = faiss.downcast_index(index.storage).codes
    codes.resize(stored * index.storage.sa_code_size())
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


class HnswSizes(GraphSizes):
    """As most rows have it: with codes, where these are worth their room."""

    def _codes(self, of: IndexInput) -> int:
        """Bytes of each row."""
        return padded(of.dimension) if points.QUICK and worth_codes(of.dimension) else 0

    def image(self, of: IndexInput) -> int:
        return super().image(of) + of.rows * self._codes(of)

    def building(self, of: IndexInput, memory: int = 0) -> int:
        return self._building(of, self._codes(of) or of.row_bytes)


class CodedGraphSizes(HnswSizes):
    def _codes(self, of: IndexInput) -> int:
        return padded(of.dimension) if worth_codes(of.dimension) else wide(of.dimension)

    def read(self, of: IndexInput) -> int:
        return self.image(of)


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
        sizes=HnswSizes(),
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
