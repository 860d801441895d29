"""Logs of earlier formats are read as they were written; what the key added is read back too."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.types import MetricType
from milvine.wal.record import InsertRecord, decode, decode_file_header, decode_frame, encode
from milvine.wal.replay import Replay

FORMAT_1 = Path(__file__).with_name("format-1.wal")
"""Recorded before keys: five rows of `old`, a delete of 1 and 3, three rows of `made` with
generated ids.
"""
QUIET = Settings(background=False)


def test_a_log_of_format_1_is_replayed(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    shutil.copy(FORMAT_1, tmp_path / "log" / "0000000000000001.wal")
    assert decode_file_header(np.fromfile(FORMAT_1, np.uint8))[0] == 1
    records = [record for _, record in Replay(tmp_path / "log", 0)]
    assert [len(record.ids) for record in records] == [5, 2, 3]
    assert [record.key for record in records if isinstance(record, InsertRecord)] == [b"", b""]


def test_a_database_opens_with_a_log_of_format_1(tmp_path: Path) -> None:
    with Database.open(tmp_path, QUIET) as db:
        db.create_collection("old", 4, 1, MetricType.L2)
        db.create_collection("made", 2, 1, MetricType.L2)
    for file in (tmp_path / "wal").glob("*.wal"):
        file.unlink()
    shutil.copy(FORMAT_1, tmp_path / "wal" / "0000000000000001.wal")
    for _ in range(2):  # the second time beside files of the present format
        with Database.open(tmp_path, QUIET) as db:
            assert (db.collection("old").count(), db.collection("made").count()) == (3, 3)
            found, vectors = db.collection("old").get(np.array([0, 1, 4], np.int64))
            assert found.tolist() == [True, False, True] and vectors[2].tolist() == [16, 17, 18, 19]


@pytest.mark.parametrize("key", [b"", bytes(range(16))])
def test_a_key_comes_back(key: bytes) -> None:
    rows = np.arange(15, dtype=np.uint8).reshape(3, 5)
    record = InsertRecord(1, 2, np.array([7, 8, 9], np.int64), rows, False, key)
    frame = decode_frame(
        np.frombuffer(b"".join(bytes(part) for part in encode(record, 4, 3)), np.uint8), 0
    )
    back = decode(frame)
    assert isinstance(back, InsertRecord) and back.key == key
    assert back.rows.tolist() == rows.tolist() and back.ids.tolist() == [7, 8, 9]
