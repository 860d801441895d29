"""Reading the log back after a stop or a crash, and telling a torn end from corruption.

Records of one unsynced group can reach the disk out of order, so the log may end in holes. A hole at LSN n is the torn
end of a crash unless something proves that n had been durable: a whole frame behind it that says so (`synced_lsn`), a
later log file, or the catalog.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from milvine.errors import CorruptFile, UnsupportedFormat
from milvine.storage.durable import sync_fd, sync_folder
from milvine.storage.failpoints import at
from milvine.types import Bytes
from milvine.wal.log import LogFile, log_files
from milvine.wal.record import (
    FILE_HEADER,
    FORMAT_VERSION,
    BadFrame,
    Frame,
    Record,
    decode,
    decode_file_header,
    decode_frame,
    next_frame,
)

Misfit: TypeAlias = Callable[[int, Record], str]


@dataclass(frozen=True, slots=True)
class Cut:
    """Bytes at the end of the log that were no whole frame: where they began and how many."""

    path: Path
    offset: int
    bytes: int


class Replay:
    """Iterate over (lsn, record); afterwards `files`, `last_lsn` and `cut` tell how the log ended.

    Args:
        folder: where the log files are.
        durable_lsn: an LSN that the catalog proves to have been durable.
        ignore_errors: drop a damaged rest instead of refusing (`wal.recovery_error_ignore`).
        misfit: why an undamaged record, with its LSN, cannot be applied all the
            same; empty when it can.
    """

    def __init__(
        self, folder: Path, durable_lsn: int, ignore_errors: bool = False, misfit: Misfit = lambda lsn, record: ""
    ) -> None:
        self._folder, self._durable_lsn, self._ignore = folder, durable_lsn, ignore_errors
        self._misfit = misfit
        self.files: list[LogFile] = []
        self.last_lsn = 0
        self.cut: Cut | None = None

    def __iter__(self) -> Iterator[tuple[int, Record]]:
        self.files = self._list_files()
        for number, file in enumerate(self.files):
            last = number + 1 == len(self.files)
            limit = None if last else self.files[number + 1].first_lsn
            yield from self._records(file, limit)
            if self.cut is not None:
                self._drop_rest(number)
                return

    @property
    def bytes(self) -> int:
        """Of all log files, before they are read."""
        return sum(path.stat().st_size for path in log_files(self._folder))

    def _list_files(self) -> list[LogFile]:
        paths = log_files(self._folder)
        files: list[LogFile] = []
        for number, path in enumerate(paths):
            data = _read(path)
            try:
                version, first_lsn = decode_file_header(data)
            except BadFrame as error:
                last = number + 1 == len(paths)
                if not self._ignore and (not last or next_frame(data, 0) is not None):
                    raise CorruptFile.at(str(path), 0, str(error)) from None
                for each in paths[number:]:  # one without a record is of a crash in the middle of a rotation
                    each.unlink()
                break
            if version > FORMAT_VERSION:
                raise UnsupportedFormat(f"{path} has log format {version}; this Milvine reads up to {FORMAT_VERSION}")
            files.append(LogFile(int(path.stem), first_lsn, path))
        return _after_gap(files)

    def _records(self, file: LogFile, limit: int | None) -> Iterator[tuple[int, Record]]:
        data = _read(file.path)
        offset, expected = FILE_HEADER.size, file.first_lsn
        while limit is None or expected < limit:
            try:
                frame = decode_frame(data, offset)
                if frame.lsn != expected:
                    raise BadFrame(f"LSN {frame.lsn} stands where {expected} belongs")
            except BadFrame as error:
                if offset == len(data) and limit is None:
                    return
                self._damaged(file, data, offset, expected, limit, str(error))
                return
            record = self._applicable(file, frame, offset)
            if record is None:
                self.cut = Cut(file.path, offset, len(data) - offset)
                return
            yield expected, record
            self.last_lsn = expected
            offset, expected = frame.end, expected + 1

    def _applicable(self, file: LogFile, frame: Frame, offset: int) -> Record | None:
        """The record of a whole frame, which no crash can have left in halves; None if it is
        none and that is ignored.

        Raises:
            CorruptFile: it cannot be applied; file, offset, LSN and reason are named.
        """
        try:
            record = decode(frame)
            why = self._misfit(frame.lsn, record)
        except BadFrame as error:
            why = str(error)
        if not why:
            return record
        if self._ignore:
            return None
        raise CorruptFile.at(str(file.path), offset, f"LSN {frame.lsn} cannot be applied: {why}. See `milvine repair`")

    def _damaged(self, file: LogFile, data: Bytes, offset: int, lsn: int, limit: int | None, what: str) -> None:
        if not self._ignore and (limit is not None or self._was_durable(data, offset, lsn)):
            raise CorruptFile.at(str(file.path), offset, f"{what} (LSN {lsn} had been acknowledged)")
        self.cut = Cut(file.path, offset, len(data) - offset)

    def _was_durable(self, data: Bytes, offset: int, lsn: int) -> bool:
        if self._durable_lsn >= lsn:
            return True
        at: Frame | None = next_frame(data, offset + 1)
        while at is not None:
            if at.synced_lsn >= lsn:
                return True
            at = next_frame(data, at.end)
        return False

    def _drop_rest(self, number: int) -> None:
        assert self.cut is not None
        for file in self.files[number + 1 :]:
            file.path.unlink()
        del self.files[number + 1 :]
        fd = os.open(self.cut.path, os.O_WRONLY)
        try:
            os.ftruncate(fd, self.cut.offset)
            sync_fd(fd)
        finally:
            os.close(fd)
        sync_folder(self._folder)
        at("open.log_cut")


def _after_gap(files: list[LogFile]) -> list[LogFile]:
    """Files go oldest first, so one that is older than a missing one was meant to go too: a crash brought it back."""
    start = 0
    for number in range(1, len(files)):
        if files[number].sequence != files[number - 1].sequence + 1:
            start = number
    for file in files[:start]:
        file.path.unlink()
    return files[start:]


def _read(path: Path) -> Bytes:
    """The bytes of a log file: mapped, for it may be larger than the memory that there is."""
    if os.name == "nt" or not path.stat().st_size:  # Windows cuts no file that is mapped
        return np.fromfile(path, dtype=np.uint8)
    with open(path, "rb") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype=np.uint8)
