"""The coarse half of IVF_SQ8H on a GPU, where there is one: finding the lists nearest to rows and
queries.

Only a GPU build of faiss has what this asks for. Without one, or without a GPU, nothing here does
anything, and IVF_SQ8H is IVF_SQ8.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

import numpy as np

from milvine.index.native import faiss, pointer
from milvine.types import Floats

LISTS_MAX = 2048
"""faiss's GPU indexes select no more lists than this."""


@cache
def resources() -> Any | None:
    """What faiss needs to work on the first GPU, made once in a process; None where it cannot."""
    if not hasattr(faiss, "StandardGpuResources") or faiss.get_num_gpus() < 1:
        return None
    return faiss.StandardGpuResources()


def on_gpu(quantizer: Any) -> Any | None:
    """A copy of a quantizer in the memory of the first GPU; None where there is none."""
    held = resources()
    return None if held is None else faiss.index_cpu_to_gpu(held, 0, quantizer)


class CoarseGpu:
    """Searches an IVF index whose lists are chosen on the GPU and scanned on the CPU.

    A GPU index serves one call at a time, so calls take turns for the short coarse half.
    """

    def __init__(self, index: Any, quantizer: Any) -> None:
        self._index, self._quantizer = index, quantizer
        self._turn = threading.Lock()

    def search(self, queries: Floats, k: int, params: Any) -> tuple[Any, Any]:
        """As the `search` of the IVF index; float32 distances and int64 ids, both (nq, k)."""
        if params.nprobe > LISTS_MAX:
            return self._on_cpu(queries, k, params)
        with self._turn:
            near, lists = self._quantizer.search(queries, params.nprobe)
        near, lists = np.ascontiguousarray(near, np.float32), np.ascontiguousarray(lists, np.int64)
        distances = np.empty((len(queries), k), np.float32)
        rows = np.empty((len(queries), k), np.int64)
        self._index.search_preassigned_c(  # the wrapper around it takes no parameters
            len(queries), pointer(queries), k, pointer(lists), pointer(near), pointer(distances),
            pointer(rows),
            False, params,
        )  # fmt: skip
        return distances, rows

    def _on_cpu(self, queries: Floats, k: int, params: Any) -> tuple[Any, Any]:
        distances, rows = self._index.search(queries, k, params=params)
        return distances, rows
