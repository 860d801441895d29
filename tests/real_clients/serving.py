"""A server for clients of other packages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import serving as processes

ROOT = Path(__file__).parents[2]
# The default, which limited memory would make smaller.
SET = {"MILVINE_CACHE_INSERT_BUFFER_SIZE": "1GB"}


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[int]:
    """The port of a server with its data in `folder`, stopped when the block ends."""
    with processes.serving(folder, *options, environment=SET) as server:
        yield server.port
