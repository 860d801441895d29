"""Files without a name, for libraries that read and write paths only.

On Linux such a file lies in memory and is reached through /proc; elsewhere it is a temporary file,
removed while it is still mapped, which POSIX allows.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from milvine.errors import StorageFailed
from milvine.storage.durable import write_all
from milvine.types import Bytes


@contextmanager
def nameless_file(data: Bytes | None = None) -> Iterator[Path]:
    """The path of a new file that holds `data`, gone after the block for all who have not opened or
    mapped it.

    Raises:
        StorageFailed: there is no room for it.
    """
    try:
        with _new_file() as (fd, path):
            if data is not None:
                write_all(fd, [data.data])
            yield path
    except OSError as error:
        raise StorageFailed(f"Cannot write a temporary file: {error}") from error


def bytes_of(path: Path) -> Bytes:
    """What lies under a path, read at once, uint8."""
    return np.fromfile(path, dtype=np.uint8)


@contextmanager
def _new_file() -> Iterator[tuple[int, Path]]:
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("milvine")
        try:
            yield fd, Path(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)
        return
    fd, name = tempfile.mkstemp(prefix="milvine-")
    try:
        yield fd, Path(name)
    finally:
        os.close(fd)
        Path(name).unlink(missing_ok=True)
