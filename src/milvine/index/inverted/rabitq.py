"""IVF_RABITQ, an addition to Milvus 1.x: lists of one bit per dimension and two numbers per row,
and exact refinement.

Turning the rows at random first, as the method has it, found no more on wordnet_minilm384 and
glove100.
"""

from __future__ import annotations

from typing import Any

from milvine.errors import Unsupported
from milvine.index.inverted.ivf import NLIST, NPROBE, IvfKernel, Shape
from milvine.index.inverted.ivf_sizes import PackedSizes
from milvine.index.native import faiss
from milvine.index.spec import IndexInput, IndexSpec, refining

_NUMBER_BYTES = 8
"""Two floats beside the bits of a row."""
_REFINE = 8
"""Candidates for each wanted hit where a search does not say how many. On 80,000 rows of glove100
and 40,000 of wordnet_minilm384 more of them found nothing more, half as many 0.5 to 2.5 in 100
less.
"""


def _require() -> None:
    if not hasattr(faiss, "IndexIVFRaBitQFastScan"):
        raise Unsupported(
            f"Index type IVF_RABITQ needs a newer faiss-cpu than {faiss.__version__}. Upgrade"
            " faiss-cpu"
        )


def _make(quantizer: Any, shape: Shape) -> Any:
    return faiss.IndexIVFRaBitQFastScan(quantizer, shape.dimension, shape.nlist, shape.metric)


class BitSizes(PackedSizes):
    def code(self, of: IndexInput) -> int:
        return -(-of.dimension // 8) + _NUMBER_BYTES


SPECS = (
    IndexSpec(
        number=1002,
        name="IVF_RABITQ",
        kernel=IvfKernel(_make, refine=_REFINE, packed=True),
        build=(NLIST,),
        search=(NPROBE, refining(_REFINE)),
        breadth=NPROBE.breadth(),
        sizes=BitSizes(),
        require=_require,
    ),
)
