"""Component files by path, for those whom a storage gave one: a process of its own, above all."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from milvine.errors import FolderGone, StorageFailed
from milvine.storage.base import Sink
from milvine.storage.directory import Identity, identity
from milvine.storage.durable import refusal, sync_fd, write_all
from milvine.storage.failpoints import at
from milvine.types import Bytes


class FileSink:
    """Appends to a file that is open for writing."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.position = 0

    def write(self, data: bytes | memoryview) -> int:
        at("file.write")
        count = write_all(self._fd, [memoryview(data).cast("B")])
        self.position += count
        return count


def mapped(path: Path, own: bool = False, scattered: bool = False) -> Bytes:
    """The whole file as uint8 (bytes,), mapped: read-only, or `own`, which may be changed and
    leaves the file as it is. `scattered`: for bytes here and there, around which the system shall
    read nothing.

    Raises:
        StorageFailed: it is missing, empty or cannot be read.
    """
    access = mmap.ACCESS_COPY if own else mmap.ACCESS_READ
    try:
        with open(path, "rb", buffering=0) as file:
            return map_open(file, access, scattered)
    except (OSError, ValueError) as error:
        raise StorageFailed(f"Cannot read {path}: {error}") from error


def map_open(file: BinaryIO, access: int = mmap.ACCESS_READ, scattered: bool = False) -> Bytes:
    """An open file as `mapped`.

    Raises:
        OSError, ValueError: it is empty or cannot be mapped.
    """
    found = mmap.mmap(file.fileno(), 0, access=access)
    if scattered and hasattr(found, "madvise"):  # Windows has none
        found.madvise(mmap.MADV_RANDOM)
    return np.frombuffer(found, dtype=np.uint8)


@contextmanager
def filled(path: Path, made: Identity) -> Iterator[Sink]:
    """Write into the empty file that `Storage.create_at` made, and sync it when the block ends
    without an error. It is for the storage to give it its name.

    Raises:
        FolderGone: another file, or none, is where that one was `made`.
        StorageFailed: the disk refused.
    """
    try:
        fd = os.open(path, os.O_WRONLY | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise FolderGone.at("The file", path) from None
    except OSError as error:
        raise refusal(f"write {path}", error) from error
    try:
        if identity(fd) != tuple(made):
            raise FolderGone.at("The file", path)
        yield FileSink(fd)
        at("file.sync")
        sync_fd(fd)
    except OSError as error:
        raise refusal(f"write {path}", error) from error
    finally:
        os.close(fd)
