"""The log read without changing it, and past what is damaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from milvine.care.findings import Finding, damage, note
from milvine.errors import CorruptFile
from milvine.types import Bytes
from milvine.wal.log import SUFFIX
from milvine.wal.record import (
    ALIGNMENT,
    FILE_HEADER,
    FORMAT_VERSION,
    FRAME_HEADER,
    BadFrame,
    Frame,
    Record,
    decode,
    decode_file_header,
    decode_frame,
    next_frame,
)

Needed = Callable[[int, Record], bool]


class LogScan:
    """Iterate over (lsn, record) of every whole record, oldest first; `findings` are complete afterwards.

    Args:
        folder: where the log files are.
        durable_lsn: an LSN that the catalog proves to have been durable.
        needed: whether a record is not in segments yet, to tell a missing file from one that has been trimmed.
    """

    def __init__(self, folder: Path, durable_lsn: int, needed: Needed = lambda lsn, record: True) -> None:
        self._folder, self._durable_lsn, self._needed = folder, durable_lsn, needed
        self.findings: list[Finding] = []
        self.records = 0
        self.last_lsn = 0
        self.first_damage: int | None = None
        """The first LSN that was acknowledged and cannot be read; None when there is none."""

    @property
    def paths(self) -> list[Path]:
        return sorted(self._folder.glob("*" + SUFFIX)) if self._folder.is_dir() else []

    def __iter__(self) -> Iterator[tuple[int, Record]]:
        paths = self.paths
        firsts = [self._first_lsn(path, path == paths[-1]) for path in paths]
        wanted = False
        for number, (path, first) in enumerate(zip(paths, firsts, strict=True)):
            follow = [lsn for lsn in firsts[number + 1 :] if lsn is not None]
            if number and _sequence(path) != _sequence(paths[number - 1]) + 1:
                self._gap(path, wanted)
            for lsn, record in self._records(path, first, follow[0] if follow else None):
                self.records += 1
                self.last_lsn = max(self.last_lsn, lsn)
                wanted = wanted or self._needed(lsn, record)
                yield lsn, record

    def _first_lsn(self, path: Path, last: bool) -> int | None:
        try:
            version, first = decode_file_header(_head(path))
        except FileNotFoundError:
            return None  # trimmed meanwhile
        except BadFrame as error:
            if last and path.stat().st_size <= FILE_HEADER.size:
                self.findings.append(note(_name(path), f"{error}: a crash came before its first record", 0))
            else:
                self._damaged(path, 0, None, f"{error}; its records are read all the same")
            return None
        if not 1 <= version <= FORMAT_VERSION:
            self._damaged(
                path, 8, None, f"it says that it has log format {version}, this Milvine reads up to {FORMAT_VERSION}"
            )
        return first

    def _gap(self, path: Path, wanted: bool) -> None:
        before = f"{_sequence(path) - 1:016d}{SUFFIX}"
        if wanted:
            self._damaged(self._folder / before, None, None, "a log file is missing between two with needed records")
        else:
            self.findings.append(note(_name(path), "the files before it are older than a missing one, and not needed"))

    def _records(self, path: Path, first: int | None, limit: int | None) -> Iterator[tuple[int, Record]]:
        try:
            data = np.fromfile(path, np.uint8)
        except FileNotFoundError:
            return
        offset, expected = FILE_HEADER.size, first
        while limit is None or expected is None or expected < limit:
            if offset >= len(data):
                if limit is not None and expected is not None:
                    self._damaged(path, len(data), expected, f"it ends before LSN {limit}, with which the next begins")
                return
            try:
                frame, record = _decoded(data, offset, expected)
            except BadFrame as error:
                following = self._step_over(path, data, offset, expected, limit, str(error))
                if following is None:
                    return
                offset, expected = following.end - _bytes(following), following.lsn
                continue
            yield frame.lsn, record
            offset, expected = frame.end, frame.lsn + 1

    def _step_over(
        self, path: Path, data: Bytes, offset: int, lsn: int | None, limit: int | None, what: str
    ) -> Frame | None:
        """The next whole record behind damage; None at a torn end, or when nothing follows."""
        following = at = next_frame(data, offset + 1)
        durable = limit is not None or lsn is None or self._durable_lsn >= lsn
        while at is not None and not durable and lsn is not None:
            durable = at.synced_lsn >= lsn
            at = next_frame(data, at.end)
        if not durable:
            cut = f"{what}: {len(data) - offset} bytes of calls that never returned, the torn end of a crash"
            self.findings.append(note(_name(path), cut, offset))
            return None
        while following is not None and lsn is not None and following.lsn < lsn:
            following = next_frame(data, following.end)
        acknowledged = "" if lsn is None else f" (LSN {lsn} had been acknowledged)"
        behind = "nothing can be read behind it" if following is None else f"LSN {following.lsn} follows"
        self._damaged(path, offset, lsn or 0, f"{what}{acknowledged}; {behind}")
        return following

    def _damaged(self, path: Path, offset: int | None, lsn: int | None, what: str) -> None:
        if self.first_damage is None and lsn is not None:
            self.first_damage = lsn
        self.findings.append(damage(_name(path), offset, what))


def first_lsn(folder: Path) -> int | None:
    """The oldest LSN in the log; None when there is no log, or its beginning is damaged."""
    for path in sorted(folder.glob("*" + SUFFIX)) if folder.is_dir() else ():
        try:
            return decode_file_header(_head(path))[1]
        except (BadFrame, FileNotFoundError):
            return None
    return None


def whole_records(data: Bytes) -> int:
    """How many bytes of a log file are header and whole records, from the beginning on.

    Raises:
        CorruptFile: the header is damaged.
    """
    try:
        _, expected = decode_file_header(data)
    except BadFrame as error:
        raise CorruptFile.at("log", 0, str(error)) from None
    offset = FILE_HEADER.size
    while offset < len(data):
        try:
            frame, _ = _decoded(data, offset, expected)
        except BadFrame:
            break
        offset, expected = frame.end, frame.lsn + 1
    return min(offset, len(data))


def _decoded(data: Bytes, offset: int, expected: int | None) -> tuple[Frame, Record]:
    frame = decode_frame(data, offset)
    if expected is not None and frame.lsn != expected:
        raise BadFrame(f"LSN {frame.lsn} stands where {expected} belongs")
    return frame, decode(frame)


def _bytes(frame: Frame) -> int:
    return FRAME_HEADER.size + len(frame.payload) + -len(frame.payload) % ALIGNMENT


def _head(path: Path) -> Bytes:
    return np.fromfile(path, np.uint8, FILE_HEADER.size)


def _name(path: Path) -> str:
    return f"wal/{path.name}"


def _sequence(path: Path) -> int:
    return int(path.stem) if path.stem.isdecimal() else 0
