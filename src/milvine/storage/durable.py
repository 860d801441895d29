"""Making bytes and names durable: the only place that calls fsync."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from milvine.errors import DiskFull, StorageFailed
from milvine.interrupts import foreign

if sys.platform == "darwin":  # fsync there leaves the bytes in the drive's cache
    import fcntl

    def sync_fd(fd: int) -> None:
        """Make everything written to `fd` survive a power cut."""
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)

else:

    def sync_fd(fd: int) -> None:
        """Make everything written to `fd` survive a power cut."""
        os.fsync(fd)


_NO_ROOM = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
ROOM_BYTES_MIN = 16 << 20
_ROOM_SHARE = 16
"""What is kept free for deletes, drops and flushes is at most this part of a small disk."""


def refusal(doing: str, error: OSError, file: str | None = None) -> StorageFailed:
    """The error for an operation that the system refused: `Cannot {doing}: why`, and which
    file if that is not said.

    Raises:
        OSError: `error`, where it did not come from the system but from a handler that
            interrupted the operation.
    """
    if foreign(error):
        raise error
    kind = DiskFull if error.errno in _NO_ROOM else StorageFailed
    return kind(f"Cannot {doing}: {error.strerror or error}{f': {file}' if file else ''}")


def check_room(folder: Path, what: str, size: int = 0) -> None:
    """Whether `size` more bytes leave enough room on the disk of `folder` for what must go on:
    deletes, drops, flushes.

    Raises:
        DiskFull: they do not; `what` names the folder in the text.
        StorageFailed: the system does not say.
    """
    try:
        free, total = free_and_total(folder)
    except OSError as error:
        raise refusal(f"look at the disk of {what} {folder}", error) from error
    if free - size < min(ROOM_BYTES_MIN, total // _ROOM_SHARE):
        raise DiskFull(
            f"The disk of {what} {folder} is full: {free >> 20} MB are free. Nothing is inserted"
            " until there is room; searches and deletes go on"
        )


def free_and_total(folder: Path) -> tuple[int, int]:
    """Bytes of the disk of `folder`: those that this user may still write, and all. Raises OSError.

    `shutil.disk_usage` says the same and takes three times as long, which every insert would pay.
    """
    if sys.platform == "win32":
        usage = shutil.disk_usage(folder)
        return usage.free, usage.total
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` (new, renamed, removed files) survive a power cut."""
    if os.name == "nt":  # Windows has no handle for this; NTFS journals the names
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        sync_folder_fd(fd)
    finally:
        os.close(fd)


def sync_folder_fd(fd: int) -> None:
    """The same for a folder that is open."""
    os.fsync(fd)


_PRIVATE, _ANY = 0o700, 0o777  # less what the umask takes


def make_folder(folder: Path, private: bool = False) -> None:
    """Create `folder` with its parents, durably; a `private` one for this user alone. One that is
    there stays so.
    """
    missing = [folder, *folder.parents]
    missing = missing[: next((i for i, f in enumerate(missing) if f.is_dir()), len(missing))]
    for each in reversed(missing):
        each.mkdir(_PRIVATE if private and each == folder else _ANY, exist_ok=True)
        sync_folder(each.parent)


def write_all(fd: int, buffers: Sequence[memoryview]) -> int:
    """Write every byte of `buffers` in order; returns how many.

    A single write may be short (2 GiB limit, signals, a nearly full disk), so this goes on until
    all is written.
    """
    pending = [view for view in buffers if view.nbytes]
    total = 0
    while pending:
        done = os.writev(fd, pending[:512]) if hasattr(os, "writev") else os.write(fd, pending[0])
        total += done
        while pending and done >= pending[0].nbytes:
            done -= pending.pop(0).nbytes
        if done:
            pending[0] = pending[0][done:]
    return total


def copy_file(source: Path, target: Path) -> None:
    """A second copy, times included, that survives a power cut once its folder is synced."""
    with open(source, "rb") as file, open(target, "wb") as copy:
        shutil.copyfileobj(file, copy, 4 << 20)
        copy.flush()
        sync_fd(copy.fileno())
    shutil.copystat(source, target)


def write_file(
    path: Path, data: bytes, mode: int = 0o644, owner: tuple[int, int] | None = None
) -> None:
    """Replace `path` by `data` atomically: the old content or the new, never a mixture. `owner`:
    user and group.
    """
    temporary = path.with_name(path.name + ".tmp")
    fd = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), mode
    )
    try:
        if owner is not None:
            os.fchown(fd, *owner)
        write_all(fd, [memoryview(data)])
        sync_fd(fd)
    finally:
        os.close(fd)
    os.replace(temporary, path)
    sync_folder(path.parent)
