"""Telling an exception of whoever interrupts a call, as a signal's handler does, from one of the
call itself.
"""

from __future__ import annotations

import sys
from inspect import CO_VARARGS
from itertools import pairwise
from traceback import walk_tb
from types import FrameType

_OURS = frozenset({"milvine", "milvus"})
_LIBRARIES = frozenset({"faiss", "google", "grpc", "numpy", "psycopg", "sqlalchemy"})
_CALLED = sys.stdlib_module_names | _OURS | _LIBRARIES


def foreign(error: BaseException) -> bool:
    """Whether the handler of a signal raised `error`, or it is of a class that
    nothing we call raises.

    Such an exception is for the caller of a call that it interrupted, whatever its class: handlers
    raise `TimeoutError` and `OSError` too. One that a thread puts into another has no frame of its
    own and is known by its class alone.
    """
    return type(error).__module__.partition(".")[0] not in _CALLED or interrupts(error)


def interrupts(error: BaseException) -> bool:
    """Whether `error` is Ctrl-C, or the handler of a signal raised it.

    For code of the caller's own that we call, such as the `__index__` of an id or a handler of his
    log: what it raises may be of any class.
    """
    return isinstance(error, KeyboardInterrupt) or any(
        _handles_a_signal(frame) for frame, _ in walk_tb(error.__traceback__)
    )


def _handles_a_signal(frame: FrameType) -> bool:
    """Whether the function got what a handler gets: the number of a signal, and a frame."""
    code = frame.f_code
    local = frame.f_locals
    given = [local.get(name) for name in code.co_varnames[: code.co_argcount]]
    if code.co_flags & CO_VARARGS:
        given += local.get(code.co_varnames[code.co_argcount + code.co_kwonlyargcount], ())
    return any(isinstance(a, int) and isinstance(b, FrameType) for a, b in pairwise(given))
