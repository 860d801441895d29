"""A folder of write-once files. A file appears under its name only when its bytes are durable."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from milvine.errors import StorageFailed
from milvine.storage.directory import Directory, Identity
from milvine.storage.durable import make_folder, refusal, sync_fd, write_all
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
    """Files in one folder, which is held open and must be there. Thread-safe: every
    method works on one name.

    Raises:
        StorageFailed: the folder is missing or cannot be opened.
    """

    def __init__(
        self, folder: Path, use_mmap: bool = True, directory: Directory | None = None
    ) -> None:
        self.folder = folder
        self._use_mmap = use_mmap
        try:
            self._directory = directory or Directory(folder)
        except OSError as error:
            raise refusal(f"open the folder {folder}", error) from error

    @classmethod
    def made(cls, folder: Path, use_mmap: bool = True) -> LocalStorage:
        """The same, where the folder is made if need be."""
        try:
            make_folder(folder)
        except OSError as error:
            raise refusal(f"make the folder {folder}", error) from error
        return cls(folder, use_mmap)

    def close(self) -> None:
        """Let go of the folder; nothing is read or written any more."""
        self._directory.close()

    @property
    def identity(self) -> Identity | None:
        """Of the folder, by which a process of its own knows that it has the same."""
        return self._directory.identity

    @contextmanager
    def create(self, name: str) -> Iterator[Sink]:
        """Write a new file; it gets its name, durably, when the block ends without an error.

        Raises:
            StorageFailed: the disk refused (full, permission, I/O); nothing of the file remains.
        """
        temporary = name + TEMPORARY
        try:
            at("file.create")
            fd = self._directory.create(temporary)
            try:
                yield _FileSink(fd)
                at("file.sync")
                sync_fd(fd)
            finally:
                os.close(fd)
            at("file.rename")
            self._directory.replace(temporary, name)
            self._sync_names()
        except OSError as error:
            self._discard(temporary, name)
            raise refusal(f"write {self.folder / name}", error) from error
        except BaseException:
            self._discard(temporary)
            raise

    def _sync_names(self) -> None:
        at("file.renamed")
        self._directory.sync()

    @contextmanager
    def names_together(self) -> Iterator[LocalStorage]:
        """A storage of the same folder for creating several files: one sync makes all
        names durable, at the end.

        Raises:
            StorageFailed: the disk refused that; the files are there, and it is not
                known whether they will stay.
        """
        together = _NamesTogether(self.folder, self._use_mmap, self._directory)
        yield together
        if not together.created:
            return
        try:
            self._sync_names()
        except OSError as error:
            raise refusal(f"write {self.folder}", error) from error

    def read(self, name: str, scattered: bool = False) -> Bytes:
        """The whole file as read-only uint8: mapped, or read into memory with `storage.mmap:
        false`.

        `scattered`: of a mapped file the system reads the pages that are asked for, and not their
        neighbours as well.

        Raises:
            StorageFailed: the file is missing or cannot be read.
        """
        try:
            with self.open(name) as file:
                if not self._use_mmap:
                    return np.frombuffer(file.read(), dtype=np.uint8)
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                if scattered and hasattr(mapped, "madvise"):
                    mapped.madvise(mmap.MADV_RANDOM)
                return np.frombuffer(mapped, dtype=np.uint8)
        except (OSError, ValueError) as error:
            raise StorageFailed(f"Cannot read {self.folder / name}: {error}") from error

    def open(self, name: str) -> BinaryIO:
        """The file itself, to be read without a buffer. Raises OSError."""
        path, within = self.folder / name, self._directory
        return open(path, "rb", buffering=0, opener=lambda _, flags: within.open(name, flags))

    def size(self, name: str) -> int:
        """Bytes of the file, 0 when it is missing."""
        try:
            return self._directory.stat(name).st_size
        except FileNotFoundError:
            return 0

    def names(self) -> list[str]:
        """Every file in the folder, temporary ones included."""
        return self._directory.names()

    def remove(self, name: str) -> bool:
        """Remove a file; False when the system refuses for now (a mapped file on Windows), so try
        again later.
        """
        try:
            at("file.remove")
            self._directory.unlink(name)
            at("file.removed")
        except OSError:
            return False
        return True

    def _discard(self, *names: str) -> None:
        for name in names:
            with suppress(OSError):  # swept at the next open: the catalog names neither
                self._directory.unlink(name)


class _NamesTogether(LocalStorage):
    """Leaves the names of new files to whoever syncs the folder."""

    created = False

    def _sync_names(self) -> None:
        self.created = True
