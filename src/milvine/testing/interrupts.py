"""Calls that are ended in the middle: by Ctrl-C, by a soft time limit, by whatever else a signal
handler raises.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable


class Interrupted(BaseException):
    """What the signal handler raises."""


def interrupted(call: Callable[[], object], after: float) -> bool:
    """Make a call during which a signal handler raises `after` seconds; whether that ended it.

    To be called on the main thread, the only one whose calls signal handlers interrupt.
    """
    armed = [True]

    def ring(*_: object) -> None:
        if armed:
            armed.clear()
            raise Interrupted

    before = signal.signal(signal.SIGUSR1, ring)
    alarm = threading.Timer(
        after, signal.pthread_kill, (threading.main_thread().ident, signal.SIGUSR1)
    )
    try:
        alarm.start()
        try:
            call()
        finally:
            armed.clear()
        return False
    except Interrupted:
        return True
    finally:
        alarm.cancel()
        alarm.join()
        signal.signal(signal.SIGUSR1, before)
