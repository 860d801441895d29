"""Parameters of searches and builds against the type that an index is of.

The ranges stand in each type's spec. They are the union of two generations of Milvus 1.x: those of
the 1.1 server and those of the "Hello World" page, which are older (specification 3.5 and 3.13).
Values are read as that server reads them: whatever JSON calls a number is truncated to an integer,
so 16.9 is 16; true and false are not numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from milvine.index.registry import known, spec
from milvine.index.spec import IndexSpec, Range, integer
from milvine.types import MetricType

_METRIC_TYPE = "metric_type"


def check_search_params(index_type: int, params: object, topk: int) -> None:
    """Refuse search parameters that do not fit the collection's index setting.

    Args:
        params: the decoded JSON value, of any kind; unknown keys are allowed, and FLAT takes
            anything.
        topk: at least 1, checked before.

    Raises:
        IllegalArgument: a parameter is missing, no number or out of range.
        Unsupported: the type is not there, as where what added it is not installed any more.
    """
    spec(index_type).check_search(params, topk)


def search_keys() -> tuple[str, ...]:
    """Every key of search parameters that means something."""
    return _search_keys(known())


@cache
def _search_keys(specs: tuple[IndexSpec, ...]) -> tuple[str, ...]:
    keys = dict.fromkeys(each.key for one in specs for each in one.search)
    return (*keys, _METRIC_TYPE)


def scoring_metric(params: object, metric: MetricType) -> MetricType:
    """The metric that raw segments are scored with: `metric`, or the override `metric_type` of the
    search parameters.

    Raises:
        IllegalArgument: the override is no number or belongs to the other family of metrics (float
            or binary).
    """
    if not isinstance(params, (dict, Mapping)) or _METRIC_TYPE not in params:
        return metric
    family = (
        (MetricType.HAMMING, MetricType.SUPERSTRUCTURE)
        if metric.is_binary
        else (MetricType.L2, MetricType.IP)
    )
    Range(_METRIC_TYPE, *family).check(params, 0)
    return MetricType(integer(params, _METRIC_TYPE))
