"""IVF_FLAT: lists of the vectors themselves."""

from __future__ import annotations

from typing import Any

from milvine.index.inverted.ivf import NLIST, NPROBE, IvfKernel, Shape
from milvine.index.inverted.ivf_sizes import IvfSizes
from milvine.index.native import faiss
from milvine.index.spec import IndexInput, IndexSpec


def _make(quantizer: Any, shape: Shape) -> Any:
    return faiss.IndexIVFFlat(quantizer, shape.dimension, shape.nlist, shape.metric)


class FlatListSizes(IvfSizes):
    exact = True

    def code(self, of: IndexInput) -> int:
        return of.row_bytes


SPECS = (
    IndexSpec(
        number=2,
        name="IVF_FLAT",
        kernel=IvfKernel(_make, exact=True),
        build=(NLIST,),
        search=(NPROBE,),
        breadth=NPROBE.breadth(),
        sizes=FlatListSizes(),
        other_names=("IVFLAT",),
    ),
)
