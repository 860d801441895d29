"""`milvine serve` as a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
# The default, which limited memory would make smaller.
SET = {"MILVINE_CACHE_INSERT_BUFFER_SIZE": "1GB"}
HERE = {**os.environ, **SET, "PYTHONPATH": str(ROOT / "src")}


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[int]:
    """The port of a server with its data in `folder`, stopped when the block ends."""
    command = [
        sys.executable,
        "-m",
        "milvine",
        "serve",
        "--port",
        "0",
        "--data",
        str(folder),
        *options,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=HERE) as server:
        try:
            yield _port(server)
        finally:
            server.terminate()
            assert server.wait(30) == 0


def _port(server: subprocess.Popen[str]) -> int:
    assert server.stdout is not None
    line = server.stdout.readline()
    match = re.search(r":(\d+)\b", line)
    assert match is not None, f"no ready line, but {line!r}"
    return int(match[1])
