"""Rows that no search finds: one with NaN or infinity, or so long that its squared length overflows
float32.

Milvus 1.x stores them, and so does Milvine. (One that is merely too long is found by a query almost
equal to it.)
"""

from __future__ import annotations

import numpy as np

from milvine.errors import IllegalRowRecord
from milvine.types import Ids, Vectors

_NONE: Ids = np.empty(0, np.int64)


def nonfinite_rows(vectors: Vectors) -> Ids:
    """The numbers, ascending, of the rows of (n, width) whose squared length is not finite in
    float32.

    None of uint8. Where all are sound, which is the rule, this is one product of the whole with
    itself.
    """
    if vectors.dtype != np.float32:
        return _NONE
    flat = vectors.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(np.dot(flat, flat)):
            return _NONE
        return np.flatnonzero(~np.isfinite(np.einsum("ij,ij->i", vectors, vectors)))


def check_finite(vectors: Vectors) -> None:
    """Raises IllegalRowRecord where a search could not find a row."""
    rows = nonfinite_rows(vectors)
    if len(rows):
        raise IllegalRowRecord(
            f"Vector {rows[0]} of {len(vectors)}, counted from 0, holds NaN or infinity or is"
            f" longer than float32 can say: no search would find it ({len(rows)} such vectors in"
            " all)"
        )


class NonfiniteRows:
    """Numbers of such rows in rows that are only ever added to: each is looked at once, when
    somebody first asks.
    """

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen = (0, _NONE)  # replaced as a whole, and every one is right: nothing is locked

    def of(self, vectors: Vectors) -> Ids:
        """Those among the first rows, `vectors` (n, width)."""
        looked, found = self._seen
        if looked < len(vectors):
            found = np.concatenate([found, looked + nonfinite_rows(vectors[looked:])])
            self._seen = (len(vectors), found)
        return found[: np.searchsorted(found, len(vectors))]
