"""ANNOY: a forest of random splits, by the library of that name. It proposes candidates; their
distances are exact.

annoy reads and writes paths only, and an index is a section of a file, so it is opened from a copy
without a name (on Linux in memory). Its image holds the vectors once more; that is its format.
"""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

import numpy as np

from milvine.errors import BuildFailed, CorruptFile, Unsupported
from milvine.index.base import BuildJob, OpenIndex, Params
from milvine.index.copies.chosen import distinct
from milvine.index.copies.members import Living, Nodes
from milvine.index.exact import search_exact
from milvine.index.flat import vectors_of
from milvine.index.image import IMAGE_HEADER_BYTES, Image, read_image, write_header
from milvine.index.raw import OpenRaw
from milvine.index.score import Found, for_finite, nearest_of
from milvine.index.spec import (
    INT64_MAX,
    INT64_MIN,
    Breadth,
    IndexInput,
    IndexSpec,
    Range,
    Sizes,
    integer,
)
from milvine.index.threads import use_threads
from milvine.storage.nameless import bytes_of, nameless_file
from milvine.types import Bytes, Floats, Ids, MetricType, RowMask

_METRICS = {MetricType.L2: "euclidean", MetricType.IP: "dot"}
_SEED = 1
_PORTION = 4096
_SEARCH_K_MAX = (1 << 31) - 1
"""annoy counts in C ints."""

_FILL = math.log(2)
"""How full leaves are on the average when a set is halved until each part fits."""
_GROWTH = 1.3

DEFAULT_SHARE = 20
"""Without a search_k, one row in so many is looked at (specification 3.13)."""
ROWS_PER_CANDIDATE = 4
"""At most so many live rows per candidate, comparing all of them is quicker, and right."""
FEW_LIVE = 0.1
SPARE = 10
"""Candidates beyond k: annoy rounds otherwise than the exact distances do."""


def _require() -> Any:
    """The library, imported when an index needs it."""
    try:
        return import_module("annoy")
    except ModuleNotFoundError as error:
        raise Unsupported(
            "Index type ANNOY needs the package annoy. Install milvine with the extra annoy"
        ) from error


def _forest(dimension: int, metric: MetricType) -> Any:
    return _require().AnnoyIndex(dimension, _METRICS[metric])


class AnnoyKernel:
    def build(self, job: BuildJob) -> None:
        vectors, write, report = job.vectors, job.write, job.report
        report("grouping", 0)
        nodes, groups = distinct(vectors, job.live)
        if not len(nodes):
            return write_header(write, len(vectors), 0)
        forest = _forest(vectors.shape[1], job.metric)
        forest.set_seed(_SEED)
        for start in range(0, len(nodes), _PORTION):
            report("adding", start)
            for number, row in enumerate(vectors[nodes[start : start + _PORTION]].tolist(), start):
                forest.add_item(number, row)
        report("splitting", 0)
        forest.build(integer(job.params, "n_trees"), job.threads)
        report("writing", 0)
        with nameless_file() as path:
            forest.save(str(path))
            image = bytes_of(path)
        if not image.size:
            raise BuildFailed("annoy wrote nothing")
        row_map = None if len(nodes) == len(vectors) else nodes
        write_header(write, len(vectors), len(nodes), row_map, groups=groups)
        write(image.data)

    def open(self, data: Bytes, flat: Bytes, metric: MetricType) -> OpenIndex:
        vectors = vectors_of(flat)
        image = read_image(data, len(vectors))
        return OpenAnnoy(image, vectors, metric) if image.indexed else OpenRaw(vectors, metric)


