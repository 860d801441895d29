"""Rows as real data has them: all different, copies of a few, zeros, or such that no search finds.

What is in them follows from a seed, so a journal need not hold them. They are compared by their
bytes, for NaN is equal to nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from milvine.types import MetricType, Vectors

CONTENTS = ("plain", "copies", "zeros", "nonfinite")
"""What a batch of rows may be: see `vectors_of`."""
_COPIED = 3  # vectors that are copied, of each width
_SPOILT = (np.nan, np.inf, -np.inf, 3e38)  # the last is finite, and only its square is not


def vectors_of(
    seed: int, rows: int, width: int, metric: MetricType, content: str = "plain"
) -> Vectors:
    """(rows, width) of the metric's dtype, always the same for a seed.

    `plain` rows are all different, and nobody else's. `copies` are all one of three vectors, which
    other seeds have as well. About half of `nonfinite` ones have an element that is NaN, infinite
    or, where it is squared, too large; bits have no such thing, they are plain then.
    """
    if content == "zeros":
        return np.zeros((rows, width), metric.dtype)
    if content == "copies":
        # (3, 0) would be the generator of 3.
        one = np.random.default_rng((_COPIED, 1 + seed % _COPIED))
        return np.repeat(_random(one, 1, width, metric), rows, axis=0)
    random = np.random.default_rng(seed)
    vectors = _random(random, rows, width, metric)
    if content == "nonfinite" and not metric.is_binary:
        elements = _SPOILT if metric is MetricType.L2 else _SPOILT[:-1]
        spoilt = np.flatnonzero(random.random(rows) < 0.5)
        vectors[spoilt, random.integers(width, size=len(spoilt))] = random.choice(
            elements, len(spoilt)
        )
    return vectors


def _random(random: np.random.Generator, rows: int, width: int, metric: MetricType) -> Vectors:
    if metric.is_binary:
        return random.integers(0, 256, (rows, width), np.uint8)
    return random.random((rows, width), np.float32)


def same_rows(some: Vectors, others: Vectors) -> NDArray[np.bool_]:
    """(n,) whether rows (n, width) are those of `others`, byte for byte."""
    pair: list[NDArray[Any]] = [
        np.ascontiguousarray(each).view(np.uint8) for each in (some, others)
    ]
    return np.asarray((pair[0] == pair[1]).all(axis=1))


def findable(vectors: Vectors) -> NDArray[np.bool_]:
    """(n,) whether a search may find a row, or ask for it: its squared length is finite."""
    if vectors.dtype == np.uint8:
        return np.ones(len(vectors), bool)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.isfinite((vectors.astype(np.float32) ** 2).sum(axis=1)))
