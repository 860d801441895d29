"""The tables that faiss precomputes for searches of IVF_PQ under L2: of each list, subspace and
centroid a term.

They save work in every list that is probed and change no answer, but they are allocated, and larger
than the codes more often than not. faiss looks at each by itself, when it reads an index. Here they
have a bound together.
"""

from __future__ import annotations

import threading
from typing import Any
from weakref import WeakKeyDictionary

from milvine.index.native import faiss

TABLE_BYTES_MAX = 2 << 30
"""faiss makes no larger one."""


def table_bytes(nlist: int, m: int, centroids: int) -> int:
    """Bytes of a table: a float for each list, subspace and centroid of a subspace."""
    return 4 * nlist * m * centroids


class Tables:
    """Those of all open indexes of this process. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: WeakKeyDictionary[Any, int] = WeakKeyDictionary()

    @property
    def bytes(self) -> int:
        """What they take together."""
        with self._lock:
            return self._sum()

    def make(self, index: Any, most: int) -> None:
        """Make that of an `IndexIVFPQ` which was read without one and which nobody searches yet, if
        all together have no more than `most` bytes then.

        It takes its room for as long as the index is there, and an index that got none does
        without: to make it later, searches would have to be kept out meanwhile.
        """
        if index.metric_type != faiss.METRIC_L2:
            return
        size = table_bytes(index.nlist, index.pq.M, index.pq.ksub)
        with self._lock:
            if size > min(TABLE_BYTES_MAX, most - self._sum()):
                return
            self._held[index] = size
        index.precompute_table()

    def _sum(self) -> int:
        return sum(self._held.values())


TABLES = Tables()
"""Of this process: all its databases have the same memory, and so the same part of it for these."""
