"""How many OpenMP threads a kernel call may use. OpenMP keeps that number per calling thread, which
may be the caller's own: there it is put back.

These functions are called through ctypes, holding the interpreter lock: faiss's own let go of it
each time, and a search must then wait for it like any other thread. To set the number takes hardly
longer than to ask whether it is that already.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from milvine.index.native import compiled


def _openmp() -> tuple[Callable[[], int], Callable[[int], None]]:
    """What asks for the number and what sets it, in the OpenMP library that faiss is
    linked with.
    """
    try:
        library = ctypes.PyDLL(compiled.__file__)
        ask, tell = library.omp_get_max_threads, library.omp_set_num_threads
    except (
        OSError,
        AttributeError,
    ):  # Windows finds no names of libraries behind the one that was asked
        return compiled.omp_get_max_threads, compiled.omp_set_num_threads
    tell.restype = None  # an argument without a declared type is passed as an int, and sooner
    return ask, tell


threads: Callable[[], int]
"""How many OpenMP threads kernels called by this thread may use now."""
use_threads: Callable[[int], None]
"""Let kernels called by this thread use so many (>= 1) from now on. Who was lent the thread sets
back what it had: `before = threads()`, and at last `use_threads(before)`."""
threads, use_threads = _openmp()
