"""The server under load: a process of its own, watched through /proc (on Linux; elsewhere without
figures).
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from milvine.testing.crash.command import module_command

_SAMPLE_SECONDS = 0.25
_START_SECONDS = 120.0
_STOP_SECONDS = 120.0
_READY = re.compile(r"ready: grpc (\S+?):(\d+)(?:, http \S+:(\d+))?")
MIB = 1 << 20


@dataclass
class Usage:
    """Samples of a process: bytes of anonymous and of all resident memory, and of the processes it
    started.
    """

    anonymous: list[int] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)
    builders: list[int] = field(default_factory=list)
    cpu_seconds: float = 0.0
    threads_max: int = 0
    files_max: int = 0


class ServerProcess:
    """A server on free ports of this machine over `data`.

    Raises:
        RuntimeError: it did not get ready; the text is what it said.
    """

    def __init__(
        self, data: Path, settings: Mapping[str, str], errors: Path, sample: bool = True
    ) -> None:
        arguments = ["serve", "--port", "0", "--http-port", "0", "--data", str(data)]
        for key, value in settings.items():
            arguments += ["--set", f"{key}={value}"]
        self._errors = errors
        with errors.open("ab") as stderr:
            self._process = subprocess.Popen(
                module_command("milvine.testing.load.server_process", arguments),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self.port, self.http_port = self._wait_until_ready()
        self.usage, self._forked = Usage(), False
        self._stopping = threading.Event()
        self._sampler = threading.Thread(target=self._watch, daemon=True)
        if sample and Path("/proc/self/status").exists():
            self._sampler.start()

    def _wait_until_ready(self) -> tuple[int, int]:
        timer = threading.Timer(_START_SECONDS, self._process.kill)
        timer.start()
        assert self._process.stdout
        line = self._process.stdout.readline()
        timer.cancel()
        found = _READY.search(line)
        if not found:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
            raise RuntimeError(
                f"The server did not start: {line}{self._errors.read_text(encoding='utf-8')}"
            )
        return int(found.group(2)), int(found.group(3) or 0)

    @property
    def pid(self) -> int:
        return self._process.pid

    def alive(self) -> bool:
        return self._process.poll() is None

    def fork_a_child(self) -> None:
        """Which holds what the server has open, until `let_go`."""
        assert self._process.stdin
        self._forked = True
        self._process.stdin.write("f")
        self._process.stdin.flush()

    def let_go(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()

    def dump_stacks(self) -> None:
        """Into the file of its standard error."""
        self._process.send_signal(signal.SIGUSR1)

    def stop(self) -> str:
        """Ends it as an operator would; what was wrong with that, if anything."""
        self._stopping.set()
        self._process.terminate()
        try:
            status = self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.dump_stacks()
            time.sleep(1)
            self.kill()
            return f"the server did not stop within {_STOP_SECONDS:.0f} s"
        finally:
            assert self._process.stdout
            self._process.stdout.close()
            if not self._forked:
                self.let_go()
        return "" if status == 0 else f"the server ended with status {status}"

    def kill(self) -> None:
        self._stopping.set()
        self._process.kill()
        self._process.wait()

    def _watch(self) -> None:
        while not self._stopping.wait(_SAMPLE_SECONDS):
            try:
                self._sample()
            except (OSError, ValueError):
                if not self.alive():
                    return

    def _sample(self) -> None:
        status = memory_of(self.pid)
        self.usage.anonymous.append(status["RssAnon"])
        self.usage.resident.append(status["VmRSS"])
        self.usage.threads_max = max(self.usage.threads_max, status["Threads"])
        self.usage.files_max = max(self.usage.files_max, len(os.listdir(f"/proc/{self.pid}/fd")))
        ticks = (
            Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        )
        self.usage.cpu_seconds = sum(map(int, ticks[11:15])) / os.sysconf("SC_CLK_TCK")
        self.usage.builders.append(
            sum(memory_of(pid).get("RssAnon", 0) for pid in _children(self.pid))
        )


def memory_of(pid: int) -> dict[str, int]:
    """Numbers of /proc/PID/status by name: bytes, or a count. Empty of a process that has ended."""
    found = {}
    try:
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            parts = value.split()
            if len(parts) == 2 and parts[1] == "kB":
                found[name] = int(parts[0]) * 1024
            elif name == "Threads":
                found[name] = int(parts[0])
    except OSError:
        return {}
    return found


def _children(pid: int) -> list[int]:
    lines = (
        path.read_text(encoding="ascii") for path in Path(f"/proc/{pid}/task").glob("*/children")
    )
    return [int(word) for line in lines for word in line.split()]
