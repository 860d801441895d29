"""A log with a record that cannot be applied: told by file, LSN and reason, and set aside by repair
alone.
"""

from __future__ import annotations

import shutil
import struct
from dataclasses import replace

import numpy as np
import pytest

from milvine.errors import CorruptFile
from milvine.offline.backup import backup
from milvine.offline.repair import repair
from milvine.offline.verify import verify
from milvine.storage.checksum import crc32c
from milvine.testing.by_name import DatabaseByName
from milvine.testing.offline import QUIET, copy_database, quiet
from milvine.types import MetricType
from milvine.wal.log import log_files
from milvine.wal.record import (
    FILE_HEADER,
    FRAME_HEADER,
    FRAME_MAGIC,
    DeleteRecord,
    InsertRecord,
    decode_frame,
)

UNFIT_LSN = 3


def rows(count, width=4):
    return np.ones((count, width), np.float32).view(np.uint8)


def wide(db):
    state = db.collection("c").state
    return InsertRecord(
        state.id, next(iter(state.partitions)), np.arange(50, 52), rows(2, 8), False
    )


def elsewhere(db):
    other = next(iter(db.collection("other").state.partitions))
    return InsertRecord(db.collection("c").state.id, other, np.arange(50, 52), rows(2), False)


def delete_elsewhere(db):
    other = next(iter(db.collection("other").state.partitions))
    return DeleteRecord(db.collection("c").state.id, other, np.arange(2))


def fine(db):
    state = db.collection("c").state
    return InsertRecord(state.id, next(iter(state.partitions)), np.arange(50, 52), rows(2), False)


def rewritten(path, lsn, kind=None, at=None, value=b""):
    """Change the kind or some bytes of the payload of a record, and make its checksum right."""
    data = np.fromfile(path, np.uint8)
    offset = FILE_HEADER.size
    while (frame := decode_frame(data, offset)).lsn != lsn:
        offset = frame.end
    payload = bytearray(frame.payload.tobytes())
    if at is not None:
        payload[at : at + len(value)] = value
    rest = FRAME_HEADER.pack(0, 0, len(payload), lsn, frame.synced_lsn, kind or frame.kind)[8:]
    head = struct.pack("<II", FRAME_MAGIC, crc32c(rest, bytes(payload))) + rest
    whole = bytearray(data.tobytes())
    whole[offset : offset + len(head) + len(payload)] = head + bytes(payload)
    path.write_bytes(whole)


KINDS = {
    "width": (wide, {}, "32 bytes"),
    "partition": (elsewhere, {}, "partition 2, which is not of c"),
    "delete": (delete_elsewhere, {}, "partition 2, which is not of c"),
    "kind": (fine, {"kind": 9}, "kind 9"),
    "ids": (fine, {"at": 16, "value": struct.pack("<Q", 3)}, "insert of 3 rows"),
    "most ids": (fine, {"at": 16, "value": struct.pack("<Q", (1 << 64) - 1)}, "does not take"),
}


@pytest.fixture(params=["home", "outside"])
def made(request, tmp_path):
    """A function that makes a killed database with one such record between others."""

    def make(kind, behind=True):
        build, change, _ = KINDS[kind]
        live = tmp_path / "log.live" if request.param == "outside" else None
        log = tmp_path / "log" if live else None
        with DatabaseByName.open(tmp_path / "live", quiet(live)) as db:
            db.create_collection("c", 4, 64, MetricType.L2)
            db.create_collection("other", 4, 64, MetricType.L2)
            db.collection("c").insert(np.zeros((2, 4), np.float32), np.arange(2))
            db.collection("other").insert(np.zeros((2, 4), np.float32), np.arange(2))
            db.stores.writer.call(lambda: db.stores.log.append([build(db)]))
            if behind:
                db.collection("c").insert(np.zeros((3, 4), np.float32), np.arange(100, 103))
                db.collection("c").delete(np.array([0]))
            copy_database(tmp_path / "live", tmp_path / "db", live, log)
        (file,) = log_files(log or tmp_path / "db" / "wal")
        if change:
            rewritten(file, UNFIT_LSN, **change)
        return tmp_path / "db", quiet(log), file

    return make


@pytest.mark.parametrize("behind", [True, False], ids=["behind", "last"])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_named_and_set_aside(made, tmp_path, kind, behind):
    root, settings, file = made(kind, behind)
    why = KINDS[kind][2]
    with pytest.raises(
        CorruptFile, match=rf"{file.name} is damaged at byte \d+: LSN 3 cannot be applied: .*{why}"
    ):
        DatabaseByName.open(root, settings)
    (finding,) = [f for f in verify(root).findings if f.damage]
    assert finding.file.endswith(file.name) and finding.offset and why in finding.what
    assert "LSN 3 cannot be applied" in finding.what
    with pytest.raises(CorruptFile, match="LSN 3 cannot be applied"):
        backup(root, tmp_path / "kept")
    done = repair(root, dry_run=False)
    assert any(step.startswith("leave out LSN 3 in the log") for step in done.steps)
    assert (done.lost_records, done.unused_records, done.lost_rows) == (1, 0, 0)
    assert verify(root).clean and list((root / "set-aside").rglob(file.name))
    for _ in range(2):
        with DatabaseByName.open(root, settings) as db:
            assert db.collection("other").count() == 2
            assert db.collection("c").count() == (4 if behind else 2)
            assert db.collection("c").get(np.array([0, 1]))[0].tolist() == [not behind, True]


@pytest.mark.parametrize("kind", KINDS)
def test_a_start_that_ignores_errors_leaves_out_the_rest(made, kind):
    root, settings, _ = made(kind)
    with DatabaseByName.open(root, replace(settings, wal_recovery_error_ignore=True)) as db:
        assert (db.collection("c").count(), db.collection("other").count()) == (2, 2)
        db.collection("c").insert(np.zeros((1, 4), np.float32), np.array([7]))
    with DatabaseByName.open(root, settings) as db:
        assert db.collection("c").count() == 3


def test_what_is_flushed_or_dropped_has_nothing_to_fit(tmp_path):
    with DatabaseByName.open(tmp_path / "live", QUIET) as db:
        for name, width in (("c", 4), ("gone", 8)):
            db.create_collection(name, width, 64, MetricType.L2)
            db.collection(name).insert(np.zeros((2, width), np.float32), np.arange(2))
        db.collection("c").create_partition("p")
        db.collection("c").insert(np.zeros((2, 4), np.float32), np.arange(10, 12), "p")
        db.collection("c").drop_partition("p")
        db.collection("gone").drop()
        db.create_collection("gone", 4, 64, MetricType.L2)
        db.collection("gone").insert(np.zeros((5, 4), np.float32), np.arange(5))
        shutil.copytree(tmp_path / "live", tmp_path / "db")
    assert verify(tmp_path / "db").clean
    with DatabaseByName.open(tmp_path / "db", QUIET) as db:
        assert (db.collection("c").count(), db.collection("gone").count()) == (2, 5)
