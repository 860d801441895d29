"""Appending to the log. One thread, the writer, calls everything here.

Each file is named by its sequence number and says in its header which LSN it begins with. A later
file supersedes whatever an earlier one holds from that LSN on: so after a failed write or sync the
log continues in a new file, and what the failed one may still have brought to disk is never read.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from milvine.errors import FolderGone, StorageFailed
from milvine.storage.directory import Directory, Identity, identity
from milvine.storage.durable import check_room, refusal, sync_fd, write_all
from milvine.storage.failpoints import at
from milvine.storage.forks import let_go_in_children
from milvine.wal.record import FILE_HEADER, Record, encode, encode_file_header

SUFFIX = ".wal"
IDLE_FILE_BYTES_MAX = 1 << 20
"""A fully flushed log file larger than this is replaced by an empty one."""


@dataclass(frozen=True, slots=True)
class LogFile:
    sequence: int
    first_lsn: int
    path: Path


def file_name(sequence: int) -> str:
    return f"{sequence:016d}{SUFFIX}"


def log_files(folder: Path) -> list[Path]:
    """The files of a log, oldest first; none where there is no such folder. Others that
    lie there are not of it."""
    return sorted(path for path in folder.glob("*" + SUFFIX) if path.stem.isdecimal())


class Log:
    """An open log. `last_lsn` is the last LSN that was appended and, with `sync`, is durable.

    `sync_seconds` is how long the sync of the last append took.
    """

    sync_seconds = 0.0
    _failed = False

    def __init__(
        self, folder: Path, files: Sequence[LogFile], last_lsn: int, file_bytes: int, sync: bool
    ) -> None:
        self._folder, self._file_bytes, self._sync = folder, file_bytes, sync
        self._files = list(files)
        self.last_lsn = self._synced_lsn = last_lsn
        self._fd = -1
        self._size = 0
        self._path = ""
        self._identity: Identity | None = None  # of the file that is written
        try:
            self._directory = Directory(folder)
        except OSError as error:
            raise refusal(f"open the log folder {folder}", error) from error
        let_go_in_children(self)
        self._start_file()

    def append(self, records: Sequence[Record]) -> None:
        """Append `records` as LSNs last_lsn + 1, ... and make them durable together (group commit).

        Raises:
            StorageFailed: nothing of the group counts as written; the log goes on in a new file.
                DiskFull: for want of
                room.
        """
        if self._failed:
            self._restart()
        buffers: list[memoryview] = []
        for lsn, record in enumerate(records, self.last_lsn + 1):
            buffers += encode(record, lsn, self._synced_lsn)
        try:
            at("log.write")
            written = write_all(self._fd, buffers)
            if self._sync:
                began = perf_counter()
                at("log.sync")
                sync_fd(self._fd)
                self.sync_seconds = perf_counter() - began
        except OSError as error:
            self._failed = True
            raise refusal(f"write the log in {self._folder}", error) from error
        except BaseException:  # a part may be written, which the repair cuts off
            self._failed = True
            raise
        at("log.synced")
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
            raise refusal(f"sync the log in {self._folder}", error) from error
        self._synced_lsn = self.last_lsn

    def trim(self, flushed_lsn: int) -> None:
        """Remove the files that hold nothing above `flushed_lsn`."""
        if flushed_lsn >= self.last_lsn and self._size > IDLE_FILE_BYTES_MAX and not self._failed:
            self._rotate()
        while len(self._files) > 1 and self._files[1].first_lsn <= flushed_lsn + 1:
            try:
                at("log.trim")
                self._directory.unlink(self._files[0].path.name)
            except OSError:
                return  # tried again at the next trim; replay skips what is flushed
            del self._files[0]
            at("log.trimmed")

    @property
    def failed(self) -> bool:
        """Whether the last write or sync failed, so that the next append has something to repair
        first.
        """
        return self._failed

    def repair(self) -> None:
        """After a failure: try to go on in a new file, as the next append would.

        Raises:
            StorageFailed: the disk still refuses.
        """
        if self._failed:
            self._restart()

    def check_place(self) -> None:
        """Whether the file that is written lies where it is read back from at the next
        start: asked before `append`.

        Raises:
            FolderGone: it, or the folder, was moved, removed or replaced.
        """
        if identity(self._path) != self._identity:
            raise FolderGone.at("The log file", self._path)

    def check_room(self, size: int = 0) -> None:
        """Whether a write of `size` bytes is likely to succeed, without writing; any thread may
        ask.

        Raises:
            StorageFailed: the folder may not be written to. DiskFull: its disk is as good as full.
        """
        if not os.access(self._folder, os.W_OK):
            raise StorageFailed(f"The log folder {self._folder} cannot be written to")
        check_room(self._folder, "the log folder", size)

    @property
    def bytes_held(self) -> int:
        """Bytes in all log files. Any thread may ask: files that are trimmed meanwhile count as
        nothing.
        """
        return sum(_size_of(f.path) for f in self._files[:-1]) + self._size

    def close(self) -> None:
        self._close_file()
        self._directory.close()

    def forked(self) -> None:
        self.close()

    def _close_file(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _rotate(self) -> None:
        """Start a new file. Failing to is not an error of the records already durable: the next
        append tries again.
        """
        try:
            self.sync()
            self._close_file()
            self._start_file()
        except StorageFailed:
            self._failed = True

    def _restart(self) -> None:
        """After a failure: cut the file to its last good record and go on in a new one."""
        try:
            if self._fd >= 0:
                at("log.repair")
                os.ftruncate(self._fd, self._size)
                sync_fd(self._fd)
        except OSError as error:
            raise refusal(f"repair the log in {self._folder}", error) from error
        self._close_file()
        self._start_file()
        self._failed = False

    def _start_file(self) -> None:
        sequence = self._files[-1].sequence + 1 if self._files else 1
        path = self._folder / file_name(sequence)
        try:
            at("log.new_file")
            self._fd = self._directory.create(path.name)
            write_all(self._fd, [memoryview(encode_file_header(self.last_lsn + 1, sequence))])
            sync_fd(self._fd)
            self._directory.sync()
        except OSError as error:
            self._close_file()
            with suppress(OSError):  # the next attempt begins it anew
                self._directory.unlink(path.name)
            raise refusal(f"start a log file in {self._folder}", error) from error
        at("log.file_started")
        self._files.append(LogFile(sequence, self.last_lsn + 1, path))
        self._path, self._identity = str(path), identity(self._fd)
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

    def check_place(self) -> None:
        return

    def check_room(self, size: int = 0) -> None:
        return

    def trim(self, flushed_lsn: int) -> None:
        """What an earlier, logged run left behind goes once it is flushed."""
        if flushed_lsn >= self._replayed_lsn:
            for file in self._files:
                with suppress(OSError):  # replay skips what is flushed
                    file.path.unlink(missing_ok=True)
            self._files.clear()

    @property
    def bytes_held(self) -> int:
        return 0

    def close(self) -> None:
        return


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
