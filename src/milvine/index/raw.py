"""FLAT: no index at all, only the exact search over the segment's rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from milvine.index.base import Report, Write, untold
from milvine.index.exact import search_exact
from milvine.index.flat import vectors_of
from milvine.types import Bytes, Floats, Ids, MetricType, RowMask


class OpenRaw:
    """Exact search over float32 (rows, dimension)."""

    def __init__(self, vectors: Floats, metric: MetricType) -> None:
        self._vectors, self._metric = vectors, metric

    @property
    def rows(self) -> int:
        return len(self._vectors)

    def search(
        self,
        queries: Floats,
        k: int,
        params: Mapping[str, Any],
        mask: RowMask | None,
        threads: int = 1,
    ) -> tuple[Floats, Ids]:
        return search_exact(queries, self._vectors, self._metric, k, mask, threads)


class RawKernel:
    def build(
        self,
        vectors: Floats,
        metric: MetricType,
        params: Mapping[str, Any],
        threads: int,
        write: Write,
        report: Report = untold,
        memory: int = 0,
        live: RowMask | None = None,
    ) -> None:
        """Writes nothing."""

    def open(self, data: Bytes, flat: Bytes, metric: MetricType) -> OpenRaw:
        return OpenRaw(vectors_of(flat), metric)


RAW = RawKernel()
