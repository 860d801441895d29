"""Appending to the log. One thread, the writer, calls everything here.

Each file is named by its sequence number and says in its header which LSN it begins with. A later file supersedes
whatever an earlier one holds from that LSN on: so after a failed write or sync the log continues in a new file, and
what the failed one may still have brought to disk is never read.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from milvine.errors import StorageFailed
from milvine.storage.durable import sync_fd, sync_folder, write_all
from milvine.wal.record import FILE_HEADER, Record, encode, encode_file_header

SUFFIX = ".wal"
IDLE_FILE_BYTES_MAX = 1 << 20
"""A fully flushed log file larger than this is replaced by an empty one."""
_FREE_BYTES_MIN = 16 << 20


@dataclass(frozen=True, slots=True)
class LogFile:
    sequence: int
    first_lsn: int
    path: Path


def file_name(sequence: int) -> str:
    return f"{sequence:016d}{SUFFIX}"


class Log:
    """An open log. `last_lsn` is the last LSN that was appended and, with `sync`, is durable.

    `sync_seconds` is how long the sync of the last append took.
    """

    sync_seconds = 0.0
    _failed = False

    def __init__(self, folder: Path, files: Sequence[LogFile], last_lsn: int, file_bytes: int, sync: bool) -> None:
        self._folder, self._file_bytes, self._sync = folder, file_bytes, sync
        self._files = list(files)
        self.last_lsn = self._synced_lsn = last_lsn
        self._fd = -1
        self._size = 0
        self._start_file()

    def append(self, records: Sequence[Record]) -> None:
        """Append `records` as LSNs last_lsn + 1, ... and make them durable together (group commit).

        Raises:
            StorageFailed: nothing of the group counts as written; the log goes on in a new file.
        """
        if self._failed:
            self._restart()
        buffers: list[memoryview] = []
        for lsn, record in enumerate(records, self.last_lsn + 1):
            buffers += encode(record, lsn, self._synced_lsn)
        try:
            written = write_all(self._fd, buffers)
            if self._sync:
                began = perf_counter()
                sync_fd(self._fd)
                self.sync_seconds = perf_counter() - began
        except OSError as error:
            self._failed = True
            raise StorageFailed(f"Cannot write the log in {self._folder}: {error.strerror or error}") from error
        self._size += written
        self.last_lsn += len(records)
        if self._sync:
            self._synced_lsn = self.last_lsn
        if self._size >= self._file_bytes:
            self._rotate()

    def sync(self) -> None:
        """Make all appended records durable (only needed when `wal.sync` is off).

        Raises:
            StorageFailed: the disk refused.
        """
        if self._synced_lsn == self.last_lsn:
            return
        try:
            sync_fd(self._fd)
        except OSError as error:
            raise StorageFailed(f"Cannot sync the log in {self._folder}: {error.strerror or error}") from error
        self._synced_lsn = self.last_lsn

    def trim(self, flushed_lsn: int) -> None:
        """Remove the files that hold nothing above `flushed_lsn`."""
        if flushed_lsn >= self.last_lsn and self._size > IDLE_FILE_BYTES_MAX and not self._failed:
            self._rotate()
        while len(self._files) > 1 and self._files[1].first_lsn <= flushed_lsn + 1:
            try:
                self._files[0].path.unlink(missing_ok=True)
            except OSError:
                return  # tried again at the next trim; replay skips what is flushed
            del self._files[0]

    @property
    def failed(self) -> bool:
        """Whether the last write or sync failed, so that the next append has something to repair first."""
        return self._failed

    def repair(self) -> None:
        """After a failure: try to go on in a new file, as the next append would.

        Raises:
            StorageFailed: the disk still refuses.
        """
        if self._failed:
            self._restart()

    def check_room(self) -> None:
        """Whether a write is likely to succeed, without writing; any thread may ask.

        Raises:
            StorageFailed: the folder may not be written to, or its disk is as good as full.
        """
        if not os.access(self._folder, os.W_OK):
            raise StorageFailed(f"The log folder {self._folder} cannot be written to")
        free = shutil.disk_usage(self._folder).free
        if free < _FREE_BYTES_MIN:
            raise StorageFailed(f"The disk of the log folder {self._folder} is full: {free >> 20} MB are free")

    @property
    def bytes_held(self) -> int:
        """Bytes in all log files but the current one, plus the current one."""
        return sum(f.path.stat().st_size for f in self._files[:-1] if f.path.exists()) + self._size

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _rotate(self) -> None:
        """Start a new file. Failing to is not an error of the records already durable: the next append tries again."""
        try:
            self.sync()
            self.close()
            self._start_file()
        except StorageFailed:
            self._failed = True

    def _restart(self) -> None:
        """After a failure: cut the file to its last good record and go on in a new one."""
        try:
            if self._fd >= 0:
                os.ftruncate(self._fd, self._size)
                sync_fd(self._fd)
        except OSError as error:
            raise StorageFailed(f"Cannot repair the log in {self._folder}: {error.strerror or error}") from error
        self.close()
        self._start_file()
        self._failed = False

    def _start_file(self) -> None:
        sequence = self._files[-1].sequence + 1 if self._files else 1
        path = self._folder / file_name(sequence)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        try:
            self._fd = os.open(path, flags, 0o644)
            write_all(self._fd, [memoryview(encode_file_header(self.last_lsn + 1, sequence))])
            sync_fd(self._fd)
            sync_folder(self._folder)
        except OSError as error:
            self.close()
            path.unlink(missing_ok=True)
            raise StorageFailed(f"Cannot start a log file in {self._folder}: {error.strerror or error}") from error
        self._files.append(LogFile(sequence, self.last_lsn + 1, path))
        self._size = FILE_HEADER.size


class NoLog(Log):
    """`wal.enable: false`: nothing is logged, a crash loses what was not flushed."""

    def __init__(self, last_lsn: int, files: Sequence[LogFile] = ()) -> None:
        self.last_lsn = self._synced_lsn = self._replayed_lsn = last_lsn
        self._files = list(files)

    def append(self, records: Sequence[Record]) -> None:
        self.last_lsn += len(records)
        self._synced_lsn = self.last_lsn

    def sync(self) -> None:
        return

    def check_room(self) -> None:
        return

    def trim(self, flushed_lsn: int) -> None:
        """What an earlier, logged run left behind goes once it is flushed."""
        if flushed_lsn >= self._replayed_lsn:
            for file in self._files:
                file.path.unlink(missing_ok=True)
            self._files.clear()

    @property
    def bytes_held(self) -> int:
        return 0

    def close(self) -> None:
        return
