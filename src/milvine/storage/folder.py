"""The data folder: its lock against a second process, its format version, its parts."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from milvine.errors import (
    CorruptFile,
    DataFolderLocked,
    FolderGone,
    StorageFailed,
    UnsupportedFormat,
)
from milvine.storage.directory import Identity, identity
from milvine.storage.durable import make_folder, refusal, write_file
from milvine.storage.forks import let_go_in_children
from milvine.storage.log_place import log_folder

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

FORMAT_VERSION = 2
"""2: sums of the catalog by rows, definitions with a line for each change. What is of 1 is read,
and becomes of 2 with its next change."""
OLDEST_READABLE = 1


_LOCK_SECONDS = 1.0
"""How long to wait for the lock: a killed process holds it until the system has taken it apart.
Whose number the file holds says nothing: in a container every server is process 1."""
_LOCK_RETRY_SECONDS = 0.02


class DataFolder:
    """Paths of one database. `lock` keeps a second writer out for as long as this process lives.

    `wal`: where its log is, where somebody found that out; else where the folder says.

    Raises:
        StorageFailed: a file is in its place; or what says where the log is cannot be read.
    """

    def __init__(self, root: Path, wal: Path | None = None) -> None:
        refuse_file(root)
        self.root = root
        self.catalog = root / "catalog.sqlite"
        self.wal = log_folder(root) if wal is None else wal
        self.segments = segments_folder(root)
        self._lock_path = str(root / "LOCK")
        self._lock_fd: int | None = None
        self._identity: Identity | None = None

    def open(self, read_only: bool = False) -> None:
        """Create or check the folder and take its lock.

        Raises:
            DataFolderLocked: another process has it open for writing, and still has after a second.
            UnsupportedFormat: a newer Milvine wrote it.
            CorruptFile: the file that says the format is damaged.
            StorageFailed: it cannot be created or read.
        """
        try:
            if read_only:
                self.check_format()
                return
            make_folder(self.root, private=True)
            self._lock()
            self.check_format(create=True)
        except OSError as error:
            self.close()
            raise refusal(f"open the data folder {self.root}", error) from error
        except BaseException:
            self.close()
            raise

    def lock(self) -> None:
        """Take the lock and look at nothing: for those who repair.

        Raises:
            DataFolderLocked: another process has it open, and still has after a second.
        """
        self._lock()

    def check(self) -> None:
        """Whether it is still the folder that was opened, and locked: whoever writes asks before.

        Raises:
            FolderGone: it was moved, removed or replaced, or its lock was removed, so that
                another may write to it.
        """
        if self._identity is not None and identity(self._lock_path) != self._identity:
            raise FolderGone.at("The data folder", self.root)

    def close(self) -> None:
        """Give the lock back, whoever else holds the descriptor."""
        if self._lock_fd is not None:
            _give_back(self._lock_fd)
            self.forked()

    def forked(self) -> None:
        """Let go of the file and not of the lock, which is the parent's."""
        fd, self._lock_fd = self._lock_fd, None
        if fd is not None:
            os.close(fd)

    def _lock(self) -> None:
        fd = os.open(
            self.root / "LOCK", os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644
        )
        try:
            self._wait_for_lock(fd)
        except BaseException:
            os.close(fd)
            raise
        self._lock_fd, self._identity = fd, identity(fd)
        let_go_in_children(self)
        os.ftruncate(fd, 0)
        os.lseek(fd, 0, os.SEEK_SET)
        os.write(fd, str(os.getpid()).encode())

    def _wait_for_lock(self, fd: int) -> None:
        deadline = time.monotonic() + _LOCK_SECONDS
        while not _taken(fd):
            if time.monotonic() > deadline:
                raise _locked(self.root, _holder(fd))
            time.sleep(_LOCK_RETRY_SECONDS)

    def check_format(self, create: bool = False) -> None:
        """Whether this Milvine reads what is there now; `create`: it is about to write.

        Raises:
            UnsupportedFormat: a newer one wrote it.
            StorageFailed, CorruptFile: nothing says which format it has.
        """
        path = self.root / "FORMAT"
        if not path.exists():
            if not create:
                raise StorageFailed(f"{self.root} holds no Milvine database")
            write_format(self.root)
            return
        try:
            version = int(json.loads(path.read_bytes())["milvine_format"])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            what = f"it says no format ({error}); `milvine repair` writes it anew"
            raise CorruptFile.at(str(path), 0, what) from None
        if version > FORMAT_VERSION:
            raise UnsupportedFormat(
                f"{self.root} has format {version}; this Milvine reads up to {FORMAT_VERSION}."
                " Install a newer Milvine."
            )
        if version < OLDEST_READABLE:
            raise UnsupportedFormat(
                f"{self.root} has format {version}; the oldest readable is {OLDEST_READABLE}."
            )
        if create and version < FORMAT_VERSION:
            write_format(self.root)


def segments_folder(root: Path) -> Path:
    """Where the component files of a data folder are, if the engine was given no other storage."""
    return root / "segments"


def refuse_file(root: Path) -> None:
    """Raises StorageFailed: a file is where `root`, or a folder above it, is to be."""
    path = next((each for each in (root, *root.parents) if os.path.exists(each)), root)
    if os.path.exists(path) and not os.path.isdir(path):
        raise StorageFailed(f"{path} is a file, not a data folder")


def write_format(root: Path) -> None:
    """Say that a folder has the format that this Milvine writes."""
    write_file(root / "FORMAT", json.dumps({"milvine_format": FORMAT_VERSION}).encode())


def in_use(root: Path) -> bool:
    """Whether a process has the folder open for writing, found out without keeping others
    from it.
    """
    try:
        fd = os.open(root / "LOCK", os.O_RDWR)
    except OSError:
        return False
    try:
        return not _taken(fd)
    finally:
        os.close(fd)


def _locked(root: Path, holder: str) -> DataFolderLocked:
    if holder == str(os.getpid()):
        return DataFolderLocked(
            f"The data folder {root} is open in this process already, perhaps under the name it had"
            " before it was moved. Close that database first, or open another folder."
        )
    return DataFolderLocked(
        f"The data folder {root} is in use by another"
        f" process{f' (pid {holder})' if holder else ''}. Stop it first, or open another folder."
    )


def _taken(fd: int) -> bool:
    """Try to take the lock. It is one of the open file, which children inherit, and not of the
    process: such a lock would be gone as soon as anybody in this process has read the file."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _give_back(fd: int) -> None:
    """Give the lock back though a child may have the descriptor."""
    if sys.platform != "win32":  # nobody inherits it there
        fcntl.flock(fd, fcntl.LOCK_UN)


def _holder(fd: int) -> str:
    """The process id that the holder wrote; empty where the system does not let it be read."""
    try:
        os.lseek(fd, 0, os.SEEK_SET)
        return os.read(fd, 64).decode("ascii", "replace").strip()
    except OSError:
        return ""
