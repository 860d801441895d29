"""Index types and their kernels. Kernels are imported on first use: faiss takes a third of a second
to load.
"""

from __future__ import annotations

from importlib import import_module
from typing import cast

from milvine.errors import Unsupported
from milvine.index.base import Kernel
from milvine.types import IndexType

_KERNELS = {
    IndexType.FLAT: ("milvine.index.raw", "RAW"),
    IndexType.IVF_FLAT: ("milvine.index.inverted.ivf", "IVF_FLAT"),
    IndexType.IVF_SQ8: ("milvine.index.inverted.ivf", "IVF_SQ8"),
    IndexType.IVF_SQ8H: ("milvine.index.inverted.ivf", "IVF_SQ8H"),
    IndexType.IVF_PQ: ("milvine.index.inverted.ivf", "IVF_PQ"),
    IndexType.HNSW: ("milvine.index.graphs.hnsw", "HNSW"),
    IndexType.RNSG: ("milvine.index.graphs.nsg", "RNSG"),
    IndexType.ANNOY: ("milvine.index.annoy", "ANNOY"),
    IndexType.IVF_PQFS: ("milvine.index.inverted.fast_scan", "IVF_PQFS"),
    IndexType.IVF_RABITQ: ("milvine.index.inverted.rabitq", "IVF_RABITQ"),
    IndexType.HNSW_SQ8: ("milvine.index.graphs.hnsw", "HNSW_SQ8"),
}


_BINARY_KERNELS = {
    IndexType.FLAT: ("milvine.index.binary", "BINARY_FLAT"),
    IndexType.IVF_FLAT: ("milvine.index.inverted.binary_ivf", "BINARY_IVF_FLAT"),
}


def kernel(index_type: IndexType, binary: bool = False) -> Kernel:
    """The kernel of an index type, over float or binary vectors.

    Raises:
        Unsupported: this release does not build the type, or it needs a package that is not
            installed.
    """
    kernels = _BINARY_KERNELS if binary else _KERNELS
    if index_type not in kernels:
        built = ", ".join(known.name for known in kernels)
        raise Unsupported(
            f"Index type {index_type.name} is not supported by this release. Use one of {built}"
        )
    module, name = kernels[index_type]
    return cast(Kernel, getattr(import_module(module), name))
