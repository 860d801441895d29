"""A folder of write-once files. A file appears under its name only when its bytes are durable."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import numpy as np

from milvine.errors import StorageFailed
from milvine.storage.durable import make_folder, refusal, sync_fd, sync_folder, write_all
from milvine.storage.failpoints import at
from milvine.types import Bytes

TEMPORARY = ".tmp"


class Sink(Protocol):
    """Where a component is written: an append-only stream that knows its position."""

    @property
    def position(self) -> int: ...

    def write(self, data: bytes | memoryview) -> int: ...


class _FileSink:
    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.position = 0

    def write(self, data: bytes | memoryview) -> int:
        at("file.write")
        count = write_all(self._fd, [memoryview(data).cast("B")])
        self.position += count
        return count


class LocalStorage:
    """Files in one folder. Thread-safe: every method works on one name."""

    def __init__(self, folder: Path, use_mmap: bool = True) -> None:
        self.folder = folder
        self._use_mmap = use_mmap
        try:
            make_folder(folder)
        except OSError as error:
            raise refusal(f"make the folder {folder}", error) from error

    @contextmanager
    def create(self, name: str) -> Iterator[Sink]:
        """Write a new file; it gets its name, durably, when the block ends without an error.

        Raises:
            StorageFailed: the disk refused (full, permission, I/O); nothing of the file remains.
        """
        final, temporary = self.folder / name, self.folder / (name + TEMPORARY)
        try:
            at("file.create")
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o644)
            try:
                yield _FileSink(fd)
                at("file.sync")
                sync_fd(fd)
            finally:
                os.close(fd)
            at("file.rename")
            os.replace(temporary, final)
            self._sync_names()
        except OSError as error:
            self._discard(temporary, final)
            raise refusal(f"write {final}", error) from error
        except BaseException:
            self._discard(temporary)
            raise

    def _sync_names(self) -> None:
        at("file.renamed")
        sync_folder(self.folder)

    @contextmanager
    def names_together(self) -> Iterator[LocalStorage]:
        """A storage of the same folder for creating several files: one sync makes all names durable, at the end.

        Raises:
            StorageFailed: the disk refused that; the files are there, and it is not known whether they will stay.
        """
        together = _NamesTogether(self.folder, self._use_mmap)
        yield together
        if not together.created:
            return
        try:
            self._sync_names()
        except OSError as error:
            raise refusal(f"write names in {self.folder}", error) from error

    def read(self, name: str, scattered: bool = False) -> Bytes:
        """The whole file as read-only uint8: mapped, or read into memory with `storage.mmap: false`.

        `scattered`: of a mapped file the system reads the pages that are asked for, and not their neighbours as well.

        Raises:
            StorageFailed: the file is missing or cannot be read.
        """
        path = self.folder / name
        try:
            with open(path, "rb") as file:
                if not self._use_mmap:
                    return np.frombuffer(file.read(), dtype=np.uint8)
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                if scattered and hasattr(mapped, "madvise"):
                    mapped.madvise(mmap.MADV_RANDOM)
                return np.frombuffer(mapped, dtype=np.uint8)
        except (OSError, ValueError) as error:
            raise StorageFailed(f"Cannot read {path}: {error}") from error

    def size(self, name: str) -> int:
        """Bytes of the file, 0 when it is missing."""
        try:
            return (self.folder / name).stat().st_size
        except FileNotFoundError:
            return 0

    def names(self) -> list[str]:
        """Every file in the folder, temporary ones included."""
        return sorted(entry.name for entry in os.scandir(self.folder) if entry.is_file())

    def remove(self, name: str) -> bool:
        """Remove a file; False when the system refuses for now (a mapped file on Windows), so try again later."""
        try:
            at("file.remove")
            (self.folder / name).unlink(missing_ok=True)
            at("file.removed")
        except OSError:
            return False
        return True

    @staticmethod
    def _discard(*paths: Path) -> None:
        for path in paths:
            with suppress(OSError):  # swept at the next open: the catalog names neither
                path.unlink(missing_ok=True)


class _NamesTogether(LocalStorage):
    """Leaves the names of new files to whoever syncs the folder."""

    created = False

    def _sync_names(self) -> None:
        self.created = True
