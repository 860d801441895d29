"""How many OpenMP threads a kernel call may use. OpenMP keeps that number per calling thread, which may be the
caller's own: there it is put back.

These functions are called through ctypes, holding the interpreter lock: faiss's own let go of it each time, and a
search must then wait for it like any other thread.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from milvine.index.native import compiled


def _openmp() -> tuple[Callable[[], int], Callable[[int], None]]:
    """What asks for the number and what sets it, in the OpenMP library that faiss is linked with."""
    try:
        library = ctypes.PyDLL(compiled.__file__)
        ask, tell = library.omp_get_max_threads, library.omp_set_num_threads
    except (OSError, AttributeError):  # Windows finds no names of libraries behind the one that was asked
        return compiled.omp_get_max_threads, compiled.omp_set_num_threads
    tell.restype = None  # an argument without a declared type is passed as an int, and sooner
    return ask, tell


_most: Callable[[], int]
_set: Callable[[int], None]
_most, _set = _openmp()


def use_threads(n: int) -> None:
    """Let kernels called by this thread use `n` (>= 1) OpenMP threads from now on. See `LentThread`."""
    if _most() != n:
        _set(n)


class LentThread:
    """A block that leaves the number of its thread as it was, whatever kernels in it set. Costs half a microsecond."""

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before = _most()

    def __exit__(self, *error: object) -> None:
        use_threads(self._before)
