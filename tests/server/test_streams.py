"""Standard streams that are full, closed or not read: what has to be said is lost, and nothing
else.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from milvine.interpreter import running_module
from milvine.logs.lossy import LossyStream

TIMEOUT = 60
FULL = Path("/dev/full")
has_full = pytest.mark.skipif(not FULL.exists(), reason="/dev/full is Linux's")
LOUD = ["serve", "--port", "0", "--http-port", "0", "--log-level", "info"]


def ended(command: list[str], out: str, err: str) -> tuple[int, str]:
    """The exit code and what was said on standard error, with streams as a shell redirects them."""
    words = ["sh", "-c", f'exec "$@" {out} {err}', "sh", *command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT)
    return done.returncode, done.stderr


def served(tmp_path: Path, out: str, err: str, *more: str) -> tuple[int, str, list[str]]:
    """The same of a server that is stopped once it listens, and where its standard streams led to
    on Linux.
    """
    log = tmp_path / "logs"
    arguments = [*LOUD, "--data", str(tmp_path / "data"), "--set", f"logs.path={log}", *more]
    words = ["sh", "-c", f'exec "$@" {out} {err}', "sh", *running_module("milvine", *arguments)]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            _await_line(log / "milvine.log", "serving: address=", 3)
            streams = [os.path.realpath(f"/proc/{process.pid}/fd/{number}") for number in range(3)]
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=TIMEOUT)
        finally:
            process.kill()
    return process.returncode, said, streams


def _await_line(path: Path, words: str, count: int) -> None:
    end = time.monotonic() + TIMEOUT
    while not path.exists() or path.read_text().count(words) < count:
        assert time.monotonic() < end
        time.sleep(0.02)


@has_full
@pytest.mark.parametrize("out", [">/dev/full", ">&-"])
def test_a_ready_line_that_cannot_be_written_is_no_end(tmp_path: Path, out: str) -> None:
    code, said, _ = served(tmp_path, out, "")
    assert code == 0 and "Traceback" not in said
    assert ("standard output cannot be written (No space left on device)" in said) == (
        out == ">/dev/full"
    )


@has_full
@pytest.mark.parametrize("more", [(), ("--set", "logs.log_to_stdout=true")])
def test_a_log_that_cannot_be_written_is_no_end(tmp_path: Path, more: tuple[str, ...]) -> None:
    assert served(tmp_path, ">/dev/full", "2>/dev/full", *more)[:2] == (0, "")


@has_full
def test_closed_streams_are_no_place_for_files(tmp_path: Path) -> None:
    code, _, streams = served(tmp_path, "<&- >&-", "2>&-")
    assert (code, streams) == (0, [os.devnull] * 3)


@has_full
def test_a_command_that_cannot_say_it_fails_in_one_sentence() -> None:
    words = "milvine: cannot write to standard output or error: No space left on device\n"
    assert ended(running_module("milvine", "version"), ">/dev/full", "") == (1, words)


def test_nobody_is_told_of_a_reader_who_has_read_enough() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = running_module("milvine", "version")
    done = subprocess.run(
        command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


class Disk:
    """A stream that is full until there is room."""

    def __init__(self) -> None:
        self.room, self.text = False, ""

    def write(self, text: str) -> None:
        if not self.room:
            raise OSError(28, "No space left on device")
        self.text += text

    def flush(self) -> None:
        return


def test_lost_lines_are_told_once_and_counted(capfd: pytest.CaptureFixture[str]) -> None:
    disk = Disk()
    handler = LossyStream(disk)
    for number in range(3):
        handler.handle(
            logging.LogRecord("milvine", logging.INFO, "", 0, f"line {number}", None, None)
        )
    said = capfd.readouterr().err
    reason = "milvine: cannot write the log to standard error: No space left on device."
    assert said.startswith(reason) and said.count("\n") == 1
    disk.room = True
    handler.handle(logging.LogRecord("milvine", logging.INFO, "", 0, "line 3", None, None))
    handler.handle(logging.LogRecord("milvine", logging.INFO, "", 0, "line 4", None, None))
    assert disk.text.splitlines() == [
        "line 3", "the log could not be written: 3 lines before this one may be missing", "line 4"
    ]  # fmt: skip
