"""The `-wal` file of SQLite, which holds the newest commits: where SQLite stops reading it without
a word.

SQLite takes the first frame whose checksum is wrong for the end. After a power cut that is right;
after a flipped bit it forgets commits, so somebody has to look
(https://www.sqlite.org/fileformat2.html, section 4).
"""

from __future__ import annotations

import struct
from pathlib import Path

_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_MAGIC = 0x377F0682
_WORD = 0xFFFFFFFF
_Sum = tuple[int, int]


def unread_commits(path: Path) -> list[tuple[int, str, bool]]:
    """(offset, what, certain) where SQLite stops before the end: not certain where a power cut
    would look the same.
    """
    data = path.read_bytes() if path.exists() else b""
    if not data:
        return []
    if len(data) < _HEADER.size:
        return [(0, "the header is cut short", False)]
    magic, _, page, _, *salts_and_sum = _HEADER.unpack_from(data)
    order = ">" if magic & 1 else "<"
    salts, total = (salts_and_sum[0], salts_and_sum[1]), (salts_and_sum[2], salts_and_sum[3])
    if magic & ~1 != _MAGIC or _checksum(data[:24], (0, 0), order) != total:
        first = (
            _FRAME.unpack_from(data, _HEADER.size)
            if len(data) >= _HEADER.size + _FRAME.size
            else (0,) * 6
        )
        # Else the frames are of the round before.
        belongs = first[2] == salts[0] or first[3] == salts[1]
        return [
            (0, "the header's checksum is wrong, so none of the commits in it is read", belongs)
        ]
    size = _FRAME.size + page
    for at in range(_HEADER.size, len(data), size):
        frame = data[at : at + size]
        found = _frame_sum(frame, size, salts, total, order)
        if found is None:
            return _stopped(data, at, size, salts, order)
        total = found
    return []


def _stopped(
    data: bytes, at: int, size: int, salts: _Sum, order: str
) -> list[tuple[int, str, bool]]:
    """What lies from the first frame on that is not read: leftovers of an earlier round, a torn
    end, or commits.
    """
    head = _FRAME.unpack(data[at : at + _FRAME.size]) if len(data) - at >= _FRAME.size else (0,) * 6
    before, ours, ended = (head[4], head[5]), salts[0] in head[2:4] or salts[1] in head[2:4], False
    for later in range(at + size, len(data), size):
        frame = data[later : later + size]
        if _frame_sum(frame, size, salts, before, order) is not None:
            # A commit is synced before the next begins, so what is damaged had been durable.
            if ended:
                return [
                    (at, "a frame is damaged, and SQLite reads none of the commits behind it", True)
                ]
            ours, ended = True, _FRAME.unpack_from(frame)[1] > 0
        before = _sum_of(frame)
    return (
        [(at, "the last commit is damaged, or is the torn end of a power cut", False)]
        if ours
        else []
    )


def _sum_of(frame: bytes) -> _Sum:
    head = _FRAME.unpack(frame[: _FRAME.size]) if len(frame) >= _FRAME.size else (0,) * 6
    return head[4], head[5]


def _frame_sum(frame: bytes, size: int, salts: _Sum, before: _Sum, order: str) -> _Sum | None:
    """The running checksum after a whole frame of this round; None when it is none."""
    if len(frame) < size or _FRAME.unpack(frame[: _FRAME.size])[2:4] != salts:
        return None
    total = _checksum(frame[:8] + frame[_FRAME.size :], before, order)
    return total if total == _sum_of(frame) else None


def _checksum(data: bytes, start: _Sum, order: str) -> _Sum:
    first, second = start
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & _WORD
        second = (second + odd + first) & _WORD
    return first, second
