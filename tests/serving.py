"""`milvine serve` as a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import milvine

SOURCE = Path(milvine.__file__).parents[1]
READY = re.compile(r"Milvine \S+ ready: grpc (\S+:\d+)(?:, http (\S+:\d+))?, data (.+)\n")


class Served:
    """A server process, from its start on.

    Args:
        options: of `milvine serve`.
        environment: beside that of the tests.
        more: of `subprocess.Popen`; what the server says on standard error is theirs unless
            `stderr` is given.
    """

    def __init__(self, *options: object, environment: Any = (), **more: Any) -> None:
        own = {**os.environ, "PYTHONPATH": str(SOURCE), **dict(environment)}
        command = [sys.executable, "-m", "milvine", "serve", *map(str, options)]
        self.process: subprocess.Popen[str] = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=own, **more
        )
        self.ready, self.address, self.http_address = "", "", ""

    def wait(self) -> Served:
        """Until it is ready, and says where: `ready` is the line, `address` the place of gRPC."""
        assert self.process.stdout is not None
        self.ready = self.process.stdout.readline()
        match = READY.fullmatch(self.ready)
        assert match, (self.ready, self.process.stderr and self.process.stderr.read())
        self.address, self.http_address = match[1], match[2] or ""
        return self

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def http_port(self) -> int:
        return int(self.http_address.rpartition(":")[2])

    def end(self) -> tuple[int, str, str]:
        """Its exit code, and what it said on standard output and standard error."""
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err

    def kill(self) -> None:
        """Whatever state it is in."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@contextmanager
def serving(folder: Path, *options: object, **more: Any) -> Iterator[Served]:
    """A server with its data in `folder`, at a free port, asked to stop when the block ends."""
    served = Served("--port", 0, "--data", folder, *options, **more)
    try:
        yield served.wait()
        served.process.terminate()
        assert served.process.wait(30) == 0
    finally:
        served.kill()
