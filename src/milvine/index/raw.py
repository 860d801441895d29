"""FLAT: no index at all, only the exact search over the segment's rows, float or binary."""

from __future__ import annotations

from milvine.index.base import BuildJob, Params
from milvine.index.binary import search_bits
from milvine.index.exact import search_exact
from milvine.index.flat import bits_of, vectors_of
from milvine.index.score import Found
from milvine.index.spec import BINARY_METRICS, FLOAT_METRICS, IndexInput, IndexSpec, Sizes
from milvine.types import Bytes, MetricType, RowMask, Vectors


class OpenRaw:
    """Exact search over float32 (rows, dimension), or over uint8 (rows, dimension / 8)."""

    def __init__(self, vectors: Vectors, metric: MetricType) -> None:
        self._vectors, self._metric = vectors, metric
        self._search = search_bits if metric.is_binary else search_exact

    @property
    def rows(self) -> int:
        return len(self._vectors)

    def search(
        self, queries: Vectors, k: int, params: Params, mask: RowMask | None, threads: int = 1
    ) -> Found:
        return self._search(queries, self._vectors, self._metric, k, mask, threads)


class RawKernel:
    def build(self, job: BuildJob) -> None:
        """Writes nothing."""

    def open(self, data: Bytes, flat: Bytes, metric: MetricType) -> OpenRaw:
        return OpenRaw((bits_of if metric.is_binary else vectors_of)(flat), metric)


class RawSizes(Sizes):
    def image(self, of: IndexInput) -> int:
        return 0

    def read(self, of: IndexInput) -> int:
        return of.bytes


SPECS = (
    IndexSpec(
        number=1,
        name="FLAT",
        kernel=RawKernel(),
        metrics=FLOAT_METRICS | BINARY_METRICS,
        sizes=RawSizes(),
        stats_name="IDMAP",
    ),
)
