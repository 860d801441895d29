"""The log on disk: what was acknowledged comes back; a torn end is cut; damage below an
acknowledgement is reported.
"""

import errno

import numpy as np
import pytest

from milvine.errors import CorruptFile, StorageFailed, UnsupportedFormat
from milvine.wal import log as log_module
from milvine.wal.log import Log
from milvine.wal.record import DeleteRecord, InsertRecord, encode
from milvine.wal.replay import Replay


def record(number, size=16):
    return InsertRecord(
        1, 1, np.array([number], np.int64), np.full((1, size), number % 256, np.uint8), False
    )


def open_log(folder, file_bytes=1 << 20, sync=True):
    replay = Replay(folder, 0)
    list(replay)
    last = max(replay.last_lsn, replay.files[-1].first_lsn - 1 if replay.files else 0)
    return Log(folder, replay.files, last, file_bytes, sync)


def replayed(folder, durable=0, ignore=False, needed=lambda lsn, record: True):
    replay = Replay(folder, durable, ignore, needed=needed)
    return [(lsn, int(each.ids[0])) for lsn, each in replay], replay


def last_file(folder):
    return max(folder.glob("*.wal"))


def test_what_was_appended_is_replayed_in_order_across_files(tmp_path):
    log = open_log(tmp_path, file_bytes=300)
    for number in range(20):
        log.append([record(number), DeleteRecord(1, 0, np.array([number], np.int64))])
    log.close()
    assert len(list(tmp_path.glob("*.wal"))) > 5
    found, replay = replayed(tmp_path)
    assert found == [(i + 1, i // 2) for i in range(40)]
    assert replay.cut is None


def test_a_torn_end_is_cut_and_the_log_goes_on(tmp_path):
    log = open_log(tmp_path)
    log.append([record(1)])
    log.append([record(2)])
    log.close()
    path = last_file(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    found, replay = replayed(tmp_path)
    assert found == [(1, 1)]
    assert replay.cut is not None and replay.cut.path == path
    log = open_log(tmp_path)
    log.append([record(3)])
    log.close()
    assert replayed(tmp_path)[0] == [(1, 1), (2, 3)]


def test_every_length_of_the_last_group_is_a_torn_end(tmp_path):
    log = open_log(tmp_path)
    log.append([record(1)])
    path = last_file(tmp_path)
    start = path.stat().st_size
    log.append([record(2), record(3)])
    log.close()
    whole = path.read_bytes()
    for end in range(start, len(whole)):
        path.write_bytes(whole[:end])
        found, _ = replayed(tmp_path)
        assert found in ([(1, 1)], [(1, 1), (2, 2)])


def test_pages_of_one_unsynced_group_out_of_order_are_a_torn_end(tmp_path):
    log = open_log(tmp_path)
    log.append([record(1)])
    path = last_file(tmp_path)
    start = path.stat().st_size
    log.append([record(2), record(3)])
    log.close()
    data = bytearray(path.read_bytes())
    data[start : start + 16] = bytes(16)  # record 2 never reached the disk, record 3 did
    path.write_bytes(data)
    found, replay = replayed(tmp_path)
    assert found == [(1, 1)] and replay.cut is not None


def test_damage_below_an_acknowledged_record_is_corruption(tmp_path):
    log = open_log(tmp_path)
    for number in range(3):
        log.append([record(number)])
    log.close()
    path = last_file(tmp_path)
    data = bytearray(path.read_bytes())
    data[32 + 44] ^= 1  # inside the first frame
    path.write_bytes(data)
    with pytest.raises(
        CorruptFile, match=r"\.wal is damaged at byte 32: .*LSN 1 had been acknowledged"
    ):
        replayed(tmp_path)
    found, _ = replayed(tmp_path, ignore=True)
    assert found == []


def test_damage_that_the_catalog_proves_durable_is_corruption(tmp_path):
    log = open_log(tmp_path)
    log.append([record(1)])
    log.close()
    path = last_file(tmp_path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CorruptFile):
        replayed(tmp_path, durable=1)


def test_damage_before_a_later_file_is_corruption(tmp_path):
    log = open_log(tmp_path, file_bytes=1)
    log.append([record(1)])
    log.append([record(2)])
    log.close()
    first = min(tmp_path.glob("*.wal"))
    first.write_bytes(first.read_bytes()[:-4])
    with pytest.raises(CorruptFile):
        replayed(tmp_path)


def test_a_failed_sync_acknowledges_nothing_and_the_log_goes_on(tmp_path, monkeypatch):
    log = open_log(tmp_path)
    log.append([record(1)])

    def broken(fd):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(log_module, "sync_fd", broken)
        with pytest.raises(StorageFailed, match="Input/output error"):
            log.append([record(2)])
        with pytest.raises(StorageFailed, match="Cannot repair the log"):
            log.append([record(3)])
    log.append([record(4)])
    log.close()
    assert replayed(tmp_path)[0] == [(1, 1), (2, 4)]


def test_a_failed_record_that_reached_the_disk_is_superseded(tmp_path, monkeypatch):
    log = open_log(tmp_path)
    log.append([record(1)])
    ghost = b"".join(bytes(part) for part in encode(record(99), 2, 1))
    old = last_file(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(
            log_module,
            "write_all",
            lambda fd, buffers: (_ for _ in ()).throw(OSError(28, "No space left")),
        )
        with pytest.raises(StorageFailed, match="No space left"):
            log.append([record(2)])
    log.append([record(3)])
    log.close()
    old.write_bytes(old.read_bytes() + ghost)
    assert replayed(tmp_path)[0] == [(1, 1), (2, 3)]


def test_trim_removes_what_is_flushed_and_a_file_brought_back_is_ignored(tmp_path):
    log = open_log(tmp_path, file_bytes=1)
    for number in range(4):
        log.append([record(number)])
    oldest = min(tmp_path.glob("*.wal"))
    kept = oldest.read_bytes()
    log.trim(3)
    log.close()
    assert [lsn for lsn, _ in replayed(tmp_path, durable=3)[0]] == [4]
    oldest.write_bytes(kept)  # its removal was not durable, that of its successor was
    assert [
        lsn for lsn, _ in replayed(tmp_path, durable=3, needed=lambda lsn, record: lsn > 3)[0]
    ] == [4]
    assert not oldest.exists()


def test_a_missing_file_behind_a_needed_one_is_damage(tmp_path):
    log = open_log(tmp_path, file_bytes=1)
    for number in range(5):
        log.append([record(number)])
    log.close()
    before = sorted(tmp_path.glob("*.wal"))
    before.pop(2).unlink()
    with pytest.raises(
        CorruptFile, match=r"0000000000000003\.wal .*missing, though LSN 2 in 0000000000000002\.wal"
    ):
        replayed(tmp_path, needed=lambda lsn, record: lsn > 1)
    assert sorted(tmp_path.glob("*.wal")) == before
    assert [lsn for lsn, _ in replayed(tmp_path, ignore=True)[0]] == [4, 5]


def test_an_unfinished_new_file_is_dropped(tmp_path):
    log = open_log(tmp_path)
    log.append([record(1)])
    log.close()
    path = last_file(tmp_path)
    path.with_name(f"{int(path.stem) + 1:016d}.wal").write_bytes(b"MILV")
    assert replayed(tmp_path)[0] == [(1, 1)]


def test_a_newer_format_is_refused(tmp_path):
    open_log(tmp_path).close()
    path = last_file(tmp_path)
    data = bytearray(path.read_bytes())
    data[8] = 99
    path.write_bytes(data)
    with pytest.raises(UnsupportedFormat, match="log format 99"):
        replayed(tmp_path)
