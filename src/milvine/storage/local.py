"""Component files in a folder of this machine: `milvine.storage.base.Storage`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

from milvine.errors import StorageFailed
from milvine.storage.base import TEMPORARY, Sink
from milvine.storage.directory import Directory
from milvine.storage.durable import check_room, make_folder, refusal, sync_fd
from milvine.storage.failpoints import at
from milvine.storage.local_files import FileSink, map_open
from milvine.types import Bytes


class LocalStorage:
    """Files in one folder, which is held open and must be there. `use_mmap` False: files are read
    into memory.

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
        self._directory.close()

    @property
    def mapped_folder(self) -> Path | None:
        return self.folder if self._use_mmap else None

    def path(self, name: str) -> Path:
        """Where a file of this name is or would be."""
        return self.folder / name

    def shown(self, name: str) -> str:
        return str(self.path(name))

    @contextmanager
    def create(self, name: str) -> Iterator[Sink]:
        with self._writing(name):
            fd = self._made(name)
            try:
                yield FileSink(fd)
                at("file.sync")
                sync_fd(fd)
            finally:
                os.close(fd)
            self._give_name(name)

    @contextmanager
    def create_at(self, name: str) -> Iterator[Path]:
        with self._writing(name):
            os.close(self._made(name))
            self._directory.check("The folder")
        try:
            yield self.path(name + TEMPORARY)
        except BaseException:
            self._discard(name + TEMPORARY)
            raise
        with self._writing(name):
            self._give_name(name)

    @contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        """A step of making a file, of which nothing remains after an error."""
        try:
            yield
        except OSError as error:
            self._discard(name + TEMPORARY, name)
            raise refusal(f"write {self.path(name)}", error) from error
        except BaseException:
            self._discard(name + TEMPORARY)
            raise

    def _made(self, name: str) -> int:
        at("file.create")
        return self._directory.create(name + TEMPORARY)

    def _give_name(self, name: str) -> None:
        at("file.rename")
        self._directory.replace(name + TEMPORARY, name)
        self._sync_names()

    def _sync_names(self) -> None:
        at("file.renamed")
        self._directory.sync()

    @contextmanager
    def names_together(self) -> Iterator[LocalStorage]:
        storage = _NamesTogether(self.folder, self._use_mmap, self._directory)
        yield storage
        if not storage.created:
            return
        try:
            self._sync_names()
        except OSError as error:
            raise refusal(f"write {self.folder}", error) from error

    def read(self, name: str, scattered: bool = False) -> Bytes:
        try:
            with self.open(name) as file:
                if not self._use_mmap:
                    return np.frombuffer(file.read(), dtype=np.uint8)
                return map_open(file, scattered=scattered)
        except (OSError, ValueError) as error:
            raise StorageFailed(f"Cannot read {self.path(name)}: {error}") from error

    def open(self, name: str) -> BinaryIO:
        path, within = self.path(name), self._directory
        return open(path, "rb", buffering=0, opener=lambda _, flags: within.open(name, flags))

    @contextmanager
    def local_file(self, name: str) -> Iterator[Path]:
        self._directory.check("The folder")
        path = self.path(name)
        if not path.exists():
            raise StorageFailed(f"Cannot read {path}: it is not there")
        yield path

    def size(self, name: str) -> int:
        try:
            return self._directory.stat(name).st_size
        except FileNotFoundError:
            return 0

    def sizes(self) -> dict[str, int]:
        found = {}
        with suppress(OSError):
            for name in self.names():
                with suppress(OSError):
                    found[name] = self._directory.stat(name).st_size
        return found

    def names(self) -> list[str]:
        return self._directory.names()

    def remove(self, name: str) -> bool:
        """False when the system refuses for now, as it does for a mapped file on Windows."""
        try:
            at("file.remove")
            self._directory.unlink(name)
            at("file.removed")
        except OSError:
            return False
        return True

    def check_room(self) -> None:
        check_room(self.folder, "the folder of segments")

    def _discard(self, *names: str) -> None:
        for name in names:
            with suppress(OSError):  # swept at the next open: the catalog names neither
                self._directory.unlink(name)


class _NamesTogether(LocalStorage):
    """Leaves the names of new files to whoever syncs the folder."""

    created = False

    def _sync_names(self) -> None:
        self.created = True
