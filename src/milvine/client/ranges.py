"""Enums that 0.2.14 exports for its hybrid collections. The names import; no server takes hybrid
calls any more.
"""

from __future__ import annotations

from enum import IntEnum


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
