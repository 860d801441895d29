"""grpcio's serving thread, kept alive.

One thread of grpcio takes what happens at all connections. An error in it ends it without a word to
anybody, as want of memory for one message, or for one thread more: the port goes on listening, and
no call is ever answered again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib import import_module
from typing import Any

from milvine.server.doors.door import tell_of_error

_PAUSE_SECONDS = 0.1
_NAME = "(_serve)"  # how the name of the thread ends that grpcio starts


class ServingThread:
    """Starts a server of grpcio and waits for the end of its thread; one that ended of an
    error is replaced at once.

    What arrived in the moment of the error is lost: its caller runs into a deadline,
    the others notice nothing.

    Attributes:
        ended: why no more calls are taken, though nobody stopped the server; empty while they are.
    """

    def __init__(self, server: Any) -> None:
        self._server, self._stopping = server, threading.Event()
        self.ended = ""

    def start(self) -> None:
        before = set(threading.enumerate())
        self._server.start()
        started = [
            each
            for each in threading.enumerate()
            if each not in before and each.name.endswith(_NAME)
        ]
        if len(started) == 1:  # else a release of grpcio that serves in another way
            threading.Thread(
                target=self._watch, args=started, name="milvine-grpc", daemon=True
            ).start()

    def stop(self, grace: float, last_seconds: float) -> None:
        """Ends the server. A call that was lost never ends, so this waits little longer than
        `grace` for the last."""
        self._stopping.set()
        self._server.stop(grace).wait(grace + last_seconds)

    def _watch(self, thread: threading.Thread) -> None:
        thread.join()
        serve = _serving(self._server)
        while not self._stopping.is_set():
            if serve is None:
                self.ended = "grpcio's thread that takes calls has ended, and it cannot be replaced"
                return
            try:
                serve()
            except Exception:
                tell_of_error()
                self._stopping.wait(_PAUSE_SECONDS)


def _serving(server: Any) -> Callable[[], object] | None:
    """What grpcio's thread runs, to be run once more. It has no public name, so a release
    may lack it: then None."""
    module, state = import_module("grpc._server"), getattr(server, "_state", None)
    serve, take_another = getattr(module, "_serve", None), getattr(module, "_request_call", None)
    if serve is None or take_another is None or state is None:
        return None

    def run() -> None:
        with state.lock:
            take_another(state)  # the error may have come before this; one too many does no harm
        serve(state)

    return run
