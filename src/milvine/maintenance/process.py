"""The processes that build, seen from their parent: started, followed, ended; one may wait ready
for the next build.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any, TypeAlias

from milvine.errors import BuildFailed, BuildStarved, DiskFull
from milvine.index.base import Report
from milvine.interpreter import running
from milvine.maintenance.builder import DONE, BuildSpec
from milvine.memory import memory_left
from milvine.memory_plan import WAITING_BUILDER_BYTES
from milvine.storage.forks import keep_for_ever, let_go_in_children
from milvine.waiting import Flag

_POLL_SECONDS = 0.02
WAIT_SECONDS = 10.0
"""How long a process waits for a build before it is ended."""
PROGRAM = """
import os, signal
for each in ("SIGINT", "SIGTERM", "SIGHUP"):
    if hasattr(signal, each):
        signal.signal(getattr(signal, each), signal.SIG_IGN)
name = "OPENBLAS_NUM_THREADS"
given = os.environ.get(name)
os.environ[name] = given or "1"
import numpy
if given is None:
    del os.environ[name]
from milvine.maintenance.builder import main
sys.exit(main())
"""
"""What a terminal or a supervisor tells all processes of a server is for the server, which ends
its builders. numpy's BLAS, for which builds have hardly a use, starts threads that spend a tenth
of a second of CPU on waiting. faiss's own does not, and shall train with all its threads: it reads
the same variable, later.
"""
_OUT_OF_CPU_TIME = -getattr(signal, "SIGXCPU", 0)

Process: TypeAlias = "subprocess.Popen[str]"
Stop: TypeAlias = Callable[[], bool]


class Stalled(BuildFailed):
    """The builder got no further."""


class Builders:
    """The builders of one database: a process for each build, and at most one that waits for the
    next. Thread-safe.

    The start of a process takes longer than the build of 10,000 rows. So one is started as soon as
    a build is foreseen, and one after each build, for whoever builds one collection after the
    other. It waits `seconds` at most, with some 22 MB of its own.
    """

    def __init__(
        self,
        seconds: float = WAIT_SECONDS,
        timer: Callable[[float, Callable[[], None]], threading.Timer] = threading.Timer,
    ) -> None:
        self._seconds, self._new_timer = seconds, timer
        self._lock = threading.Lock()
        self._spare: Process | None = None
        self._timer: threading.Timer | None = None
        self._closed = False

    def prepare(self) -> None:
        """Have a process wait for a build, for some seconds from now on. None does where memory is
        short.
        """
        with self._lock, suppress(OSError, RuntimeError):
            process = self._taken()
            if self._closed or 0 < memory_left() < WAITING_BUILDER_BYTES:
                return _end(process)
            if process is None or process.poll() is not None:
                _end(process)
                process = start_builder()
            self._spare, self._timer = process, self._new_timer(self._seconds, self._expire)
            self._timer.daemon = True
            self._timer.start()

    def run(self, spec: BuildSpec, report: Report, stop: Stop, another: bool = False) -> bool:
        """As `run_builder`, by the process that waits if one does. `another`: the next build
        follows on this one.
        """
        with self._lock:
            process = self._taken()
        if another:
            self.prepare()
        done = self._run(process, spec, report, stop)
        if done:
            self.prepare()
        return done

    def _run(self, process: Process | None, spec: BuildSpec, report: Report, stop: Stop) -> bool:
        """By `process`, or by a new one where none waited or it died before it took the work,
        whatever of.
        """
        began = False

        def told(stage: str, done: int) -> None:
            nonlocal began
            began = True
            report(stage, done)

        try:
            if process is not None:
                return _run(process, spec, told, stop)
        except BuildFailed:
            if began:
                raise
        return _run(start_builder(), spec, report, stop)

    def close(self) -> None:
        """End the process that waits; none will wait again."""
        with self._lock:
            self._closed = True
            _end(self._taken())

    def _expire(self) -> None:
        with self._lock:
            if self._timer is threading.current_thread():  # else somebody was faster
                _end(self._taken())

    def _taken(self) -> Process | None:
        """The process that waited, which is the caller's now; with the lock held."""
        if self._timer is not None:
            self._timer.cancel()
        process, self._spare, self._timer = self._spare, None, None
        return process


