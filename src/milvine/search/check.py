"""What a query must satisfy before a kernel sees it, held against the definition of the version
that is searched.

Kernels take addresses: queries of another width would be read beyond their end. So the definition
is that of the version which is searched, never one that was looked up before.
"""

from __future__ import annotations

from operator import index
from typing import SupportsIndex

import numpy as np

from milvine.errors import IllegalDimension, IllegalTopk
from milvine.index.params import check_search_params, scoring_metric
from milvine.limits import TOPK_MAX
from milvine.types import Collection, Vectors


def whole_topk(topk: object) -> int:
    """A topk of another type than int, as numpy's integers are.

    Raises:
        IllegalTopk: it is no whole number.
    """
    if isinstance(topk, SupportsIndex) and not isinstance(topk, bool | np.bool_):
        return index(topk)
    raise IllegalTopk(f"The topk must be an int, not {type(topk).__name__}")


def check_topk(topk: int) -> None:
    """Raises IllegalTopk."""
    if not 1 <= topk <= TOPK_MAX:
        raise IllegalTopk(
            f"Invalid topk: {topk}. The topk must be within the range of 1 ~ {TOPK_MAX}."
        )


def check_params(params: object, topk: int, collection: Collection) -> None:
    """Search parameters against the collection's index setting, built or not, and its metric.

    Raises:
        IllegalArgument.
    """
    check_search_params(collection.index.type, params, topk)
    scoring_metric(params, collection.metric)


def check_vectors(vectors: Vectors, collection: Collection) -> None:
    """Raises IllegalDimension."""
    width, dtype = collection.width, collection.dtype
    if (
        not isinstance(vectors, np.ndarray)
        or vectors.ndim != 2
        or vectors.shape[1] != width
        or vectors.dtype != dtype
        or not vectors.flags.c_contiguous
    ):
        found = (
            f"{vectors.dtype} {vectors.shape}" if isinstance(vectors, np.ndarray) else "no array"
        )
        raise IllegalDimension(
            f"The vectors are {found}; collection {collection.name} takes"
            f" {dtype} (n, {width}), C-contiguous"
        )
