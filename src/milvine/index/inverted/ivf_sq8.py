"""IVF_SQ8: lists of codes with a byte for each dimension. IVF_SQ8H is the same with the lists found
on a GPU, where there is one.
"""

from __future__ import annotations

from typing import Any

from milvine.index.inverted.ivf import NLIST, NPROBE, IvfKernel, Shape
from milvine.index.inverted.ivf_sizes import IvfSizes
from milvine.index.native import faiss
from milvine.index.padding import wide
from milvine.index.spec import MAY_REFINE, IndexInput, IndexSpec


def _make(quantizer: Any, shape: Shape) -> Any:
    bits = faiss.ScalarQuantizer.QT_8bit
    return faiss.IndexIVFScalarQuantizer(
        quantizer, shape.dimension, shape.nlist, bits, shape.metric
    )


class ByteListSizes(IvfSizes):
    def code(self, of: IndexInput) -> int:
        return wide(of.dimension)

    def width(self, of: IndexInput) -> int:
        return wide(of.dimension)

    def learnt(self, of: IndexInput) -> int:
        return 8 * wide(of.dimension)


SPECS = (
    IndexSpec(
        number=3,
        name="IVF_SQ8",
        kernel=IvfKernel(_make, of_bytes=True),
        build=(NLIST,),
        search=(NPROBE, MAY_REFINE),
        breadth=NPROBE.breadth(refine=2),
        sizes=ByteListSizes(),
    ),
    IndexSpec(
        number=5,
        name="IVF_SQ8H",
        kernel=IvfKernel(_make, hybrid=True, of_bytes=True),
        build=(NLIST,),
        search=(NPROBE, MAY_REFINE),
        breadth=NPROBE.breadth(refine=2),
        sizes=ByteListSizes(),
        other_names=("IVF_SQ8_H",),
    ),
)
