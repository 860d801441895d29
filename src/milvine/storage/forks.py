"""What a forked child must let go of: it shares the descriptors of its parent, the locks on them
included, and has none of its threads. As long as it held a lock, nobody could open the folder after
the parent closed it, or crashed.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from typing import Protocol
from weakref import WeakSet


class Inherited(Protocol):
    def forked(self) -> None:
        """Called in a child right after the fork: close descriptors, change nothing behind them,
        wait for nobody (a thread that holds a lock is not there any more). May raise OSError."""


_held: WeakSet[Inherited] = WeakSet()


def let_go_in_children(inherited: Inherited) -> None:
    """Have `forked` called in every child of this process that is made from now on."""
    _held.add(inherited)


def keep_for_ever(thing: object) -> None:
    """Never take `thing` apart, not even when the process ends."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _let_go() -> None:
    for each in list(_held):
        with suppress(OSError):
            each.forked()
    _held.clear()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_let_go)
