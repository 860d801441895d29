"""IVF_PQ: lists of codes with a few bits for each of `m` parts of a vector."""

from __future__ import annotations

from typing import Any

from milvine.index.base import Params
from milvine.index.inverted.ivf import NLIST, NPROBE, IvfKernel, Shape
from milvine.index.inverted.ivf_sizes import TRAINING_PER_CENTROID, IvfSizes, lists
from milvine.index.inverted.precomputed import TABLE_BYTES_MAX, table_bytes
from milvine.index.native import faiss
from milvine.index.spec import MAY_REFINE, Divisor, IndexInput, IndexSpec, Range, integer
from milvine.types import MetricType

_NBITS_DEFAULT = 8
_M = Divisor("m")


def effective_nbits(nbits: int, rows: int) -> int:
    """Bits of a PQ code that are built when `nbits` are asked for (specification 3.5)."""
    if rows >= 1 << nbits:
        return nbits
    return next((bits for bits in (8, 4, 2) if rows >= 1 << bits), 1)


def _nbits(params: Params, rows: int) -> int:
    return effective_nbits(integer(params, "nbits", _NBITS_DEFAULT), rows)


def _make(quantizer: Any, shape: Shape) -> Any:
    m, nbits = _M.value(shape.params, shape.dimension), _nbits(shape.params, shape.rows)
    index = faiss.IndexIVFPQ(quantizer, shape.dimension, shape.nlist, m, nbits, shape.metric)
    index.use_precomputed_table = -1  # it serves searches only
    return index


class ProductSizes(IvfSizes):
    def code(self, of: IndexInput) -> int:
        return -(-integer(of.params, "m") * _nbits(of.params, of.rows) // 8)

    def learnt(self, of: IndexInput) -> int:
        return 4 * of.dimension << _nbits(of.params, of.rows)

    def learnt_for_codes(self, of: IndexInput) -> int:
        return TRAINING_PER_CENTROID << _nbits(of.params, of.rows)

    def opened(self, of: IndexInput) -> int:
        """With the table of `precomputed`, as for a process that has room for those of all
        segments.
        """
        centroids = 1 << _nbits(of.params, of.rows)
        table = table_bytes(lists(of), integer(of.params, "m"), centroids)
        if of.metric is MetricType.IP or table > TABLE_BYTES_MAX:
            table = 0
        return super().opened(of) + table + 4 * of.dimension * centroids


SPECS = (
    IndexSpec(
        number=6,
        name="IVF_PQ",
        kernel=IvfKernel(_make),
        build=(NLIST, Range("nbits", 1, 16, _NBITS_DEFAULT), _M),
        search=(NPROBE, MAY_REFINE),
        breadth=NPROBE.breadth(refine=8),
        sizes=ProductSizes(),
        stats_name="PQ",
    ),
)
