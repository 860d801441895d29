"""Arguments of calls, checked before anything is sent (specification 5.5). Each check returns the
value to send.

1.x takes lists only; here numpy arrays of any real dtype, tuples and whatever numpy can read are as
good.
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from enum import IntEnum
from functools import lru_cache
from typing import Any, TypeGuard, TypeVar

import numpy as np

from milvine.client.elements import first_masked, some_are_masked
from milvine.client.elements import ids as ids
from milvine.client.exceptions import ParamError
from milvine.interrupts import interrupts
from milvine.types import Floats, Ids, IndexType, MetricType, Vectors

_INT64_MAX = (1 << 63) - 1
_NOT_2D = (
    "A vector must be a non-empty, 2-dimensional array and must contain only elements with the"
    " float data type or the bytes data type."
)
_NOT_ROWS = "Invalid vector: Vector must be list-like object"
_EMPTY_ROW = "Invalid vector: Check if empty-list exists"
_RAGGED = "Whole vectors must have the same dimension"
_MIXED = "Invalid vector: rows of bytes and rows of numbers in one call"
SECONDS_MAX = 10 * 365 * 86400.0
"""What is longer counts as for ever: the libraries below take an overflow for no time at all."""
_MASKED = "values of it are masked, which stand for missing ones"
_Buffer = bytes | bytearray | memoryview
_LISTS = {list, tuple}
E = TypeVar("E", bound=IntEnum)


def name(value: Any, parameter: str = "collection_name") -> str:
    """A name that is a str and not empty; what it may be made of is the server's business."""
    if not _is_text(value) or not value:
        raise ParamError.illegal(parameter, value)
    return value


def _is_text(value: Any) -> TypeGuard[str]:
    """Whether it is a str that can be sent; one with half of a surrogate pair cannot."""
    if not isinstance(value, str):
        return False
    try:
        return value.isascii() or value.encode() is not None
    except UnicodeEncodeError:
        return False


def integer(value: Any, parameter: str) -> int:
    """An int64; the range that makes sense is the server's business."""
    if not isinstance(value, int | np.integer) or not -_INT64_MAX <= value <= _INT64_MAX:
        raise ParamError.illegal(parameter, value)
    return int(value)


def topk(value: Any) -> int:
    if isinstance(value, bool):
        raise ParamError.illegal("topk", value)
    return integer(value, "topk")


def _member(kind: type[E], value: Any, parameter: str) -> E:
    if isinstance(value, int | np.integer) and not isinstance(value, bool) and value:  # 0: INVALID
        with suppress(ValueError):
            return kind(int(value))
    raise ParamError.illegal(parameter, value)


def metric_type(value: Any) -> MetricType:
    return _member(MetricType, value, "metric_type")


def index_type(value: Any) -> IndexType:
    """None is FLAT. Which numbers from 1001 on there are is the server's business."""
    return IndexType.FLAT if value is None else _member(IndexType, value, "index_type")


def tag(value: Any, optional: bool = False) -> str:
    """A partition tag, empty allowed; None becomes empty where it is optional."""
    return "" if value is None and optional else text(value, "partition_tag")


def texts(value: Any, parameter: str) -> tuple[str, ...]:
    """A list or tuple of str; None is the same as an empty one."""
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(map(_is_text, value)):
        raise ParamError.illegal(parameter, value)
    return tuple(value)


def text(value: Any, parameter: str) -> str:
    """A str that can be sent; it may be empty."""
    if not _is_text(value):
        raise ParamError.illegal(parameter, value)
    return value


