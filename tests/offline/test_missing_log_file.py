"""A log file that is gone from the middle of the log: nothing that stands before it is passed over
without a word.
"""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from milvine.config import Settings
from milvine.errors import CorruptFile
from milvine.offline.backup import backup
from milvine.offline.repair import repair
from milvine.offline.verify import verify
from milvine.testing.by_name import DatabaseByName
from milvine.types import MetricType
from milvine.wal.log import log_files

TINY = Settings(background=False, search_threads=1, build_threads=1, wal_file_bytes=1)
"""A log file for every group."""


def rows(count):
    return np.ones((count, 4), np.float32)


def killed(tmp_path, before, behind):
    """The folder of a database that was killed, and its log without the file between two groups of
    calls.
    """
    db = DatabaseByName.open(tmp_path / "open", TINY)
    db.create_collection("a", 4, 1, MetricType.L2)
    db.create_collection("b", 4, 1, MetricType.L2)
    db.collection("a").insert(rows(4), np.arange(4))
    db.flush(["a"])
    before(db)
    db.collection("b").insert(rows(1), np.array([70]))
    lost = log_files(tmp_path / "open" / "wal")[-2]
    behind(db)
    shutil.copytree(tmp_path / "open", tmp_path / "db")
    db.close()
    (tmp_path / "db" / "wal" / lost.name).unlink()
    return tmp_path / "db"


WANTED = {
    "an insert": lambda db: db.collection("a").insert(rows(3), np.arange(10, 13)),
    "a delete": lambda db: db.collection("a").delete(np.array([1])),
}


@pytest.mark.parametrize("what", WANTED)
def test_what_stands_before_it_is_not_lost(tmp_path, what):
    root = killed(
        tmp_path, WANTED[what], lambda db: db.collection("b").insert(rows(2), np.arange(2))
    )
    files = log_files(root / "wal")
    with pytest.raises(CorruptFile, match="is missing, though LSN 2 in"):
        DatabaseByName.open(root, TINY)
    assert log_files(root / "wal") == files
    assert any(
        "log file is missing" in str(finding) for finding in verify(root).findings if finding.damage
    )
    with pytest.raises(CorruptFile, match="missing in the middle of the log"):
        backup(root, tmp_path / "backups")
    done = repair(root, skip_log_damage=True, dry_run=False)
    assert (done.lost_records, done.unused_records) == (1, 0)
    with DatabaseByName.open(root, TINY) as db:
        assert (db.collection("a").count(), db.collection("b").count()) == (
            7 if what == "an insert" else 3,
            2,
        )
    assert verify(root).clean


def without_effect(db):
    db.collection("a").delete(np.array([99]))
    db.collection("a").create_partition("gone")
    db.collection("a").insert(rows(1), np.array([50]), tag="gone")
    db.collection("a").drop_partition("gone")


def test_what_needs_no_flush_is_no_reason_to_refuse(tmp_path):
    root = killed(
        tmp_path, without_effect, lambda db: db.collection("b").insert(rows(2), np.arange(2))
    )
    with DatabaseByName.open(root, TINY) as db:
        assert (db.collection("a").count(), db.collection("b").count()) == (4, 2)
