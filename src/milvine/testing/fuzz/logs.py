"""Mutated logs: what replay yields is a prefix of what was written, and what it leaves out was
never acknowledged.
"""

from __future__ import annotations

import shutil
import struct
from pathlib import Path
from random import Random

import numpy as np

from milvine.errors import CorruptFile, UnsupportedFormat
from milvine.storage.checksum import crc32c
from milvine.testing.fuzz.mutate import mutated
from milvine.testing.fuzz.target import Wrong
from milvine.testing.fuzz.wire import same
from milvine.wal.log import Log, LogFile
from milvine.wal.record import (
    ALIGNMENT,
    FILE_HEADER,
    FRAME_HEADER,
    BadFrame,
    DeleteRecord,
    InsertRecord,
    Record,
    decode_frame,
)
from milvine.wal.replay import Replay


class LogTarget:
    """One case is a log of some files, one of them changed."""

    def __init__(self, folder: Path) -> None:
        self._sample, self._copy = folder / "sample", folder / "copy"
        self._sample.mkdir()
        self._records = write_log(self._sample)
        self._frames = [
            frame
            for path in sorted(self._sample.iterdir())
            for frame in frames_of(path.read_bytes())
        ]

    def run(self, random: Random) -> str:
        shutil.rmtree(self._copy, ignore_errors=True)
        shutil.copytree(self._sample, self._copy)
        path = random.choice(sorted(self._copy.iterdir()))
        data = path.read_bytes()
        sealed = random.random() < 0.3
        path.write_bytes(resealed(random, data) if sealed else mutated(random, data))
        before = [p.read_bytes() for p in sorted(self._copy.iterdir())]
        ignoring = random.random() < 0.2
        try:
            replay = Replay(self._copy, 0, ignore_errors=ignoring)
            found = [record for _, record in replay]
            second = [record for _, record in Replay(self._copy, 0)]
        except (CorruptFile, UnsupportedFormat):
            return "refused"
        if not same(len(found), len(second)):
            raise Wrong(f"{len(found)} records, and {len(second)} the second time")
        if not sealed:
            self._check(found, before, ignoring)
        return "all of it" if len(found) == len(self._records) else "cut"

    def _check(self, found: list[Record], files: list[bytes], ignoring: bool) -> None:
        if len(found) > len(self._records) or not all(map(same, found, self._records)):
            raise Wrong("a record that was never written")
        if ignoring:
            return
        for lsn, frame in enumerate(self._frames[len(found) + 1 :], len(found) + 2):
            # It says that those before it were durable.
            if any(aligned(frame, data) for data in files):
                raise Wrong(
                    f"record {lsn} is there, and those from {len(found) + 1} on were taken for a"
                    " torn end"
                )

    def close(self) -> None:
        """Nothing was started."""


def write_log(folder: Path) -> list[Record]:
    """A log of four files, each record acknowledged before the next was written."""
    random = np.random.default_rng(1)
    records: list[Record] = []
    log = Log(folder, list[LogFile](), 0, 3000, sync=True)
    for number in range(24):
        count = int(random.integers(1, 9))
        ids = np.arange(number, number + count)
        if number % 3 == 2:
            record: Record = DeleteRecord(7, 0, ids)
        else:
            rows = random.integers(0, 256, (count, 32), np.uint8)
            record = InsertRecord(
                7, 8, ids, rows, bool(number % 2), b"k" * 16 if number % 5 == 0 else b""
            )
        log.append([record])
        records.append(record)
    log.close()
    return records


def aligned(frame: bytes, data: bytes) -> bool:
    """Whether `data` holds the frame where one may be."""
    at = data.find(frame)
    while at >= 0 and at % ALIGNMENT:
        at = data.find(frame, at + 1)
    return at >= 0


def frames_of(data: bytes) -> list[bytes]:
    """The whole frames of a file, one after the other."""
    found: list[bytes] = []
    at, raw = FILE_HEADER.size, np.frombuffer(data, np.uint8)
    while True:
        try:
            end = decode_frame(raw, at).end
        except BadFrame:
            return found
        found.append(data[at:end])
        at = end


def resealed(random: Random, data: bytes) -> bytes:
    """The file with one frame changed in head or payload, its checksum made to fit."""
    frames = frames_of(data)
    if not frames:
        return mutated(random, data)
    at = random.randrange(len(frames))
    frame = bytearray(frames[at])
    start = random.choice((8, 16, 24, 32, FRAME_HEADER.size, FRAME_HEADER.size))
    rest = (
        mutated(random, bytes(frame[start : start + 32]))
        if start < 40
        else mutated(random, bytes(frame[40:]))
    )
    if start < FRAME_HEADER.size:
        frame[start : start + 32] = rest[:32].ljust(32, b"\0")
    else:
        length, lsn, synced, kind = struct.unpack_from("<QQQB", frame, 8)
        frame = bytearray(FRAME_HEADER.pack(0, 0, len(rest), lsn, synced, kind) + rest)
    magic = struct.unpack_from("<I", frames[at])[0]
    length = struct.unpack_from("<Q", frame, 8)[0]
    payload = bytes(frame[40 : 40 + min(length, len(frame))])
    struct.pack_into("<II", frame, 0, magic, crc32c(bytes(frame[8:40]), payload))
    frame += bytes(-len(frame) % 8)
    return data[: FILE_HEADER.size] + b"".join([*frames[:at], bytes(frame), *frames[at + 1 :]])
