"""The processes of a run: a worker for each contender, more where clients are processes, and
Milvine's server.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from milvine.interpreter import running_module

HERE = Path(__file__).parent
WORKER = HERE / "worker.py"
COMMAND_SECONDS_MAX = 3600.0
START_SECONDS_MAX = 120.0
STOP_SECONDS_MAX = 60.0
HEAD_START = 0.15  # between telling clients when to begin and that moment


class ContenderFailed(Exception):
    """A contender ended, took too long, or answered with an error; the text says which."""


class Worker:
    """A process of `worker.py`. Calls are answered in order."""

    def __init__(self, adapter: Path, python: Path | str | None = None) -> None:
        # -E: PYTHONPATH is about this one's packages.
        interpreter = [str(python), "-E"] if python else [sys.executable]
        command = [*interpreter, str(WORKER), str(adapter)]
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            start_new_session=True,  # Ctrl-C is for the parent, which closes contenders in order
        )
        self._rest = b""

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, do: str, **arguments: Any) -> None:
        """Send a command; `hear` gives its answer."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write((json.dumps({"do": do, **arguments}) + "\n").encode())
            self.process.stdin.flush()
        except (OSError, ValueError) as error:  # ValueError: its pipe was closed by `end`
            raise ContenderFailed("its process has ended") from error

    def hear(self, within: float = COMMAND_SECONDS_MAX) -> dict[str, Any]:
        """The answer to the command sent before.

        Raises:
            ContenderFailed: the contender raised, ended, or said nothing for `within` seconds.
        """
        until = time.monotonic() + within
        while b"\n" not in self._rest:
            self._rest += self._more(until - time.monotonic())
        line, self._rest = self._rest.split(b"\n", 1)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ContenderFailed(answer["error"])
        return answer

    def _more(self, within: float) -> bytes:
        assert self.process.stdout is not None
        answers = self.process.stdout.fileno()
        if not select.select([answers], [], [], max(0.0, within))[0]:
            self.process.kill()
            raise ContenderFailed("took too long")
        data = os.read(answers, 1 << 16)
        if not data:
            raise ContenderFailed(f"its process has ended: {self._last_words()}")
        return data

    def _last_words(self) -> str:
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return " ".join(lines[-2:]) or "without a word"

    def ask(self, do: str, within: float = COMMAND_SECONDS_MAX, **arguments: Any) -> dict[str, Any]:
        self.tell(do, **arguments)
        return self.hear(within)

    def end(self) -> None:
        """However far it is."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self._said):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()

    def close(self) -> None:
        with contextlib.suppress(ContenderFailed):
            self.ask("close", STOP_SECONDS_MAX)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS_MAX)
        self.end()


class Serving:
    """`milvine serve` in a process of its own on a free port."""

    def __init__(self, folder: Path, threads: int, command: Sequence[str] = ()) -> None:
        self.folder, self.threads, self.wrapping = folder, threads, list(command)
        self.port = free_port()
        self.start()

    def start(self) -> None:
        """Returns when the server says that it serves.

        Raises:
            ContenderFailed: it ended instead.
        """
        config = self.folder.with_suffix(".yaml")
        config.write_text(
            f"version: 0.5\nengine_config:\n  omp_thread_num: {self.threads}\n", encoding="utf-8"
        )
        options = [
            "--data",
            self.folder,
            "--port",
            self.port,
            "--http-port",
            free_port(),
            "--config",
            config,
        ]
        command = [*self.wrapping, *running_module("milvine", "serve", *map(str, options))]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise ContenderFailed(f"the server ended with exit code {self.process.wait()}")

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        """Without a chance to flush; `start` starts it again."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()


@dataclass
class Team:
    """The workers of one contender: the first loads and builds; the others are further client
    processes.

    `served`: clients are processes of their own, else threads of the first worker.
    """

    adapter: Path
    setup: dict[str, Any]
    address: str
    python: Path | None = None
    served: bool = False
    workers: list[Worker] = field(default_factory=list)
    server_pid: int | None = None
    version: str = ""
    many: bool = False

    def open(self) -> None:
        first = self._connect(0, self.setup)
        self.server_pid = first["server_pid"] or self.server_pid
        self.address, self.version, self.many = first["address"], first["version"], first["many"]

    def wake(self) -> None:
        """Start one more worker and let it import what it needs, without connecting it."""
        self.workers.append(Worker(self.adapter, self.python))
        self.workers[-1].ask("wake", START_SECONDS_MAX)

    def _connect(self, number: int, setup: dict[str, Any]) -> dict[str, Any]:
        if number == len(self.workers):
            self.wake()
        return self.workers[number].ask(
            "open", START_SECONDS_MAX, address=self.address, setup=setup
        )

    @property
    def first(self) -> Worker:
        return self.workers[0]

    def ask_all(self, do: str, count: int, **arguments: Any) -> list[dict[str, Any]]:
        """The same command to `count` workers at once, which are started where there are fewer."""
        while len(self.workers) < count:
            self._connect(len(self.workers), {**self.setup, "create": False})
        for worker in self.workers[:count]:
            worker.tell(do, **arguments)
        return [worker.hear() for worker in self.workers[:count]]

    def pids(self) -> list[int]:
        return [worker.pid for worker in self.workers if worker.process.poll() is None]

    def close(self) -> None:
        for worker in reversed(self.workers):
            worker.close()
        self.workers.clear()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and of its children, those that ended included where the
    system says so.
    """
    times = (each.cpu_times() for each in _living(pid))
    return float(sum(t.user + t.system + t.children_user + t.children_system for t in times))


def resident_bytes(pid: int) -> int:
    return sum(each.memory_info().rss for each in _living(pid))


def _living(pid: int) -> Iterator[psutil.Process]:
    """Those that end while they are looked at are left out."""
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        for each in (parent, *parent.children(recursive=True)):
            if each.is_running() and each.status() != psutil.STATUS_ZOMBIE:
                yield each


def free_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
