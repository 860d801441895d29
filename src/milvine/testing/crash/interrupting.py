"""What happens to a process beside its calls: signals in the middle of one, forked children."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from random import Random

from milvine.errors import (
    CollectionExists,
    CollectionNotFound,
    IllegalPartition,
    MilvineError,
    PartitionNotFound,
)
from milvine.testing.crash.journal import Action
from milvine.types import Ids

_SHARE = 0.3  # of the calls of the main thread
_SECONDS = (0.0001, 0.001, 0.01, 0.1)  # at most, until one is interrupted
_HAPPENED: dict[str, type[MilvineError]] = {
    "create_collection": CollectionExists,
    "drop_collection": CollectionNotFound,
    "create_partition": IllegalPartition,
    "drop_partition": PartitionNotFound,
}
"""What a call answers that has happened before; all others may be made any number of times."""


class _Interrupted(BaseException):
    """What the handler raises, as that of Ctrl-C or of a soft time limit does."""


class Interrupter:
    """Calls of the main thread, a `share` of them interrupted and made again: after one of so many
    `seconds` at most.
    """

    def __init__(
        self, seed: int, share: float = _SHARE, seconds: Sequence[float] = _SECONDS
    ) -> None:
        self._random, self._armed = Random(f"{seed}/interrupts"), False
        self._share, self._seconds = share, seconds
        signal.signal(signal.SIGALRM, self._handle)

    def _handle(self, *_: object) -> None:
        """It may come when the call is over; it must not raise then."""
        if self._armed:
            self._armed = False
            raise _Interrupted

    def call(
        self,
        action: Action,
        perform: Callable[[], Ids | None],
        interrupted: Callable[[Action], None],
    ) -> Ids | None:
        """What `perform` returns. When it was interrupted, `interrupted` is called, and the call is
        made again.
        """
        if self._random.random() > self._share:
            return perform()
        try:
            self._armed = True
            signal.setitimer(
                signal.ITIMER_REAL, self._random.uniform(1e-6, self._random.choice(self._seconds))
            )
            made = perform()
            self._armed = False
            return made
        except _Interrupted:
            interrupted(action)
        finally:
            # One that is left would end a process that ends.
            signal.setitimer(signal.ITIMER_REAL, 0)
        return _repeat(action, perform)


def _repeat(action: Action, perform: Callable[[], Ids | None]) -> Ids | None:
    """An interrupted call happened, or happens yet, or does not: made again, it has for certain."""
    try:
        return perform()
    except _HAPPENED.get(action.kind, ()):
        return None


def fork_soon(held: int, seed: int) -> None:
    """Within a second, a child that holds what this process has open.

    It lives until nobody has the other end of the pipe `held`.
    """
    timer = threading.Timer(Random(f"{seed}/fork").uniform(0, 1), _fork, (held,))
    timer.daemon = True
    timer.start()


def _fork(held: int) -> None:
    if os.fork():
        return
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(nowhere, fd)
    os.read(held, 1)
    os._exit(0)
