"""What stands in a list that a caller gave: shown in a message, and asked whether it is missing."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from milvine.interrupts import interrupts

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
    masked = sys.modules.get("numpy.ma")
    return masked is not None and bool(masked.is_masked(array))


def first_masked(elements: Iterable[Any]) -> int | None:
    """The position of the first element that is masked, or holds values that are."""
    masked = sys.modules.get("numpy.ma")
    if masked is None:
        return None
    for at, each in enumerate(elements):
        if isinstance(each, masked.MaskedArray) and some_are_masked(each):
            return at
    return None
