"""Names that 1.x exports and that do nothing: programs import them, or derive from them.

Hooks (specification 5.11): 1.x removed the method that sets one, so none is ever called. Enums of
the hybrid collections of 0.2.14: no server takes their calls any more.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any


class AbstractHook:
    pass


class BaseSearchHook(AbstractHook):
    """For programs that derive from it."""

    def pre_search(self, *args: Any, **kwargs: Any) -> None:
        """Before a search."""

    def aft_search(self, *args: Any, **kwargs: Any) -> None:
        """After a search."""

    def on_response(self, *args: Any, **kwargs: Any) -> bool:
        """Whether the caller wants the reply as it is."""
        return False

    def handle_response(self, _response: Any) -> Any:
        """The result made of a reply."""


class DataType(IntEnum):
    NULL = 0
    INT8 = 1
    INT16 = 2
    INT32 = 3
    INT64 = 4
    STRING = 20
    BOOL = 30
    FLOAT = 40
    DOUBLE = 41
    VECTOR = 100
    UNKNOWN = 9999


class RangeType(IntEnum):
    """Comparisons: less, less or equal, equal, greater, greater or equal, not equal."""

    LT = 0
    LTE = 1
    EQ = 2
    GT = 3
    GTE = 4
    NE = 5
