"""IVF_PQFS, an addition to Milvus 1.x: IVF_PQ with codes of 4 bits, and exact refinement.

Such codes are compared 32 rows at a time, from tables that fit into registers: quick and coarse.
Codes of what is left beyond the centroid found no more after refining, on wordnet_minilm384 and
glove100, and took longer.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from milvine.index.copies.members import Living
from milvine.index.image import Image
from milvine.index.inverted.ivf import NLIST, NPROBE, IvfKernel, OpenIvf, Shape
from milvine.index.inverted.ivf_sizes import CODE_BITS, PackedSizes
from milvine.index.native import faiss
from milvine.index.score import Found, nearest_of
from milvine.index.spec import Divisor, IndexInput, IndexSpec, refining
from milvine.types import Floats, Ids, MetricType, RowMask


class OpenFastScan(OpenIvf):
    def _search(self, queries: Floats, k: int, nprobe: int, refine: int, living: Living) -> Found:
        """As all of them do, but faiss loses the rows that are farthest of all by their codes,
        under IP: none of equal rows is found. That shows where there are fewer than k hits."""
        distances, rows = super()._search(queries, k, nprobe, refine, living)
        if self._metric is MetricType.IP and living.nodes:
            for short in np.flatnonzero(rows[:, min(k, living.nodes) - 1] < 0):
                one = queries[short : short + 1]
                distances[short], rows[short] = nearest_of(
                    one, self._vectors, self._listed(one, nprobe, living.mask), self._metric, k
                )
        return distances, rows

    def _listed(self, query: Floats, nprobe: int, mask: RowMask | None) -> Ids:
        """Every live row of the lists that a query (1, dimension) reads, shape (1, rows)."""
        _, nearest = self._index.quantizer.search(query, nprobe)
        lists = self._index.invlists
        sizes = [(number, lists.list_size(number)) for number in nearest[0].tolist()]
        ids = [faiss.rev_swig_ptr(lists.get_ids(number), size) for number, size in sizes if size]
        rows: Ids = np.concatenate([np.empty(0, dtype=np.int64), *ids])
        return (rows if mask is None else rows[mask.contains(rows)])[None]


class FastScanKernel(IvfKernel):
    def _opened(self, image: Image, vectors: Floats, metric: MetricType) -> OpenIvf:
        return OpenFastScan(image, vectors, metric, self)


def _pairs(dimension: int) -> int:
    """Two dimensions in each part, or one where they are odd."""
    return dimension // (2 - dimension % 2)


_M = Divisor("m", _pairs)


def _make(quantizer: Any, shape: Shape) -> Any:
    m = _M.value(shape.params, shape.dimension)
    return faiss.IndexIVFPQFastScan(
        quantizer, shape.dimension, shape.nlist, m, CODE_BITS, shape.metric
    )


class FastScanSizes(PackedSizes):
    def code(self, of: IndexInput) -> int:
        return -(-_M.value(of.params, of.dimension) // 2)


_REFINE = 8
"""Candidates for each wanted hit where a search does not say how many. On 80,000 rows of glove100
and 40,000 of wordnet_minilm384 more of them found nothing more, half as many 0.2 to 0.9 in 100
less.
"""

SPECS = (
    IndexSpec(
        number=1001,
        name="IVF_PQFS",
        kernel=FastScanKernel(_make, refine=_REFINE, packed=True),
        build=(NLIST, _M),
        search=(NPROBE, refining(_REFINE)),
        breadth=NPROBE.breadth(),
        sizes=FastScanSizes(),
    ),
)
