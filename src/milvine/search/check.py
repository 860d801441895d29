"""What a search must satisfy before it is planned, held against the definition of the version that
is searched, never one that was looked up before.
"""

from __future__ import annotations

from operator import index
from typing import SupportsIndex

import numpy as np

from milvine.errors import IllegalTopk
from milvine.index.params import check_search_params, scoring_metric
from milvine.limits import TOPK_MAX
from milvine.types import Collection


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
