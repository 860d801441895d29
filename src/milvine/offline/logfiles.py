"""The log read without changing it, and past what is damaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from milvine.catalog.model import Contents
from milvine.errors import CorruptFile
from milvine.ingest.checks import Fitting, never_made
from milvine.offline.findings import Finding, damage, note
from milvine.offline.survey import Survey
from milvine.types import Bytes
from milvine.wal.log import SUFFIX, log_files
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
from milvine.wal.replay import Misfit

Needed = Callable[[int, Record], bool]


class LogScan:
    """Iterate over (lsn, record) of every whole record, oldest first; `findings` are complete
    afterwards.

    Args:
        folder: where the log files are.
        root: the data folder, relative to which findings name them.
        durable_lsn: an LSN that the catalog proves to have been durable.
        needed: whether a record is not in segments yet, to tell a missing file from one that has
            been trimmed.
        misfit: why an undamaged record cannot be applied; empty when it can. Those
            that cannot are passed over.
    """

    def __init__(
        self,
        folder: Path,
        root: Path,
        durable_lsn: int,
        needed: Needed = lambda lsn, record: True,
        misfit: Misfit = lambda lsn, record: "",
    ) -> None:
        self._folder, self._root, self._durable_lsn = folder, root, durable_lsn
        self._needed, self._misfit = needed, misfit
        self.misfits: dict[int, str] = {}
        """LSN of every whole record that cannot be applied, and why."""
        self.findings: list[Finding] = []
        self.records = 0
        self.last_lsn = 0
        self.first_damage: int | None = None
        """The first LSN that was acknowledged and cannot be read; None when there is none."""

    def __iter__(self) -> Iterator[tuple[int, Record]]:
        paths = log_files(self._folder)
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
                self.findings.append(
                    note(self._name(path), f"{error}: a crash came before its first record", 0)
                )
            else:
                self._damaged(path, 0, None, f"{error}; its records are read all the same")
            return None
        if not 1 <= version <= FORMAT_VERSION:
            self._damaged(
                path,
                8,
                None,
                f"it says that it has log format {version}, this Milvine reads up to"
                f" {FORMAT_VERSION}",
            )
        return first

    def _gap(self, path: Path, wanted: bool) -> None:
        before = f"{_sequence(path) - 1:016d}{SUFFIX}"
        if wanted:
            self._damaged(
                self._folder / before,
                None,
                None,
                "a log file is missing between two with needed records",
            )
        else:
            what = "the files before it are older than a missing one, and not needed"
            self.findings.append(note(self._name(path), what))

    def _records(
        self, path: Path, first: int | None, limit: int | None
    ) -> Iterator[tuple[int, Record]]:
        try:
            data = np.fromfile(path, np.uint8)
        except FileNotFoundError:
            return
        offset, expected = FILE_HEADER.size, first
        while limit is None or expected is None or expected < limit:
            if offset >= len(data):
                if limit is not None and expected is not None:
                    self._damaged(
                        path,
                        len(data),
                        expected,
                        f"it ends before LSN {limit}, with which the next begins",
                    )
                return
            try:
                frame = _frame(data, offset, expected)
            except BadFrame as error:
                following = self._step_over(path, data, offset, expected, limit, str(error))
                if following is None:
                    return
                offset, expected = following.end - _bytes(following), following.lsn
                continue
            record = self._applicable(path, offset, frame)
            if record is not None:
                yield frame.lsn, record
            offset, expected = frame.end, frame.lsn + 1

    def _applicable(self, path: Path, offset: int, frame: Frame) -> Record | None:
        """The record of a whole frame; None, with a finding, when it cannot be applied to
        any database like this."""
        try:
            record = decode(frame)
            why = self._misfit(frame.lsn, record)
        except BadFrame as error:
            why = str(error)
        if not why:
            return record
        self.misfits[frame.lsn] = why
        self.last_lsn = max(self.last_lsn, frame.lsn)
        self.findings.append(
            damage(self._name(path), offset, f"LSN {frame.lsn} cannot be applied: {why}")
        )
        return None

    def _step_over(
        self, path: Path, data: Bytes, offset: int, lsn: int | None, limit: int | None, what: str
    ) -> Frame | None:
        """The next whole record behind damage; None at a torn end, or when nothing follows."""
        following = next_frame(data, offset + 1)
        durable = (
            limit is not None or lsn is None or _was_durable(data, offset, lsn, self._durable_lsn)
        )
        if not durable:
            cut = (
                f"{what}: {len(data) - offset} bytes of calls that never returned, the torn end of"
                " a crash"
            )
            self.findings.append(note(self._name(path), cut, offset))
            return None
        while following is not None and lsn is not None and following.lsn < lsn:
            following = next_frame(data, following.end)
        acknowledged = "" if lsn is None else f" (LSN {lsn} had been acknowledged)"
        behind = (
            "nothing can be read behind it" if following is None else f"LSN {following.lsn} follows"
        )
        self._damaged(path, offset, lsn or 0, f"{what}{acknowledged}; {behind}")
        return following

    def _damaged(self, path: Path, offset: int | None, lsn: int | None, what: str) -> None:
        if self.first_damage is None and lsn is not None:
            self.first_damage = lsn
        self.findings.append(damage(self._name(path), offset, what))

    def _name(self, path: Path) -> str:
        inside = path.is_relative_to(self._root)
        return path.relative_to(self._root).as_posix() if inside else str(path)


def read_log(survey: Survey, folder: Path) -> None:
    """Look at every record, and whether it can be applied to what the catalog says."""
    contents = survey.contents or Contents((), 0, 0)
    flushed, trusted = contents.flushed, survey.trusted is not None

    def needed(lsn: int, record: Record) -> bool:
        return survey.contents is None or lsn > flushed.get(record.collection_id, lsn)

    def misfit(lsn: int, record: Record) -> str:
        return fitting.misfit(lsn, record) if trusted else ""

    fitting = Fitting.of(contents)
    scan = LogScan(folder, survey.root, contents.durable_lsn, needed, misfit)
    unknown: dict[str, int] = {}
    for lsn, record in scan:
        if trusted and not survey.running and (what := never_made(contents, record)):
            unknown.setdefault(what, lsn)
    for what, lsn in unknown.items():
        survey.lost_commits(f"LSN {lsn} in the log is for {what}, which it never made")
    survey.log_records = scan.records
    survey.log_sound = not any(finding.damage for finding in scan.findings)
    survey.findings += scan.findings


def first_lsn(folder: Path) -> int | None:
    """The oldest LSN in the log; None when there is no log, or its beginning is damaged."""
    for path in log_files(folder):
        try:
            return decode_file_header(_head(path))[1]
        except (BadFrame, FileNotFoundError):
            return None
    return None


def whole_records(data: Bytes, durable_lsn: int) -> int:
    """How many bytes of the newest log file are header and whole records, before
    the torn end of a write.

    Raises:
        BadFrame: the header is not written, or damaged.
        CorruptFile: a record was durable, by what stands behind it or
            `durable_lsn`, and is damaged.
    """
    _, expected = decode_file_header(data)
    offset = FILE_HEADER.size
    while offset < len(data):
        try:
            frame = _frame(data, offset, expected)
        except BadFrame as error:
            if _was_durable(data, offset, expected, durable_lsn):
                raise CorruptFile.at(
                    "the log", offset, f"{error} (LSN {expected} had been acknowledged)"
                ) from None
            break
        offset, expected = frame.end, frame.lsn + 1
    return min(offset, len(data))


def _was_durable(data: Bytes, offset: int, lsn: int, durable_lsn: int) -> bool:
    """Whether what is damaged at `offset` had been acknowledged: the catalog or a
    later record says so."""
    at = None if durable_lsn >= lsn else next_frame(data, offset + 1)
    while at is not None and at.synced_lsn < lsn:
        at = next_frame(data, at.end)
    return durable_lsn >= lsn or at is not None


def _frame(data: Bytes, offset: int, expected: int | None) -> Frame:
    frame = decode_frame(data, offset)
    if expected is not None and frame.lsn != expected:
        raise BadFrame(f"LSN {frame.lsn} stands where {expected} belongs")
    return frame


def _bytes(frame: Frame) -> int:
    return FRAME_HEADER.size + len(frame.payload) + -len(frame.payload) % ALIGNMENT


def _head(path: Path) -> Bytes:
    return np.fromfile(path, np.uint8, FILE_HEADER.size)


def _sequence(path: Path) -> int:
    return int(path.stem) if path.stem.isdecimal() else 0
