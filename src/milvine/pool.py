"""Threads that carry out jobs for callers who may be interrupted at any moment (see
`waiting.py`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

Job = Callable[[], None]
"""Must not raise: nobody would hear of it."""


class Pool:
    """At most `threads` threads, started as they are needed, named after
    `name`. Jobs begin in order."""

    def __init__(self, threads: int, name: str) -> None:
        self._most, self._name = max(threads, 1), name
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        # One entry for each job that is not over; changing it needs no lock.
        self._open: list[None] = []
        self._closed = False

    def put(self, job: Job) -> bool:
        """Have a thread carry out `job`; False after `close`, and then nobody does."""
        with self._lock:
            if self._closed:
                return False
            self._open.append(None)
            if len(self._threads) < min(len(self._open), self._most):
                self._start_one()
            self._jobs.put(job)
        return True

    def close(self, wait: bool = True) -> None:
        """Takes no more jobs; with `wait`, returns when those put before are
        over. May be called again."""
        with self._lock:
            self._closed = True
            self._jobs.put(None)
        for thread in self._threads:
            if wait and thread is not threading.current_thread():
                thread.join()

    def _start_one(self) -> None:
        """A start that is interrupted leaves a thread that perhaps never runs,
        so it is not counted."""
        thread = threading.Thread(
            target=self._run, name=f"{self._name}_{len(self._threads)}", daemon=True
        )
        thread.start()
        self._threads.append(thread)

    def _run(self) -> None:
        while self._turn():
            pass

    def _turn(self) -> bool:
        """One job; False at the end. Nothing outlives its turn: jobs hold rows."""
        job = self._jobs.get()
        if job is None:
            self._jobs.put(None)  # for the others
            return False
        job()
        self._open.pop()
        return True
