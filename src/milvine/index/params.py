"""Parameters of searches and builds against the type that an index is of.

The ranges stand in each type's spec. They are the union of two generations of Milvus 1.x: those of
the 1.1 server and those of the "Hello World" page, which are older (specification 3.5 and 3.13).
Values are read as that server reads them: whatever JSON calls a number is truncated to an integer,
so 16.9 is 16; true and false are not numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from milvine.errors import IllegalArgument
from milvine.index.registry import known, spec
from milvine.index.spec import IndexSpec, Range, integer
from milvine.types import IndexType, MetricType

RECALL = "recall"
"""What a search may ask for in place of the parameters of its index type."""
_METRIC_TYPE = "metric_type"


def check_search_params(index_type: int, params: object, topk: int) -> None:
    """Refuse search parameters that do not fit the collection's index setting.

    Args:
        params: the decoded JSON value, of any kind; unknown keys are allowed, and FLAT takes
            anything.
        topk: at least 1, checked before.

    Raises:
        IllegalArgument: a parameter is missing, no number or out of range; or a recall is asked
            for, and it cannot be.
        Unsupported: the type is not there, as where what added it is not installed any more.
    """
    kind = spec(index_type)
    if not _asks(kind, params):
        return kind.check_search(params, topk)
    _check_recall(kind, params)


def _asks(kind: IndexSpec, params: object) -> bool:
    """Whether a recall is asked for: a type may have a parameter of that name."""
    named = isinstance(params, Mapping) and RECALL in params
    return named and all(each.key != RECALL for each in kind.search)


def _check_recall(kind: IndexSpec, params: object) -> None:
    """Raises IllegalArgument."""
    assert isinstance(params, Mapping)
    value = params[RECALL]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
        raise IllegalArgument(f"Invalid recall: {value!r:.100}. Give a number above 0, up to 1")
    if kind.type == IndexType.FLAT:
        return
    if kind.breadth is None:
        raise IllegalArgument(
            f"Index type {kind.name} does not say which of its parameters a recall depends on."
            " Give its search parameters in place of recall"
        )
    for each in kind.search:
        if each.key in params:
            raise IllegalArgument(
                f"Give recall or {each.key}, not both: recall stands in place of the search"
                f" parameters of {kind.name}"
            )


def search_keys() -> tuple[str, ...]:
    """Every key of search parameters that means something."""
    return _search_keys(known())


@cache
def _search_keys(specs: tuple[IndexSpec, ...]) -> tuple[str, ...]:
    keys = dict.fromkeys(each.key for one in specs for each in one.search)
    return (*keys, RECALL, _METRIC_TYPE)


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
