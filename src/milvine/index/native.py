"""The door to faiss: imported here first, so that its threads are told to sleep when they wait,
unless the program has loaded it before. The environment is as it was afterwards.

faiss's own type stubs cover about half of what is used here, so the module is handed on as `Any`.
Its C++ functions take addresses: whoever passes `pointer(array)` sees to dtype, size and order, and
keeps the array alive.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Hashable
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from milvine.types import Bytes, MetricType, RowMask

_WAIT_POLICY = "OMP_WAIT_POLICY"


def _load() -> Any:
    """Spinning OpenMP threads made a small training 5 to 50 times slower. libgomp reads the
    variable once, when faiss loads it; programs started later shall not find it.
    """
    given = os.environ.get(_WAIT_POLICY)
    os.environ.setdefault(_WAIT_POLICY, "PASSIVE")
    try:
        return import_module("faiss")
    finally:
        if given is None:
            del os.environ[_WAIT_POLICY]


faiss: Any = _load()
compiled: Any = getattr(sys.modules[faiss.swig_ptr.__module__], "_swigfaiss", faiss)
"""The functions of faiss as compiled, without those in Python around them."""
pointer: Any = compiled.swig_ptr
"""Address of a C-contiguous array."""

FAISS_HEADER_BYTES = 37
"""Of an index in a file: four letters, dimension, rows, two words without use, trained, metric."""

KEPT_MAX = 64
"""Things that are asked for which are remembered in one place: programs ask for few."""

METRICS: dict[MetricType, int] = {
    MetricType.L2: faiss.METRIC_L2,
    MetricType.IP: faiss.METRIC_INNER_PRODUCT,
}


def live_selector(mask: RowMask | None) -> Any:
    """A faiss selector of the live rows, or None where all are. It points into `mask`, which must
    outlive it.
    """
    if mask is None or not mask.dead:
        return None
    return faiss.IDSelectorBitmap(len(mask.bits), pointer(mask.bits))


def search_index(
    index: Any, queries: NDArray[np.float32], k: int, parameters: Any
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """`index.search` without what its Python wrapper looks at: C-contiguous queries (nq, d); both
    results (nq, k).
    """
    nq = len(queries)
    distances, rows = np.empty((nq, k), dtype=np.float32), np.empty((nq, k), dtype=np.int64)
    index.search_c(nq, pointer(queries), k, pointer(distances), pointer(rows), parameters)
    return distances, rows


def parameters(kind: str, breadth: str, value: int, mask: RowMask | None) -> Any:
    """faiss's `SearchParameters...` of a `kind`, for live rows only, which searches only read:
    programs use few.

    Those with a selector point into `mask`, which must outlive the search.
    """
    made = getattr(faiss, f"SearchParameters{kind}")
    return kept((kind, value), mask, lambda: made(**{breadth: value}, sel=live_selector(mask)))


def kept(key: Hashable, mask: RowMask | None, make: Callable[[], Any]) -> Any:
    """What `make` makes for searches under a mask, under this key; the first time it is made."""
    known = _WHOLE if mask is None or not mask.dead else mask.kept
    made = known.get(key)
    if made is None:
        if len(known) >= KEPT_MAX:
            known.clear()
        made = known[key] = make()
    return made


_WHOLE: dict[Hashable, Any] = {}
"""What is kept for searches of all rows."""


def read_image(image: Bytes, flags: int = 0) -> Any:
    """The faiss index in `image`, pointing into it where the format allows: keep `image` alive as
    long as the index.
    """
    reader = faiss.ZeroCopyIOReader(pointer(image), image.size)
    return faiss.read_index(reader, faiss.IO_FLAG_MMAP_IFC | flags)


def portion_of(
    vectors: NDArray[np.float32], rows: NDArray[np.int64], start: int, count: int
) -> NDArray[np.float32]:
    """The vectors of `rows[start : start + count]`; a view where `rows` are all of them."""
    if len(rows) == len(vectors):
        return vectors[start : start + count]
    return vectors[rows[start : start + count]]


def squared_norms(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32, shape (rows,): not finite where a row has NaN or infinity, or is too long for
    float32.
    """
    rows, dimension = vectors.shape
    norms = np.empty(rows, dtype=np.float32)
    faiss.fvec_norms_L2sqr(pointer(norms), pointer(vectors), dimension, rows)
    return norms
