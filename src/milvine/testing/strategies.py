"""What the state machine may think of: names, ids, vectors of every shape, and what callers take a
collection for.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from milvine.limits import DEFAULT_TAG
from milvine.types import IndexSetting, IndexType, MetricType, Vectors

names = st.sampled_from(["books", "books", "books", "films"])
tags = st.sampled_from(["", "", DEFAULT_TAG, "old", "new"])
patterns = st.lists(st.sampled_from([DEFAULT_TAG, "old", "new", "o.*", ".*", "none"]), max_size=2)
id_lists = st.lists(st.integers(-3, 30), min_size=1, max_size=12)
seeds = st.integers(0, 2**32 - 1)
indexes = st.sampled_from([IndexSetting(), IndexSetting.of(IndexType.IVF_FLAT, {"nlist": 8})])


class Shape(NamedTuple):
    dimension: int
    metric: MetricType


SHAPES = (
    Shape(4, MetricType.L2),
    Shape(4, MetricType.IP),
    Shape(7, MetricType.L2),
    Shape(32, MetricType.HAMMING),  # as many elements as the first
    Shape(128, MetricType.HAMMING),
)
shapes = st.sampled_from(SHAPES)
thoughts = st.one_of(*[st.none()] * 4, shapes)
"""What a caller takes for the shape of a collection: mostly what it is, None."""
contents = st.sampled_from(["plain", "plain", "plain", "copies", "zeros", "unfindable"])


def some_vectors(seed: int, rows: int, shape: Shape, content: str = "plain") -> Vectors:
    """Rows for a collection of that shape: (rows, dimension) float32, or (rows,
    dimension / 8) uint8."""
    random, metric = np.random.default_rng(seed), shape.metric
    size = 1 if content == "copies" else rows, metric.width(shape.dimension)
    low, high = (0, 256) if metric.is_binary else (-3, 4)
    vectors = random.integers(low, high, size).astype(metric.dtype)
    if content == "copies":
        return np.repeat(vectors, rows, axis=0)
    if content == "zeros":
        vectors[random.random(rows) < 0.7] = 0
    if content == "unfindable" and not metric.is_binary:
        spoilt = random.random(rows) < 0.5
        vectors[spoilt, 0] = random.choice([np.nan, np.inf, -np.inf], np.count_nonzero(spoilt))
    return vectors
