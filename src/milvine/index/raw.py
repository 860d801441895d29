"""FLAT: exact search over the segment's rows, float or binary. Codes of float rows, where there are
any, say which rows to compare.
"""

from __future__ import annotations

from importlib import import_module

from milvine.index.base import BuildJob, OpenIndex, Params
from milvine.index.binary import search_bits
from milvine.index.codes.image import CODES_HEADER_BYTES, codes_bytes, read_codes
from milvine.index.codes.quantizer import PIECE_BYTES, pays, sample_bytes
from milvine.index.codes.search import OpenCodes
from milvine.index.exact import search_exact
from milvine.index.flat import bits_of, vectors_of
from milvine.index.score import Found
from milvine.index.spec import BINARY_METRICS, FLOAT_METRICS, IndexInput, IndexSpec, Sizes
from milvine.types import Bytes, MetricType, RowMask, Vectors


class OpenRaw:
    """Exact search over float32 (rows, dimension), or over uint8 (rows, dimension / 8)."""

    def __init__(self, vectors: Vectors, metric: MetricType) -> None:
        self._vectors, self._metric = vectors, metric
        self._picked: Vectors | None = None

    def scan_rows_in(self, vectors: Vectors) -> None:
        self._vectors, self._picked = vectors, self._vectors

    @property
    def rows(self) -> int:
        return len(self._vectors)

    def search(
        self, queries: Vectors, k: int, params: Params, mask: RowMask | None, threads: int = 1
    ) -> Found:
        if self._metric.is_binary:
            return search_bits(queries, self._vectors, self._metric, k, mask, threads)
        picked = self._picked
        return search_exact(queries, self._vectors, self._metric, k, mask, threads, picked)


class RawKernel:
    def build(self, job: BuildJob) -> None:
        """Writes the codes of float rows, or that there are none. Nothing of binary ones."""
        if not job.metric.is_binary:
            # Imported here: a server, whose builds have processes of their own, makes none.
            import_module("milvine.index.codes.build").build_codes(job)

    def open(self, data: Bytes, flat: Bytes, metric: MetricType) -> OpenIndex:
        """`data` may be empty: there are no codes then."""
        if metric.is_binary:
            return OpenRaw(bits_of(flat), metric)
        vectors = vectors_of(flat)
        coded = read_codes(data, vectors.shape, metric) if data.size else None
        return (
            OpenRaw(vectors, metric) if coded is None else OpenCodes(data, vectors, metric, *coded)
        )


class CodesSizes(Sizes):
    """Of the codes of float rows, where those are small beside the rows."""

    def image(self, of: IndexInput) -> int:
        if of.metric.is_binary:
            return 0
        return codes_bytes(of.rows, of.dimension) if pays(of.dimension) else CODES_HEADER_BYTES

    def read(self, of: IndexInput) -> int:
        return of.bytes if of.metric.is_binary or not pays(of.dimension) else self.image(of)

    def building(self, of: IndexInput, memory: int = 0) -> int:
        """Two numbers for each row, the sample with its codes as floats and as faiss has them, and
        what is made of a piece of rows.
        """
        if of.metric.is_binary:
            return 0
        return 16 * of.rows + 3 * sample_bytes(memory) + 6 * PIECE_BYTES


SPECS = (
    IndexSpec(
        number=1,
        name="FLAT",
        kernel=RawKernel(),
        metrics=FLOAT_METRICS | BINARY_METRICS,
        sizes=CodesSizes(),
        stats_name="IDMAP",
    ),
)
