"""What stands in a list that a caller gave: ids, from whatever holds whole numbers (specification
5.5), whether an element is missing, and how it is shown in a message.
"""

from __future__ import annotations

import sys
from array import array as packed_array
from collections.abc import Iterable, Sequence
from operator import index
from typing import Any

import numpy as np

from milvine.client.exceptions import ParamError
from milvine.interrupts import interrupts
from milvine.types import Ids

_SHOWN_MAX = 100  # characters of an element in a message


def shown(value: object) -> str:
    """An element and its type, for a message; an object that cannot be shown by its type alone."""
    kind = type(value).__name__
    try:
        text = repr(value).encode(errors="backslashreplace").decode()
    except Exception as error:  # the object's own
        if interrupts(error):
            raise
        return f"of type {kind}"
    text = f"{text[:_SHOWN_MAX]}..." if len(text) > _SHOWN_MAX else text
    return f"{text} ({kind})"


def some_are_masked(array: Any) -> bool:
    """Whether values of it are masked, as numpy's masked arrays have them for missing ones.

    Where nobody has imported `numpy.ma` there are none, and it is not imported to find out.
    """
    is_masked = _of_masked("is_masked")
    return is_masked is not None and bool(is_masked(array))


def first_masked(elements: Iterable[Any]) -> int | None:
    """The position of the first element that is masked, or holds values that are."""
    kind = _of_masked("MaskedArray")
    if kind is None:
        return None
    for at, each in enumerate(elements):
        if isinstance(each, kind) and some_are_masked(each):
            return at
    return None


def _of_masked(name: str) -> Any:
    """A name of `numpy.ma`; None before it is imported, and while another thread imports it."""
    return getattr(sys.modules.get("numpy.ma"), name, None)


_INT64_MAX = (1 << 63) - 1
_LISTS = {list, tuple}
_INTS, _FEW = frozenset((int,)), 32
_WHOLE = "ids are whole numbers"
_RANGE = "an id is from 0 to 2**63 - 1"


def ids(value: Any) -> Ids:
    """int64 (n,), n > 0, of whole numbers from 0 to 2**63 - 1.

    They may come as whatever numpy reads as integers (arrays, columns of pandas and Arrow, tensors
    in main memory), in a list, tuple, range or array of objects, or as texts of digits. A float is
    none, even a whole one: those from 2**53 on stand for several ids.

    Raises:
        ParamError: the text says which element is none, and why.
    """
    array = _id_array(value)
    if array.ndim != 1:
        raise _no_ids(value, f"it has {array.ndim} dimensions")
    if not array.size:
        raise _no_ids(value, "there is none")
    if array.min() < 0 or (array.dtype.kind == "u" and array.max() > _INT64_MAX):
        at = int(np.flatnonzero((array < 0) | (array > _INT64_MAX))[0])
        raise _no_ids(value, f"element {at} is {array[at]}, {_RANGE}")
    return np.ascontiguousarray(array, dtype=np.int64)


def _no_ids(value: Any, reason: str) -> ParamError:
    return ParamError.illegal("ids", value, reason)


def _id_array(value: Any) -> Any:
    """An array of some kind of integers, of any shape."""
    listed = value if type(value) in _LISTS else _listed(value)
    if isinstance(listed, np.ndarray):
        return listed
    try:
        array = _int64s(listed)
        # True is taken for 1, and a masked array of one id for that id. Of many, only those that
        # may be True are looked at.
        looked_at = (
            listed if len(listed) <= _FEW else [listed[at] for at in (array <= 1).nonzero()[0]]
        )
        if _INTS.issuperset(map(type, looked_at)):
            return array
    except Exception as error:  # texts, what is no id, or an error of the elements' own
        if interrupts(error):
            raise
    return _int64s_of_kinds(listed, value)


def _listed(value: Any) -> Any:
    """An array of integers as numpy reads it, or elements to look at one by one."""
    if not hasattr(value, "__array__"):
        if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
            return value
        raise _no_ids(value, f"{type(value).__name__} is no list, tuple or array")
    try:
        array = np.asarray(value)
    except Exception as error:  # the library's own: a tensor on another device, for one
        if interrupts(error):
            raise
        raise _no_ids(
            value, f"{type(value).__name__} cannot be read as an array: {error}"
        ) from None
    if some_are_masked(value):
        at = int(np.ma.getmaskarray(value).ravel().argmax())
        raise _no_ids(value, f"element {at} is masked, which stands for a missing one")
    if array.dtype.kind in "iu":
        return array
    if array.dtype.kind in "OU" and array.ndim == 1:
        return array.tolist()
    raise _no_ids(value, f"they are {array.dtype}, {_WHOLE}")


def _int64s(values: Sequence[int]) -> Ids:
    return np.frombuffer(packed_array("q", values), dtype=np.int64)


def _int64s_of_kinds(values: Sequence[Any], given: Any) -> Ids:
    """Elements of several kinds, each looked at."""
    if all(map(_may_be_ids, set(map(type, values)))) and first_masked(values) is None:
        try:
            return _int64s([_whole(each) for each in values])
        except Exception as error:
            if interrupts(error):
                raise
    for at, each in enumerate(values):
        if reason := _reason(each):
            raise _no_ids(given, f"element {at} is {shown(each)}: {reason}")
    raise _no_ids(given, f"an element is no whole number, {_WHOLE}")


def _may_be_ids(kind: type) -> bool:
    return kind not in (bool, np.bool_) and (issubclass(kind, str) or hasattr(kind, "__index__"))


def _whole(each: Any) -> int:
    return int(each) if isinstance(each, str) and each.isdecimal() else index(each)


def _reason(each: Any) -> str:
    """Why an element is no id; nothing where it is one."""
    if first_masked((each,)) is not None:
        return "a masked value stands for a missing one"
    if not _may_be_ids(type(each)):
        return _WHOLE
    try:
        number = _whole(each)
    except (TypeError, ValueError):  # another text, several numbers, a text of too many digits
        return _WHOLE
    except Exception as error:  # its own
        if interrupts(error):
            raise
        return f"{_WHOLE}, and its __index__ raises {error!r}"
    return "" if 0 <= number <= _INT64_MAX else _RANGE
