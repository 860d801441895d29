"""An index type of another distribution: every row is compared by a code of a few bits for each
dimension, and the nearest are compared again with the vectors.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from milvine.index.base import BuildJob, OpenIndex, Params
from milvine.index.copies.chosen import distinct
from milvine.index.copies.members import Living, Nodes
from milvine.index.flat import vectors_of
from milvine.index.image import Image, read_image, write_image
from milvine.index.native import METRICS, faiss, live_selector, portion_of, search_index
from milvine.index.native import read_image as read_faiss
from milvine.index.raw import OpenRaw
from milvine.index.refine import refined
from milvine.index.score import Found, for_finite
from milvine.index.spec import REFINE, IndexInput, IndexSpec, Range, Sizes, integer, refining
from milvine.index.threads import use_threads
from milvine.types import Bytes, Floats, Ids, MetricType, RowMask

NUMBER = 2001
_BITS, _REFINE = Range("bits", 4, 8, 4), 8
_QUANTIZERS = {4: "QT_4bit", 5: "QT_6bit", 6: "QT_6bit", 7: "QT_8bit", 8: "QT_8bit"}
_PORTION = 65_536


def _bits(params: Params) -> int:
    return integer(params, _BITS.key, _BITS.default)


class CodesKernel:
    def build(self, job: BuildJob) -> None:
        use_threads(job.threads)
        rows = len(job.vectors)
        nodes, groups = distinct(job.vectors, job.live)
        if not len(nodes):
            return write_image(job.write, rows, 0, None)
        bits = getattr(faiss.ScalarQuantizer, _QUANTIZERS[_bits(job.params)])
        index = faiss.IndexScalarQuantizer(job.vectors.shape[1], bits, METRICS[job.metric])
        job.report("training", 0)
        index.train(job.vectors[nodes])
        for start in range(0, len(nodes), _PORTION):
            job.report("adding", start)
            index.add(np.ascontiguousarray(portion_of(job.vectors, nodes, start, _PORTION)))
        job.report("writing", 0)
        row_map = nodes if len(nodes) < rows else None
        write_image(job.write, rows, len(nodes), index, row_map, groups=groups)

    def open(self, data: Bytes, flat: Bytes, metric: MetricType) -> OpenIndex:
        vectors = vectors_of(flat)
        image = read_image(data, len(vectors))
        return OpenCodes(image, vectors, metric) if image.indexed else OpenRaw(vectors, metric)


class OpenCodes:
    def __init__(self, image: Image, vectors: Floats, metric: MetricType) -> None:
        self._image, self._vectors, self._metric = image, vectors, metric  # it points into both
        self._index, self._nodes = read_faiss(image.body), Nodes(image)

    @property
    def rows(self) -> int:
        return self._image.rows

    def search(
        self, queries: Floats, k: int, params: Params, mask: RowMask | None, threads: int = 1
    ) -> Found:
        use_threads(threads)
        living = self._nodes.living(mask)
        wanted = min(k * integer(params, REFINE, _REFINE), self._nodes.count)
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        return for_finite(queries, k, lambda some: self._search(some, k, wanted, living))

    def _search(self, queries: Floats, k: int, wanted: int, living: Living) -> Found:
        how = faiss.SearchParameters(sel=live_selector(living.mask))
        nominate = partial(self._candidates, wanted, how)
        found = refined(queries, self._vectors, self._metric, k, wanted, nominate)
        return living.answer(queries, self._vectors, self._metric, k, found)

    def _candidates(self, wanted: int, how: Any, queries: Floats) -> Ids:
        return self._nodes.rows_of(search_index(self._index, queries, wanted, how)[1])


class CodesSizes(Sizes):
    def image(self, of: IndexInput) -> int:
        bits = {5: 6, 7: 8}.get(_bits(of.params), _bits(of.params))
        return of.rows * -(-of.dimension * bits // 8) + 8 * of.dimension + 200

    def building(self, of: IndexInput, memory: int = 0) -> int:
        return of.bytes + self.image(of)


SPECS = (
    IndexSpec(
        number=NUMBER,
        name="CODES",
        kernel=CodesKernel(),
        build=(_BITS,),
        search=(refining(_REFINE),),
        sizes=CodesSizes(),
    ),
)
