"""What a definition must satisfy before the catalog gets it, in the words of the specification (3.0
to 3.20).

Doors ask first, to refuse in the right order; the engine asks again, of the collection that it is
about to change. What the catalog holds can therefore always be read back. Existence and duplicates
are checked where nothing races them.
"""

from __future__ import annotations

import json
import math
import re

from milvine.errors import (
    IllegalArgument,
    IllegalCollectionName,
    IllegalDimension,
    IllegalIndexType,
    IllegalMetricType,
)
from milvine.index.registry import faults, is_there, serving, spec
from milvine.limits import (
    DIMENSION_MAX,
    DIMENSION_MIN,
    INDEX_FILE_SIZE_MAX_MB,
    INDEX_FILE_SIZE_MIN_MB,
    NAME_BYTES_MAX,
)
from milvine.types import Collection, IndexSetting, IndexType, MetricType

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_INDEX_TYPE_MAX = 12  # 9 and 10 are internal to 1.x and no member of IndexType
_PARAMS_DEPTH_MAX, _PARAMS_BYTES_MAX = 32, 64 << 10


def check_name(name: str) -> None:
    """Raises IllegalCollectionName."""
    if not isinstance(name, str):
        raise IllegalCollectionName(f"A collection name is a text, not {type(name).__name__}")
    if len(name) <= NAME_BYTES_MAX and _NAME.match(name):
        return
    if not name:
        raise IllegalCollectionName("Collection name should not be empty.")
    refusal = None
    if len(name.encode(errors="replace")) > NAME_BYTES_MAX:
        refusal = f"The length of a collection name must be less than {NAME_BYTES_MAX} characters."
    elif not _NAME.match(name[0]):
        refusal = "The first character of a collection name must be an underscore or letter."
    elif not _NAME.match(name):
        refusal = "Collection name can only contain numbers, letters, and underscores."
    if refusal:
        raise IllegalCollectionName(f"Invalid collection name: {name}. {refusal}")


def checked_metric(dimension: int, index_file_size_mb: int, metric: int) -> MetricType:
    """The metric of a new collection whose numbers are all in range.

    Raises:
        IllegalDimension, IllegalArgument, IllegalMetricType: the first that is not.
    """
    if not all(isinstance(each, int) for each in (dimension, index_file_size_mb, metric)):
        raise IllegalArgument("Dimension, index file size and metric must be whole numbers")
    if not DIMENSION_MIN <= dimension <= DIMENSION_MAX:
        raise IllegalDimension(
            f"Invalid collection dimension: {dimension}. The collection dimension must be within"
            f" the range of {DIMENSION_MIN} ~ {DIMENSION_MAX}."
        )
    if MetricType.HAMMING <= metric <= MetricType.SUPERSTRUCTURE and dimension % 8:
        raise IllegalDimension(
            f"Invalid collection dimension: {dimension}. The collection dimension must be a"
            " multiple of 8"
        )
    if not INDEX_FILE_SIZE_MIN_MB <= index_file_size_mb <= INDEX_FILE_SIZE_MAX_MB:
        raise IllegalArgument(
            f"Invalid index file size: {index_file_size_mb}. The index file size must be within the"
            f" range of {INDEX_FILE_SIZE_MIN_MB} ~ {INDEX_FILE_SIZE_MAX_MB}."
        )
    if not MetricType.L2 <= metric <= MetricType.SUPERSTRUCTURE:
        raise IllegalMetricType(
            f"Invalid index metric type: {metric}. Make sure the metric type is in MetricType list."
        )
    return MetricType(metric)


def checked_index_type(index_type: int, params: object, collection: Collection) -> IndexType:
    """The type of an index to create, its parameters checked.

    Raises:
        IllegalIndexType, IllegalArgument, IllegalDimension.
    """
    if not IndexType.FLAT <= index_type <= _INDEX_TYPE_MAX and not is_there(index_type):
        reasons = ["Make sure the index type is in IndexType list", *faults(index_type)]
        raise IllegalIndexType(f"Invalid index type: {int(index_type)}. {'. '.join(reasons)}.")
    if IndexType.SPTAG_KDT <= index_type < IndexType.HNSW:
        raise IllegalIndexType(f"Unsupported index type: {index_type}")
    check_storable(params)
    spec(index_type).check_build(params, collection.dimension)
    served = serving(index_type, collection.metric)
    if served is None:
        raise IllegalIndexType("Invalid index type for collection metric type")
    return served.type


def check_storable(params: object) -> None:
    """Whether index parameters, which are kept and told again as they are, can
    be read back by everybody.

    Raises:
        IllegalArgument: they nest deeper than 32 levels, hold numbers that are not finite or over
            64 bits, or text that is none, or take more than 64 KB.
    """
    _check_values(params, _PARAMS_DEPTH_MAX)
    try:
        json.dumps(params, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise IllegalArgument(
            "The index parameters hold half of a surrogate pair, which is no text"
        ) from None
    if len(json.dumps(params)) > _PARAMS_BYTES_MAX:
        raise IllegalArgument(f"The index parameters take more than {_PARAMS_BYTES_MAX} bytes")


def _check_values(value: object, depth: int) -> None:
    if isinstance(value, (dict, list)):
        if not depth:
            raise IllegalArgument(
                f"The index parameters nest deeper than {_PARAMS_DEPTH_MAX} levels"
            )
        for each in value.values() if isinstance(value, dict) else value:
            _check_values(each, depth - 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise IllegalArgument("The index parameters hold a number that is not finite")
    elif isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        raise IllegalArgument("The index parameters hold a number of more than 64 bits")


def check_index(setting: IndexSetting, collection: Collection) -> None:
    """Whether an index can be the setting of a collection, as it is now.

    Raises:
        IllegalIndexType, IllegalArgument, IllegalDimension.
    """
    try:
        params = json.loads(setting.params_json)
    except (ValueError, TypeError, RecursionError) as error:
        raise IllegalArgument(f"The index parameters are no JSON: {error}") from None
    checked_index_type(setting.type, params, collection)
