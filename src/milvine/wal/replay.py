"""Reading the log back after a stop or a crash, and telling a torn end from corruption.

Records of one unsynced group can reach the disk out of order, so the log may end in holes. A hole
at LSN n is the torn end of a crash unless something proves that n had been durable: a whole frame
behind it that says so (`synced_lsn`), a later log file, or the catalog.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from milvine.errors import CorruptFile, UnsupportedFormat
from milvine.storage.durable import sync_fd, sync_folder
from milvine.storage.failpoints import at
from milvine.types import Bytes
from milvine.wal.log import LogFile, file_name, log_files
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
Needed: TypeAlias = Callable[[int, Record], bool]


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
        needed: whether what a record says is nowhere but in the log. Asked of those before
            a missing file.
    """

    def __init__(
        self,
        folder: Path,
        durable_lsn: int,
        ignore_errors: bool = False,
        misfit: Misfit = lambda lsn, record: "",
        needed: Needed = lambda lsn, record: True,
    ) -> None:
        self._folder, self._durable_lsn, self._ignore = folder, durable_lsn, ignore_errors
        self._misfit, self._needed = misfit, needed
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
                # One without a record is of a crash in the middle of a rotation.
                for each in paths[number:]:
                    each.unlink()
                break
            if version > FORMAT_VERSION:
                raise UnsupportedFormat(
                    f"{path} has log format {version}; this Milvine reads up to {FORMAT_VERSION}"
                )
            files.append(LogFile(int(path.stem), first_lsn, path))
        return self._after_gap(files)

    def _after_gap(self, files: list[LogFile]) -> list[LogFile]:
        """Files go oldest first, so one that is older than a missing one was meant to go too: a
        crash brought it back.

        Raises:
            CorruptFile: what it holds is in no segment, so none was meant to go. Nothing is
                removed.
        """
        gaps = [
            at for at in range(1, len(files)) if files[at].sequence != files[at - 1].sequence + 1
        ]
        start = gaps[-1] if gaps else 0
        for file in files[:start] if not self._ignore else ():
            self._check_unneeded(file, files[gaps[0]])
        for file in files[:start]:
            file.path.unlink()
        return files[start:]

    def _check_unneeded(self, file: LogFile, behind: LogFile) -> None:
        """Raises CorruptFile: a record of `file` is needed, though the file before `behind` is
        missing.
        """
        for lsn, record in _whole_records(_read(file.path)):
            if self._needed(lsn, record):
                missing = file.path.with_name(file_name(behind.sequence - 1))
                what = f"it is missing, though LSN {lsn} in {file.path.name} is in no segment"
                raise CorruptFile.at(str(missing), 0, f"{what}. See `milvine repair`")

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
        raise CorruptFile.at(
            str(file.path),
            offset,
            f"LSN {frame.lsn} cannot be applied: {why}. See `milvine repair`",
        )

    def _damaged(
        self, file: LogFile, data: Bytes, offset: int, lsn: int, limit: int | None, what: str
    ) -> None:
        if not self._ignore and (limit is not None or self._was_durable(data, offset, lsn)):
            raise CorruptFile.at(
                str(file.path), offset, f"{what} (LSN {lsn} had been acknowledged)"
            )
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


def _whole_records(data: Bytes) -> Iterator[tuple[int, Record]]:
    """LSN and record of every frame of a log file that is whole and says something."""
    frame = next_frame(data, FILE_HEADER.size)
    while frame is not None:
        with suppress(BadFrame):
            yield frame.lsn, decode(frame)
        frame = next_frame(data, frame.end)


def _read(path: Path) -> Bytes:
    """The bytes of a log file: mapped, for it may be larger than the memory that there is."""
    if os.name == "nt" or not path.stat().st_size:  # Windows cuts no file that is mapped
        return np.fromfile(path, dtype=np.uint8)
    with open(path, "rb") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype=np.uint8)
