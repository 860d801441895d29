"""The process of a builder, seen from its parent: started, followed, ended."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import IO

from milvine.errors import BuildFailed, BuildStarved, DiskFull
from milvine.index.base import Report
from milvine.maintenance.builder import BuildSpec

_POLL_SECONDS = 0.02
_START = (
    "import json,sys;sys.path[:]=json.loads(sys.argv[1]);"
    "from milvine.maintenance.builder import main;sys.exit(main(sys.argv[2]))"
)
_OUT_OF_CPU_TIME = -getattr(signal, "SIGXCPU", 0)


class Stalled(BuildFailed):
    """The builder got no further."""


def run_builder(spec: BuildSpec, report: Report, stop: Callable[[], bool]) -> bool:
    """Runs a build in a process of its own, which ends by itself when this one dies; False when `stop` ended it.

    Raises:
        BuildFailed: with the builder's own last words; `Stalled` when its CPU time ran out.
    """
    arguments = [sys.executable, "-c", _START, json.dumps(sys.path), spec.to_json()]
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, stdin=pipe, stdout=pipe, stderr=pipe, text=True, errors="replace") as process:
        assert process.stdout is not None and process.stderr is not None
        words: deque[str] = deque(maxlen=1)
        followers = (
            _follow(process.stdout, lambda line: _tell(line, report)),
            _follow(process.stderr, lambda line: words.append(line) if line else None),
        )
        stopped = _wait(process, stop)
        for follower in followers:
            follower.join()
    if process.returncode == 0:
        return True
    if stopped or stop():
        return False
    raise _failure(spec, process.returncode, words[0] if words else "")


def _wait(process: subprocess.Popen[str], stop: Callable[[], bool]) -> bool:
    """Whether `stop` said so before the process ended."""
    while process.poll() is None:
        if stop():
            process.kill()
            process.wait()
            return True
        time.sleep(_POLL_SECONDS)
    return False


def _failure(spec: BuildSpec, code: int, words: str) -> BuildFailed:
    prefix = f"Cannot build the index of segment {spec.segment_id}: "
    if code == _OUT_OF_CPU_TIME:
        return Stalled(f"{prefix}the builder got no further in {spec.stall_seconds} s of CPU time and was ended")
    ended = f"the builder ended with code {code}" + (" (out of memory?)" if code == -signal.SIGKILL else "")
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
