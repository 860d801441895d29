"""The signals that end a server, heard by a thread of their own.

The kernel gives a signal to whichever thread it likes, and Python runs its handlers in the main
thread alone, when that thread comes back to Python. So what is done here does not wait for the main
thread: Python's own handler in C writes the number of each signal to a pipe, and a thread reads it.
"""

from __future__ import annotations

import os
import signal
import socket
import threading

_ENDING = tuple(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK")
    if hasattr(signal, name)
)
_BY_SIGNAL = 128  # what shells add to the number of the signal that ended a process


class StopSignals:
    """Catches SIGTERM, SIGINT and SIGHUP from the moment it is made, in the main thread.

    Before `serving` is called one of them ends the process with code 0: nothing was acknowledged,
    and a start that is cut off is what recovery is for. After that the first one ends `wait`, and
    one more ends the process at once, with 128 and its number. A signal that is ignored when the
    process starts stays ignored, as SIGHUP under nohup.
    """

    def __init__(self) -> None:
        self._serving, self._asked, self._lock = False, threading.Event(), threading.Lock()
        self._reading_end, self._writing_end = socket.socketpair()
        self._writing_end.setblocking(False)
        signal.set_wakeup_fd(self._writing_end.fileno(), warn_on_full_buffer=False)
        self._caught = {each for each in _ENDING if signal.getsignal(each) is not signal.SIG_IGN}
        for each in self._caught:
            signal.signal(each, _nothing)
        threading.Thread(target=self._listen, name="milvine-signals", daemon=True).start()

    def serving(self) -> None:
        """The server takes requests: from now on it is to be stopped in order."""
        with self._lock:
            self._serving = True

    def wait(self, seconds: float) -> bool:
        """Whether the server was told to stop, at the latest after so many seconds."""
        return self._asked.wait(seconds)

    def _listen(self) -> None:
        while numbers := self._reading_end.recv(64):
            for number in numbers:
                if number in self._caught:
                    self._heard(number)

    def _heard(self, number: int) -> None:
        with self._lock:
            if not self._serving:
                os._exit(0)
            if self._asked.is_set():
                os._exit(_BY_SIGNAL + number)
            self._asked.set()


def _nothing(number: int, frame: object) -> None:
    """That there is a handler is what makes Python write to the pipe."""
