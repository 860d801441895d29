"""The one table of index parameters: what may be built, what may be searched, and the errors when
it may not.

The ranges are the union of two generations of Milvus 1.x: those of the 1.1 server and those of the
"Hello World" page, which are older (specification 3.5 and 3.13). Values are read as that server
reads them: whatever JSON calls a number is truncated to an integer, so 16.9 is 16; true and false
are not numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from milvine.errors import IllegalArgument, IllegalDimension
from milvine.types import IndexType, MetricType

NLIST_MAX = 999_999
EF_MAX = 32_768
INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1
NBITS_DEFAULT = 8

_JSON_NAMES = {
    type(None): "null",
    bool: "boolean",
    str: "string",
    list: "array",
    tuple: "array",
    dict: "object",
}


@dataclass(frozen=True, slots=True)
class Range:
    """One integer parameter: its name and bounds, both included.

    One with a default may be left out. So may an optional one, which then does nothing.
    """

    key: str
    least: int
    most: int
    default: int | None = None
    optional: bool = False


_NLIST = Range("nlist", 1, NLIST_MAX)
_NBITS = Range("nbits", 1, 16, NBITS_DEFAULT)
_NPROBE = Range("nprobe", 1, NLIST_MAX)
REFINE = "refine"
REFINE_MAX = 1000
_MAY_REFINE = Range(REFINE, 1, REFINE_MAX, optional=True)
REFINES: Mapping[IndexType, int] = {
    IndexType.IVF_PQFS: 8,
    IndexType.IVF_RABITQ: 8,
    IndexType.HNSW_SQ8: 2,
}
"""Types that always compare candidates exactly, and how many for each wanted hit where a search
does not say.

