"""Each case in a process of its own, made by fork: the kernels are imported once, and a case may
die of its fault.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from milvine.storage import failpoints

ARMED = 3
"""The exit status of a process that never came to the point where it was to die."""


def in_process(work: Callable[[], Any], answer: Path) -> tuple[int, Any]:
    """Run `work` in a fork of this process. Its status as of wait (negative: the signal), and what
    it returned.
    """
    answer.unlink(missing_ok=True)
    sys.stdout.flush()
    child = os.fork()
    if not child:
        status = 1
        try:
            _quiet()
            answer.write_text(json.dumps(work()))
            status = 0
        except BaseException:
            answer.write_text(json.dumps(traceback.format_exc(limit=-8)))
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    result = json.loads(answer.read_text()) if answer.exists() else None
    return os.waitstatus_to_exitcode(status), result


def _quiet() -> None:
    """Kernels complain of few training points on standard error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)


def kill() -> None:
    """End this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


def arm(point: str, hit: int, act: Callable[[], None]) -> None:
    """Have `act` happen once, when the write path comes to `point` for the `hit`-th time from now
    (1: the next).
    """
    left = hit

    def count() -> None:
        nonlocal left
        left -= 1
        if not left:
            act()

    failpoints.armed[point] = count
