"""Rows with zeros behind them, which change no distance.

faiss compares codes of a byte ten times as quickly where their number is a multiple of 8.
"""

from __future__ import annotations

import numpy as np

from milvine.types import Floats

BYTES_AT_A_TIME = 8


def wide(dimension: int) -> int:
    """The next multiple of 8."""
    return dimension + -dimension % BYTES_AT_A_TIME


def widened(vectors: Floats, width: int) -> Floats:
    """float32 (rows, dimension) as (rows, width): a copy, but where that is the dimension
    already.
    """
    rows, dimension = vectors.shape
    if width == dimension:
        return vectors
    out = np.zeros((rows, width), dtype=np.float32)
    out[:, :dimension] = vectors
    return out
