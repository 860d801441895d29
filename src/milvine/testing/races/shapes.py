"""Rows that tell what they are: the id of a row says its shape and its vector.

So whoever gets a row knows whether it may be in the answer, whatever collection of that name there
was at the moment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from milvine.testing.oracle import pair_bits, pair_distances
from milvine.types import Ids, MetricType, Vectors

_IDS = 10**12  # of one shape
_MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True)
class Shape:
    """A dimension, and the metrics that a collection of that dimension may have: all
    float, or all binary."""

    number: int
    dimension: int
    metrics: tuple[MetricType, ...]

    @property
    def is_binary(self) -> bool:
        return self.metrics[0].is_binary

    @property
    def width(self) -> int:
        """Elements of a vector: float32, or uint8."""
        return self.metrics[0].width(self.dimension)

    def first_id(self, serial: int) -> int:
        return self.number * _IDS + serial


_FLOAT, _BINARY = (MetricType.L2, MetricType.IP), (MetricType.HAMMING, MetricType.JACCARD)
SHAPES = tuple(
    Shape(number, dimension, metrics)
    for number, (dimension, metrics) in enumerate(
        [(2, _FLOAT), (8, _FLOAT), (50, _FLOAT), (256, _FLOAT), (64, _BINARY), (512, _BINARY)]
    )
)
"""Sizes that are easily mistaken: 3 queries of 2 dimensions are as long as one of 8, 5 of 50 as one
of 256, and 64 bits take as many elements as 8 floats."""


def distinct_in_json(shapes: Sequence[Shape]) -> list[Shape]:
    """Those that JSON tells apart, where a float and a byte are the same number."""
    widths = Counter(shape.width for shape in shapes)
    return [shape for shape in shapes if widths[shape.width] == 1 or not shape.is_binary]


def numbers_of(ids: Ids) -> Ids:
    """The number of the shape of each id, (n,)."""
    return ids // _IDS


def vectors_of(ids: Ids, shape: Shape) -> Vectors:
    """The vectors that belong to ids of a shape, (n, width): small whole numbers, or bytes."""
    mixed: NDArray[Any] = (ids[:, None] * (1 << 12) + np.arange(shape.width)).astype(np.uint64)
    for shift, factor in zip((30, 27, 31), _MIX, strict=True):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * factor
    if shape.is_binary:
        return np.asarray(mixed >> np.uint64(32), np.uint8)
    return np.asarray((mixed >> np.uint64(32)) % np.uint64(17), np.float32) - 8


def distances(query: Vectors, rows: Vectors, metric: MetricType) -> NDArray[np.float64]:
    """Of one query (1, width) to rows (n, width), (n,)."""
    pairs = (
        pair_bits(query, rows, metric) if metric.is_binary else pair_distances(query, rows, metric)
    )
    return np.asarray(pairs[0])
