"""IVF_RABITQ, an addition to Milvus 1.x: lists of one bit per dimension and two numbers per row,
and exact refinement.

Turning the rows at random first, as the method has it, found no more on wordnet_minilm384 and
glove100.
"""

from __future__ import annotations

from typing import Any

from milvine.errors import Unsupported
from milvine.index.inverted.ivf import IvfKernel, Shape
from milvine.index.native import faiss
from milvine.index.params import REFINES
from milvine.types import IndexType

if not hasattr(faiss, "IndexIVFRaBitQFastScan"):
    raise Unsupported(
        f"Index type IVF_RABITQ needs a newer faiss-cpu than {faiss.__version__}. Upgrade faiss-cpu"
    )


def _bits(quantizer: Any, shape: Shape) -> Any:
    return faiss.IndexIVFRaBitQFastScan(quantizer, shape.dimension, shape.nlist, shape.metric)


IVF_RABITQ = IvfKernel(_bits, refine=REFINES[IndexType.IVF_RABITQ], packed=True)
