"""How many OpenMP threads a kernel call may use. OpenMP keeps that number per calling thread."""

from __future__ import annotations

import threading

from milvine.index.native import faiss

_local = threading.local()


def use_threads(n: int) -> None:
    """Let kernels called by this thread use `n` (>= 1) OpenMP threads; costs nothing when it is that already."""
    if getattr(_local, "n", None) != n:
        faiss.omp_set_num_threads(n)
        _local.n = n
