"""What is to be sized, and the segments it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

from milvine.errors import IllegalArgument, IllegalDimension, IllegalIndexType, Unsupported
from milvine.index.codes.quantizer import pays
from milvine.index.registry import serving, spec
from milvine.index.spec import IndexInput, Sizes
from milvine.limits import (
    CODES_BYTES_MIN,
    DIMENSION_MAX,
    DIMENSION_MIN,
    INDEX_FILE_SIZE_DEFAULT_MB,
    INDEX_FILE_SIZE_MAX_MB,
    INDEX_FILE_SIZE_MIN_MB,
    INDEX_ROWS_MIN,
    MIB,
)
from milvine.types import IndexType, MetricType

VECTORS_MAX = 1 << 40


@dataclass(frozen=True, slots=True)
class Load:
    """A collection to be sized: rows, and how they are stored, indexed and written.

    `rows_per_insert`: the log and the segments know when rows came, once per insert.
    `ascending_ids`: ids that grow with every row, as generated ones do, need no stored order.
    `search_threads`: searches that run at the same time.
    """

    vectors: int
    dimension: int
    metric: MetricType = MetricType.L2
    index_type: IndexType = IndexType.FLAT
    params: Mapping[str, Any] = field(default_factory=dict)
    index_file_size_mb: int = INDEX_FILE_SIZE_DEFAULT_MB
    rows_per_insert: int = 1000
    ascending_ids: bool = True
    search_threads: int = 1

    @property
    def row_bytes(self) -> int:
        return self.metric.width(self.dimension) * self.metric.dtype.itemsize

    @property
    def sizes(self) -> Sizes:
        """Of the index type."""
        return spec(self.index_type, self.metric.is_binary).sizes

    def indexed(self, rows: int) -> IndexInput:
        """So many of the rows, as an index is built over them."""
        return IndexInput(rows, self.dimension, self.metric, self.params)

    def segments(self) -> tuple[Segment, ...]:
        """Those of `vectors` rows in one partition, once background merges have nothing
        left to do.
        """
        full = -(-self.index_file_size_mb * MIB // (self.row_bytes + 8))
        count, rest = divmod(self.vectors, full)
        sizes = [full] * count + [rest] * (rest > 0)
        return tuple(Segment(rows, rows >= self._indexed_from) for rows in sizes)

    @property
    def _indexed_from(self) -> float:
        """Rows from which on a segment has an index, or codes."""
        if self.index_type is not IndexType.FLAT:
            return INDEX_ROWS_MIN
        if self.metric.is_binary or not pays(self.dimension):
            return inf
        return max(INDEX_ROWS_MIN, CODES_BYTES_MIN / (self.row_bytes + 8))


@dataclass(frozen=True, slots=True)
class Segment:
    rows: int
    indexed: bool


def check(load: Load) -> None:
    """Refuse what no collection can be.

    Raises:
        IllegalArgument: a number is out of range, or an index parameter missing or out of range.
        IllegalDimension: the dimension is out of range or does not fit metric or index.
        IllegalIndexType: the type does not serve the metric.
    """
    _within("vectors", load.vectors, 1, VECTORS_MAX)
    _within(
        "index_file_size", load.index_file_size_mb, INDEX_FILE_SIZE_MIN_MB, INDEX_FILE_SIZE_MAX_MB
    )
    _within("rows_per_insert", load.rows_per_insert, 1, VECTORS_MAX)
    _within("search_threads", load.search_threads, 1, 4096)
    if not DIMENSION_MIN <= load.dimension <= DIMENSION_MAX:
        raise IllegalDimension(
            f"Invalid dimension: {load.dimension}. Valid range is [{DIMENSION_MIN},"
            f" {DIMENSION_MAX}]"
        )
    if load.metric.is_binary and load.dimension % 8:
        raise IllegalDimension(
            f"Invalid dimension: {load.dimension}. Binary vectors have a multiple of 8 dimensions"
        )
    _check_index(load)


def _check_index(load: Load) -> None:
    try:
        serves = serving(load.index_type, load.metric)
    except Unsupported as unsupported:
        raise IllegalIndexType(str(unsupported)) from None
    if serves is None:
        raise IllegalIndexType(
            f"Index type {load.index_type.name} does not serve {load.metric.name} vectors"
        )
    serves.check_build(load.params, load.dimension)


def _within(key: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise IllegalArgument(f"Invalid {key} value: {value}. Valid range is [{least}, {most}]")
