"""Signals: whichever thread gets one, at whatever moment, the server ends in order, or at once when
told twice.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from milvine.interpreter import running, running_module

TIMEOUT = 60
READY = re.compile(r"Milvine \S+ ready: grpc .+\n")
Start = Callable[..., "subprocess.Popen[str]"]
STUCK = """
import threading
from milvine.cli.stopping import StopSignals
stops = StopSignals()
{}
print("now", flush=True)
lock = threading.Lock()
lock.acquire()
lock.acquire()
"""


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def run(
        command: list[str], before: Callable[[], object] | None = None
    ) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        started.append(
            subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, preexec_fn=before)
        )
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def serving(
    start: Start, folder: Path, before: Callable[[], object] | None = None
) -> subprocess.Popen[str]:
    options = ["--port", "0", "--set", "network.http.enable=false", "--data", str(folder)]
    process = start(running_module("milvine", "serve", *options), before)
    assert process.stdout and READY.match(process.stdout.readline())
    return process


def others(process: subprocess.Popen[str]) -> list[int]:
    """The threads that are not the main one."""
    return [
        int(task) for task in os.listdir(f"/proc/{process.pid}/task") if int(task) != process.pid
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="says to Linux which thread gets a signal")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_another_thread_gets_ends_the_server(
    start: Start, tmp_path: Path, number: int
) -> None:
    process = serving(start, tmp_path)
    told = ctypes.CDLL(None, use_errno=True).syscall(
        234 if os.uname().machine == "x86_64" else 131,
        # Fmt: skip.
        process.pid,
        others(process)[-1],
        int(number),
    )
    assert told == 0
    assert process.communicate(timeout=TIMEOUT) == ("", "") and process.returncode == 0


def test_after_nohup_a_hang_up_changes_nothing(start: Start, tmp_path: Path) -> None:
    process = serving(start, tmp_path, lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(TIMEOUT) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_start_is_cut_off_whatever_it_waits_for(start: Start, number: int) -> None:
    process = start(running(STUCK.format("")))
    assert process.stdout and process.stdout.readline() == "now\n"
    process.send_signal(number)
    assert process.wait(TIMEOUT) == 0


def test_a_second_signal_ends_an_end_that_is_stuck(start: Start) -> None:
    process = start(
        running(
            STUCK.format("stops.serving(); print('up', flush=True)\nwhile not stops.wait(60): pass")
        )
    )
    assert process.stdout and process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "now\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(TIMEOUT) == 128 + signal.SIGINT
