"""A search of many queries and many hits in portions, so that its partial hits fit into memory.

Every task of a search finds k hits for each query before they are merged. Searches that take much
for it ask for room first, which the engine keeps (`engine/back_pressure.py`); those that take
little do not. How much there is, for all and for one at a time, is in the memory plan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from milvine.search.plan import Task

Reserve = Callable[[int], AbstractContextManager[object]]
"""Room in memory for so many bytes of partial hits, until the end of the `with`."""

_HIT_BYTES = 64
"""Of one partial hit at the peak, when all are put in order: measured 40 to 57."""
FREE_HITS = 16 * 1024
"""Partial hits of a search that finds so little that nobody need count it."""


def query_bytes(k: int, tasks: Sequence[Task]) -> int:
    """What one query takes until its hits are merged, about."""
    return _HIT_BYTES * sum(min(k, task.rows) for task in tasks)
