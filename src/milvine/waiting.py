"""Waiting that an exception in the thread that waits cannot spoil for other threads.

A signal handler may raise in the main thread after any call. `threading.Condition` takes and leaves
its lock in Python code, so such an exception can leave it taken for ever, and with it all that
stands on one: `Event`, `Semaphore`, `queue.Queue`, `concurrent.futures.Future`. Whoever wants to
tell those that wait then waits himself, for ever.

What is here stands on a raw `Lock` in a `with` and on `SimpleQueue`: single calls into C, done
whole or not at all. Whatever a caller's thread and a thread of ours both touch is made of these.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")


class Outcome(Generic[T]):
    """What another thread is going to return or raise. One thread tells it,
    once; any may wait for it."""

    __slots__ = ("_error", "_followers", "_gate", "_value", "done")

    _value: T

    def __init__(self) -> None:
        self.done = False
        self._error: BaseException | None = None
        self._followers: list[Outcome[T]] = []
        self._gate = threading.Lock()
        self._gate.acquire()

    def set_result(self, value: T) -> None:
        """It returned `value`."""
        self._value, self.done = value, True
        self._gate.release()
        for each in self._followers:
            each.set_result(value)

    def set_exception(self, error: BaseException) -> None:
        """It raised `error`."""
        self._error, self.done = error, True
        self._gate.release()
        for each in self._followers:
            each.set_exception(error)

    def follow(self, other: Outcome[T]) -> None:
        """Be told what `other`, which is not done yet, will be told; called by the
        thread that tells it."""
        other._followers.append(self)

    def result(self) -> T:
        """Waits for it; returns or raises what it was."""
        with self._gate:  # open from then on, for whoever else waits
            pass
        if self._error is None:
            return self._value
        try:
            raise self._error
        finally:
            del self  # the error holds this frame, which must not hold the error


class Flag:
    """A flag to wait for, as `threading.Event`."""

    def __init__(self) -> None:
        self._flag = False
        self._waiting: list[SimpleQueue[None]] = []

    def is_set(self) -> bool:
        return self._flag

    def set(self) -> None:
        self._flag = True
        for bell in self._waiting.copy():
            bell.put(None)

    def clear(self) -> None:
        self._flag = False

    def wait(self, timeout: float | None = None) -> bool:
        """Whether it was set within `timeout` seconds; None waits for ever."""
        if self._flag:
            return True
        bell: SimpleQueue[None] = SimpleQueue()
        try:
            # Then the flag is looked at again: `set` raises it, then looks who waits.
            self._waiting.append(bell)
            if not self._flag:
                with suppress(Empty):
                    bell.get(timeout=timeout)
                    return True
            return self._flag
        finally:
            if bell in self._waiting:  # an interrupt may have come before it was
                self._waiting.remove(bell)