On 80,000 rows of glove100 and 40,000 of wordnet_minilm384 more of them found nothing more, half as
many 0.2 to 0.9 in 100 less (IVF_RABITQ: 0.5 to 2.5).
"""
_GRAPH = (Range("M", 4, 64), Range("efConstruction", 8, 512))
_SEARCH_LENGTH = Range("search_length", 10, 300)

BUILD_RANGES: Mapping[IndexType, tuple[Range, ...]] = {
    IndexType.FLAT: (),
    IndexType.IVF_FLAT: (_NLIST,),
    IndexType.IVF_SQ8: (_NLIST,),
    IndexType.IVF_SQ8H: (_NLIST,),
    IndexType.IVF_PQ: (_NLIST, _NBITS),  # and m, whose bound is the dimension: subspaces
    IndexType.RNSG: (
        _SEARCH_LENGTH,
        Range("out_degree", 5, 300),
        Range("candidate_pool_size", 50, 1000),
        Range("knng", 5, 300),
    ),
    IndexType.HNSW: _GRAPH,
    IndexType.ANNOY: (Range("n_trees", 1, 1024),),
    IndexType.IVF_PQFS: (_NLIST,),  # and m, which may be left out
    IndexType.IVF_RABITQ: (_NLIST,),
    IndexType.HNSW_SQ8: _GRAPH,
}
"""Build parameters of each type, in the order of their checks."""

WITH_SUBSPACES = frozenset({IndexType.IVF_PQ, IndexType.IVF_PQFS})
"""Types that have m besides."""


def _refine(index_type: IndexType) -> Range:
    return Range(REFINE, 1, REFINE_MAX, REFINES[index_type])


SEARCH_RANGES: Mapping[IndexType, Callable[[int], tuple[Range, ...]]] = {
    IndexType.IVF_FLAT: lambda topk: (_NPROBE,),
    IndexType.IVF_SQ8: lambda topk: (_NPROBE, _MAY_REFINE),
    IndexType.IVF_SQ8H: lambda topk: (_NPROBE, _MAY_REFINE),
    IndexType.IVF_PQ: lambda topk: (_NPROBE, _MAY_REFINE),
    IndexType.RNSG: lambda topk: (_SEARCH_LENGTH,),
    IndexType.HNSW: lambda topk: (Range("ef", topk, EF_MAX),),
    IndexType.ANNOY: lambda topk: (Range("search_k", INT64_MIN, INT64_MAX),),
    IndexType.IVF_PQFS: lambda topk: (_NPROBE, _refine(IndexType.IVF_PQFS)),
    IndexType.IVF_RABITQ: lambda topk: (_NPROBE, _refine(IndexType.IVF_RABITQ)),
    IndexType.HNSW_SQ8: lambda topk: (Range("ef", topk, EF_MAX), _refine(IndexType.HNSW_SQ8)),
}
"""The search parameters of each type that has any, given topk, in the order of their checks."""

SEARCH_KEYS = (
    *dict.fromkeys(each.key for bounds in SEARCH_RANGES.values() for each in bounds(1)),
    "metric_type",
)
"""Every key of search parameters that means something."""


def check_build_params(index_type: IndexType, params: object, dimension: int) -> None:
    """Refuse parameters that `create_index` may not store.

    Args:
        params: the decoded JSON value, of any kind; unknown keys are allowed.
        dimension: of the collection, at least 1.

    Raises:
        IllegalArgument: a parameter is missing, no number or out of range.
        IllegalDimension: m does not divide the dimension.
    """
    for bounds in BUILD_RANGES.get(index_type, ()):
        _check(params, bounds)
    if index_type in WITH_SUBSPACES:
        subspaces(index_type, params, dimension)


def check_search_params(index_type: IndexType, params: object, topk: int) -> None:
    """Refuse search parameters that do not fit the collection's index setting.

    Args:
        params: the decoded JSON value, of any kind; unknown keys are allowed, and FLAT takes
            anything.
        topk: at least 1, checked before.

    Raises:
        IllegalArgument: a parameter is missing, no number or out of range.
    """
    bounds = SEARCH_RANGES.get(index_type)
    for each in bounds(topk) if bounds is not None else ():
        _check(params, each)


def scoring_metric(params: object, metric: MetricType) -> MetricType:
    """The metric that raw segments are scored with: `metric`, or the override `metric_type` of the
    search parameters.

    Raises:
        IllegalArgument: the override is no number or belongs to the other family of metrics (float
            or binary).
    """
    if not isinstance(params, (dict, Mapping)) or "metric_type" not in params:
        return metric
    family = (
        (MetricType.HAMMING, MetricType.SUPERSTRUCTURE)
        if metric.is_binary
        else (MetricType.L2, MetricType.IP)
    )
    bounds = Range("metric_type", *family)
    _check(params, bounds)
    return MetricType(integer(params, "metric_type"))


def integer(params: object, key: str, default: int | None = None) -> int:
    """The value of `key`, truncated to an integer.

    Raises:
        IllegalArgument: it is missing and there is no default, or it is no number.
    """
    if not isinstance(params, (dict, Mapping)) or key not in params:
        if default is None:
            raise IllegalArgument(f"Parameter list must contain: {key}")
        return default
    value: Any = params[key]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        name = _JSON_NAMES.get(type(value), "object")
        raise IllegalArgument(
            f"Invalid {key}: [json.exception.type_error.302] type must be number, but is {name}"
        )
    try:
        return int(value)
    except (ValueError, OverflowError):  # NaN and infinity, which JSON proper cannot say
        raise IllegalArgument(f"Invalid {key} value: {value}") from None


def _check(params: object, bounds: Range) -> None:
    if bounds.optional and not (isinstance(params, Mapping) and bounds.key in params):
        return
    value = integer(params, bounds.key, bounds.default)
    if not bounds.least <= value <= bounds.most:
        raise IllegalArgument(
            f"Invalid {bounds.key} value: {value}. Valid range is [{bounds.least}, {bounds.most}]"
        )


def subspaces(index_type: IndexType, params: object, dimension: int) -> int:
    """m: any divisor of the dimension; 0 killed the 1.x server. By default IVF_PQFS has two
    dimensions in each, or one.

    Raises:
        IllegalArgument: it is missing where there is no default, no number, or not positive.
        IllegalDimension: it does not divide the dimension.
    """
    m = integer(
        params,
        "m",
        (dimension // (2 - dimension % 2)) if index_type is IndexType.IVF_PQFS else None,
    )
    if m <= 0:
        raise IllegalArgument(f"Invalid m value: {m}")
    if dimension % m:
        raise IllegalDimension("Invalid collection dimension, dimension can not be divided by m")
    return m