class OpenAnnoy:
    """A forest over rows of the segment, one of each group of copies. annoy has no selectors:
    whoever wants live rows asks for more candidates until there are enough."""

    def __init__(self, image: Image, vectors: Floats, metric: MetricType) -> None:
        self._nodes, self._indexed = Nodes(image), image.indexed
        self._vectors, self._metric = vectors, metric
        self._forest = _forest(vectors.shape[1], metric)
        with nameless_file(image.body) as path:
            self._forest.load(str(path))  # maps it
        if self._forest.get_n_items() != image.indexed:
            raise CorruptFile(
                f"An index file holds {self._forest.get_n_items()} rows instead of {image.indexed}"
            )

    @property
    def rows(self) -> int:
        return len(self._vectors)

    def search(
        self, queries: Floats, k: int, params: Params, mask: RowMask | None, threads: int = 1
    ) -> Found:
        wanted = min(k, self._indexed)
        search_k = integer(params, "search_k")
        if search_k <= 0:
            search_k = max(wanted * self._forest.get_n_trees(), self._indexed // DEFAULT_SHARE)
        search_k = max(search_k, wanted)
        live = self.rows if mask is None else mask.live
        living = self._nodes.living(mask)
        if living.nodes < FEW_LIVE * self._indexed or live <= ROWS_PER_CANDIDATE * search_k:
            return search_exact(queries, self._vectors, self._metric, k, mask, threads)
        use_threads(threads)
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        return for_finite(queries, k, lambda some: self._search(some, k, search_k, living))

    def _search(self, queries: Floats, k: int, search_k: int, living: Living) -> Found:
        candidates = [self._candidates(query, k, search_k, living) for query in queries.tolist()]
        rows = np.full((len(queries), max(map(len, candidates))), -1, dtype=np.int64)
        for each, found in zip(rows, candidates, strict=True):
            each[: len(found)] = found
        nearest = nearest_of(queries, self._vectors, rows, self._metric, k)
        return living.answer(queries, self._vectors, self._metric, k, nearest)

    def _candidates(self, query: list[float], k: int, search_k: int, living: Living) -> Ids:
        """At least k rows that stand for live ones, nearest first, or all, and somewhat more where
        there are.
        """
        asked = min(self._indexed, (k + SPARE) * self._indexed // max(living.nodes, 1) + SPARE)
        while True:
            found = np.array(
                self._forest.get_nns_by_vector(query, asked, min(search_k, _SEARCH_K_MAX)),
                dtype=np.int64,
            )
            got = len(found)
            if living.mask is not None:
                found = found[living.mask.contains(found)]
            if len(found) >= k or got == self._indexed or search_k > _SEARCH_K_MAX:
                return self._nodes.rows_of(found[: k + SPARE])
            if got == asked:
                asked = min(self._indexed, 4 * asked)
            else:  # the forest was asked for more than search_k reaches
                search_k *= 4


class AnnoySizes(Sizes):
    def image(self, of: IndexInput) -> int:
        """Items, and per tree leaves of up to K items with one split less than leaves; roots stand
        twice. A node is four words and a vector.
        """
        node, trees = 16 + 4 * of.dimension, integer(of.params, "n_trees")
        leaves = of.rows / ((of.dimension + 2) * _FILL)
        return IMAGE_HEADER_BYTES + node * round(of.rows + trees * 2 * leaves)

    def opened(self, of: IndexInput) -> int:
        return self.image(of)  # a copy in a file without a name, which lies in memory

    def read(self, of: IndexInput) -> int:
        return of.bytes  # hits are scored

    def building(self, of: IndexInput, memory: int = 0) -> int:
        """Norms and row numbers; forest, saved forest, its bytes."""
        return 12 * of.rows + round((_GROWTH + 2) * self.image(of))


SPECS = (
    IndexSpec(
        number=12,
        name="ANNOY",
        kernel=AnnoyKernel(),
        build=(Range("n_trees", 1, 1024),),
        search=(Range("search_k", INT64_MIN, INT64_MAX),),
        breadth=Breadth("search_k", 64, 1 << 30, per_hit=1),
        sizes=AnnoySizes(),
        require=_require,
    ),
)
