"""A folder held open: what is done in it is done in this very folder, wherever it was moved
meanwhile, and never in another that has taken its place. In one that was removed nothing can be
made any more.

Where the system cannot work relative to an open folder (Windows, which lets nobody move one with
open files in it) the path is used.
"""

from __future__ import annotations

import os
import weakref
from pathlib import Path

from milvine.errors import FolderGone
from milvine.storage.durable import sync_fd, sync_folder, sync_folder_fd, write_all
from milvine.storage.forks import let_go_in_children

Identity = tuple[int, int]
"""Device and number of a file or folder: the same under every name, and its own while
somebody holds it open."""
NOWHERE: Identity = (0, 0)
"""Of no file."""
_RELATIVE = {
    os.open,
    os.stat,
    os.unlink,
    os.rename,
} <= os.supports_dir_fd and os.scandir in os.supports_fd
_NONE = -1  # no descriptor, where one is wanted
_NEW = (
    os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
)


def identity(path: str | os.PathLike[str] | int) -> Identity | None:
    """Of what a path or a descriptor leads to; None where nothing is."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def identity_of_followed(path: Path) -> Identity:
    """The identity of a file that another process writes and this one reads again and again.

    Raises:
        FolderGone: nothing is there.
    """
    found = identity(path)
    if found is None:
        raise FolderGone(f"{path} is gone, so nobody can say what was committed since")
    return found


def _close(fd: int | None) -> None:
    if fd is not None:
        os.close(fd)


class Directory:
    """The folder at `path`, which must be there.

    Methods take names in it and raise OSError. It is let go of by `close`, or with the
    last who holds this object.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.identity = identity(path)
        self._fd: int | None = None
        if _RELATIVE:
            self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self.identity = identity(self._fd)
        self._let_go = weakref.finalize(self, _close, self._fd)
        let_go_in_children(self)
        self._let_go.atexit = False  # a database that is closed when the process ends still writes

    def close(self) -> None:
        """Let go of the folder. May be called again; nothing else may."""
        self._let_go()
        self._fd = None if self._fd is None else _NONE

    def forked(self) -> None:
        self.close()

    def check(self, what: str) -> None:
        """Whether the path still leads to this folder; `what` names it in the error.

        Raises:
            FolderGone: it does not.
        """
        if identity(self.path) != self.identity:
            raise FolderGone.at(what, self.path)

    def open(self, name: str, flags: int, mode: int = 0o644) -> int:
        """A descriptor of a file, as by `os.open`."""
        return os.open(self._at(name), flags, mode, dir_fd=self._fd)

    def create(self, name: str) -> int:
        """A descriptor of a new, empty file to be written; one of that name is emptied."""
        return self.open(name, _NEW)

    def stat(self, name: str) -> os.stat_result:
        return os.stat(self._at(name), dir_fd=self._fd)

    def replace(self, old: str, new: str) -> None:
        """Give a file a name that another may have had."""
        os.replace(self._at(old), self._at(new), src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def unlink(self, name: str) -> bool:
        """Remove a file; False where there is none."""
        try:
            os.unlink(self._at(name), dir_fd=self._fd)
        except FileNotFoundError:
            return False
        return True

    def names(self) -> list[str]:
        """Every file, in order."""
        if self._fd is None:
            return _files_of(self.path)
        # Of its own: readers of one open folder share the place that they have come to.
        fd = os.open(".", os.O_RDONLY, dir_fd=self._fd)
        try:
            return _files_of(fd)
        finally:
            os.close(fd)

    def write(self, name: str, data: bytes) -> None:
        """Replace a file atomically and durably: the old content or the new, never a mixture."""
        temporary = name + ".tmp"
        fd = self.create(temporary)
        try:
            write_all(fd, [memoryview(data)])
            sync_fd(fd)
        finally:
            os.close(fd)
        self.replace(temporary, name)
        self.sync()

    def append(self, name: str, data: bytes) -> None:
        """Append to a file that exists, durably. After an error or a power cut it may
        end in a part of `data`."""
        fd = self.open(name, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0))
        try:
            write_all(fd, [memoryview(data)])
            sync_fd(fd)
        finally:
            os.close(fd)

    def sync(self) -> None:
        """Make the names in it survive a power cut."""
        if self._fd is None:
            sync_folder(self.path)
        else:
            sync_folder_fd(self._fd)

    def _at(self, name: str) -> str:
        return name if self._fd is not None else str(self.path / name)


def _files_of(folder: Path | int) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_file())
