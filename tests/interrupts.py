"""Interrupting a piece of work at every place where the handler of a signal may run, one after the
other.

The interpreter looks for signals when a function of Python begins and when a function of C has
ended, which is what a profiler is told of. So this is every such place, the same in every run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any
from weakref import finalize


class Interrupted(BaseException):
    """What the handler raises."""


_PLACES_MAX = 1000
_WHERE = ("milvine", "threading", "contextlib", "concurrent", "queue", "selectors")


def _counts(frame: Any, event: str) -> bool:
    """Whether it is a place of ours, or of what waits for us, and nowhere where Python hides
    exceptions.
    """
    if event not in ("call", "c_return"):
        return False
    if frame.f_globals.get("__name__", "").partition(".")[0] not in _WHERE:
        return False
    while frame is not None:
        if frame.f_code.co_name in ("__del__", "<genexpr>", "_collection_gced") or _finalizes(
            frame
        ):
            return False
        frame = frame.f_back
    return True


def _finalizes(frame: Any) -> bool:
    """Whether the interpreter itself called a `weakref.finalize`, which then gets the reference
    that died.
    """
    return frame.f_code is finalize.__call__.__code__ and frame.f_locals.get("_") is not None


def interrupted_at(number: int, work: Callable[[], object]) -> bool:
    """Whether `work` was interrupted, at its place of this number, counted from 0; False: it has
    fewer.

    In a finalizer Python hides what is raised, and the work goes on: that counts as well.
    """
    seen = -1

    def look(frame: Any, event: str, argument: Any) -> None:
        nonlocal seen
        if _counts(frame, event):
            seen += 1
            if seen == number:
                sys.setprofile(None)
                raise Interrupted

    try:
        sys.setprofile(look)
        work()
    except BaseException as error:  # a `with` of the library may end with an error of its own
        if not isinstance(error, Interrupted) and not isinstance(error.__context__, Interrupted):
            raise
    finally:
        sys.setprofile(None)
    return seen >= number


def at_every_place(work: Callable[[], object], after: Callable[[], object], step: int = 1) -> int:
    """Interrupt `work` at each place, or at every so many, and call `after` each time; how often
    that was.
    """
    number = 0
    while interrupted_at(number * step, work):
        number += 1
        assert number < _PLACES_MAX, "each attempt leaves something behind"
        after()
    after()
    return number