class _Builder(subprocess.Popen[str]):
    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        let_go_in_children(self)

    def forked(self) -> None:
        """A forked child must not hold the pipe by whose end a builder knows
        that its parent is gone."""
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None and not stream.closed:
                os.close(stream.fileno())
        keep_for_ever(self)


def run_builder(spec: BuildSpec, report: Report, stop: Stop) -> bool:
    """Runs a build in a process of its own, which ends by itself when this one dies; False when
    `stop` ended it.

    Raises:
        BuildFailed: with the builder's own last words; `Stalled` when its CPU time ran out.
    """
    return _run(start_builder(), spec, report, stop)


def start_builder(program: str = PROGRAM) -> Process:
    """A process that gets ready, then waits for a line that says what to build."""
    pipe = subprocess.PIPE
    return _Builder(
        running(program), stdin=pipe, stdout=pipe, stderr=pipe, text=True, errors="replace"
    )


def _end(process: Process | None) -> None:
    if process is not None:
        with process:
            process.kill()


def _run(process: Process, spec: BuildSpec, report: Report, stop: Stop) -> bool:
    with process:
        assert (
            process.stdin is not None and process.stdout is not None and process.stderr is not None
        )
        with suppress(OSError):  # dead already: its code says why
            os.write(process.stdin.fileno(), spec.to_json().encode() + b"\n")
        words: deque[str] = deque(maxlen=1)
        done = Flag()
        telling = _follow(
            process.stdout, lambda line: done.set() if line == DONE else _tell(line, report)
        )
        complaining = _follow(process.stderr, lambda line: words.append(line) if line else None)
        try:
            stopped = _wait(process, telling, stop)
        except BaseException:  # as Ctrl-C: nobody waits for this build any more
            process.kill()
            raise
        telling.join()
        complaining.join()
    # Not by its code, which is 0 where the caller of a database leaves no child to be waited for.
    if done.is_set():
        return True
    if stopped or stop():
        return False
    raise _failure(spec, process.returncode, words[0] if words else "")


def _wait(process: Process, telling: threading.Thread, stop: Stop) -> bool:
    """Whether `stop` said so before the process ended."""
    while True:
        telling.join(_POLL_SECONDS)  # ends the moment the process does
        if not telling.is_alive():
            with suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_SECONDS)
                return False
        if stop():
            process.kill()
            process.wait()
            return True


def _failure(spec: BuildSpec, code: int, words: str) -> BuildFailed:
    prefix = f"Cannot build the index of segment {spec.segment_id}: "
    if code == _OUT_OF_CPU_TIME:
        return Stalled(
            f"{prefix}the builder got no further in {spec.stall_seconds} s of CPU time and was"
            " ended"
        )
    ended = f"the builder ended with code {code}" + (
        " (out of memory?)" if code == -signal.SIGKILL else ""
    )
    kind = BuildStarved if words.startswith(DiskFull.__name__) else BuildFailed
    return kind(prefix + (words or ended))


def _follow(stream: IO[str], take: Callable[[str], object]) -> threading.Thread:
    """A thread that hands on each line: nobody may wait for a full pipe."""

    def run() -> None:
        for line in stream:
            take(line.strip())

    thread = threading.Thread(target=run, name="milvine-builder", daemon=True)
    thread.start()
    return thread


def _tell(line: str, report: Report) -> None:
    """One line of the builder: `["adding", 4096]`. What a library prints besides is left out."""
    with suppress(ValueError, TypeError):
        stage, done = json.loads(line)
        report(str(stage), int(done))