def params(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ParamError("Params must be a dictionary type")
    return value


def seconds(value: Any, parameter: str = "timeout") -> float | None:
    """A timeout, 0 or more: a number, or its text as on the Hello World page. None waits for ever,
    and so does what is longer than a system can wait; with 0 the time is over (specification 5.7).

    One below 0 is refused: 1.x takes it for 0, other libraries for no end.
    """
    if value is None:
        return None
    if type(value) is int and 0 <= value < SECONDS_MAX:
        return float(value)
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ParamError.illegal(parameter, value) from None
    if math.isnan(found) or isinstance(value, bool):
        raise ParamError.illegal(parameter, value)
    if found < 0:
        raise ParamError.illegal(parameter, value, "seconds are 0 or more, None waits for ever")
    return found if found < SECONDS_MAX else None


def segments(value: Any, parameter: str = "segment_ids") -> list[str]:
    """Names of segments, which may be given as numbers."""
    if not isinstance(value, list | tuple):
        raise ParamError.illegal(parameter, value)
    return [name(str(segment), parameter) for segment in value]


def collections(value: Any) -> list[str]:
    """The argument of flush; None and an empty list stand for all collections."""
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        raise ParamError("Collection name array must be type of list")
    return [name(collection) for collection in value]


def vectors(value: Any) -> Vectors:
    """Rows as float32 (n, dimension), or as uint8 (n, bytes) when they are bytes or a numpy array
    of uint8; n > 0.

    Doubles are rounded to float32; those beyond its range become infinite.

    Raises:
        ParamError: no rows, or not rows of one length, or an element is not a number.
    """
    if type(value) is np.ndarray and value.dtype == np.float32 and _ready(value):
        return value
    if type(value) in _LISTS and (packed := _packed(value)) is not None:
        return packed
    value = _container(value)
    if not isinstance(value, np.ndarray):
        _check_masks(value)
        if any(isinstance(row, _Buffer) for row in value):
            return _binary(value)
    try:
        array = np.asarray(value)
    except Exception as error:
        if interrupts(error):
            raise
        raise (
            _irregular(value) if isinstance(error, ValueError) else _unreadable(value, error)
        ) from None
    if isinstance(value, np.ndarray) and array.dtype == np.uint8 and array.ndim == 2 and array.size:
        return np.ascontiguousarray(array)
    if array.ndim == 2 and array.dtype.kind in "fiub" and array.size:
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(array, dtype=np.float32)
    raise _unusable(array)


def rows(
    collection_name: Any, records: Any, given_ids: Any, partition_tag: Any, given_params: Any
) -> tuple[str, Vectors, Ids | None, str, dict[str, Any]]:
    """The arguments of insert, in the order in which a request takes them."""
    collection, array = name(collection_name), vectors(records)
    row_ids = None if given_ids is None else ids(given_ids)
    if row_ids is not None and len(row_ids) != len(array):
        raise ParamError("length of vectors do not match that of ids")
    return collection, array, row_ids, tag(partition_tag, optional=True), params(given_params)


def idempotency_key(value: Any) -> str | None:
    """A text that is not empty, or None."""
    if value is not None and (not _is_text(value) or not value):
        raise ParamError.illegal("idempotency_key", value)
    return value


def insert_message(value: Any) -> Any:
    """An InsertParam message."""
    if getattr(getattr(value, "DESCRIPTOR", None), "full_name", "") != "milvus.grpc.InsertParam":
        raise ParamError("The value of key 'insert_param' is invalid")
    return value


def _ready(array: Vectors) -> bool:
    return bool(array.ndim == 2 and array.size and array.flags.c_contiguous)


def _packed(rows: Any) -> Floats | None:
    """Lists of numbers, as 1.x programs have them, in half of the time that numpy takes.

    None where it takes numpy to look at them, and to say what is wrong.
    """
    if not set(map(type, rows)) <= _LISTS or not rows or not rows[0]:
        return None
    array = np.empty((len(rows), len(rows[0])), dtype=np.float32)
    into, at, pack = array.data.cast("B"), 0, _packer(len(rows[0]))
    try:
        for row in rows:
            pack(into, at, *row)
            at += array.strides[0]
    except (struct.error, OverflowError, TypeError, ValueError) as error:
        # No numbers, another length, beyond float32.
        if interrupts(error):
            raise
        return None
    return None if "numpy.ma" in sys.modules and _has_masks(rows, array) else array


def _has_masks(rows: Any, array: Floats) -> bool:
    """Whether there may be masked numbers, which are packed as NaN. A single row of Python's own
    numbers is not looked through: a masked row made a list holds numpy's.
    """
    return bool((len(rows) > 1 or type(rows[0][0]) is not float) and np.isnan(array.min()))


@lru_cache(maxsize=64)
def _packer(dimension: int) -> Callable[..., None]:
    return struct.Struct(f"{dimension}f").pack_into


def _container(value: Any) -> Any:
    """Rows as an array of numbers or as a container that is not empty."""
    if hasattr(value, "__array__"):
        try:
            array = np.asarray(value)
        except Exception as error:  # as of ids
            if interrupts(error):
                raise
            raise _unreadable(value, error) from None
        if some_are_masked(value):
            raise ParamError(f"Invalid vector: {_MASKED}")
        if array.dtype != object:
            return array
        value = array.tolist()  # an array or a column of lists, or of bytes
    if (
        isinstance(value, str | dict | type | _Buffer)
        or not (hasattr(value, "__getitem__") and hasattr(value, "__len__"))
        or not len(value)
    ):
        raise ParamError(_NOT_2D)
    return value


def _unreadable(rows: Any, error: Exception) -> ParamError:
    return ParamError(f"{type(rows).__name__} cannot be read as vectors: {error}")


def _check_masks(rows: Any) -> None:
    """Raises ParamError: for what is missing numpy would read the number beneath the mask, or
    NaN.
    """
    at = first_masked(rows)
    if at is not None:
        raise ParamError(f"Invalid vector: row {at}: {_MASKED}")
    for at, row in enumerate(rows):
        if type(row) in _LISTS and (masked := first_masked(row)) is not None:
            raise ParamError(f"Invalid vector: row {at}, number {masked}: {_MASKED}")


def _binary(rows: Any) -> Vectors:
    if not all(isinstance(row, _Buffer) for row in rows):
        raise ParamError(_MIXED)
    lengths = {len(memoryview(row).cast("B")) for row in rows}
    if 0 in lengths:
        raise ParamError(_EMPTY_ROW)
    if len(lengths) > 1:
        raise ParamError(_RAGGED)
    return np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(len(rows), -1)


def _irregular(rows: Any) -> Exception:
    """What is wrong with rows that numpy could not put into one array."""
    lengths = [
        len(row) if hasattr(row, "__len__") and not isinstance(row, str) else None for row in rows
    ]
    if None in lengths:
        return ParamError(_NOT_ROWS)
    if 0 in lengths:
        return ParamError(_EMPTY_ROW)
    return ParamError(_RAGGED if len(set(lengths)) > 1 else _NOT_2D)


def _unusable(array: Any) -> Exception:
    if array.ndim == 1 and array.size:
        return ParamError(_NOT_ROWS)
    if array.ndim == 2 and len(array) and not array.size:
        return ParamError(_EMPTY_ROW)
    if array.ndim == 2 and array.size:
        return ParamError(
            f"Vectors must hold real numbers; these hold {array.dtype} (the first is"
            f" {array[0, 0]!r})"
        )
    return ParamError(_NOT_2D)
