"""The tracer sees every change, the simulated disk keeps exactly what was synced, and SQLite
survives on it.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from milvine.testing.crash.simulate import Disk, Mode, acknowledged, crash_points
from milvine.testing.crash.trace import Op, Record, Untraceable, read_trace, under_tracer

PLAIN = """
import os, shutil, subprocess, sys
root, ack = sys.argv[1:]
os.chdir(root)
os.mkdir("kept"); os.makedirs("a/b"); os.rmdir("a/b")
with open("kept/one.tmp", "wb") as f:
    f.write(b"x" * 10000); f.flush(); os.fsync(f.fileno())
os.replace("kept/one.tmp", "kept/one")
copy = os.open("kept/two", os.O_RDWR | os.O_CREAT | os.O_APPEND)
other = os.dup(copy)
os.write(copy, b"12345"); os.write(other, b"678"); os.writev(other, [b"9", b"abc"]); os.close(copy)
os.pwrite(other, b"", 0); os.ftruncate(other, 4); os.truncate("kept/two", 3)
os.write(other, b"yz"); os.fdatasync(other)
shutil.copyfile("kept/one", "copy"); os.link("copy", "linked"); os.unlink("copy")
with open("linked", "r+b") as f: f.seek(5); f.write(b"in place")
hole = os.open("hole", os.O_WRONLY | os.O_CREAT, dir_fd=os.open(".", os.O_RDONLY))
os.pwrite(hole, b"far", 9000); os.posix_fallocate(hole, 0, 9999)
child = "open('child', 'w').write('from a child'); open('kept/two', 'a').write('!')"
subprocess.run([sys.executable, "-c", child], check=True)
if not os.fork():
    os.write(other, b"forked"); os._exit(0)
os.wait()
open("short-lived", "w").close(); os.remove("short-lived")
open("copy", "w").write("once more"); open("copy", "w").write("cut")
log = os.open(ack, os.O_WRONLY | os.O_CREAT | os.O_APPEND); os.write(log, b"done\\n")
"""

SQLITE = """
import os, sqlite3, sys
root, ack = sys.argv[1:]
log = os.open(ack, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
made = False
for life in range(3):
    db = sqlite3.connect(os.path.join(root, "catalog.db"), isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL"); db.execute("PRAGMA synchronous=FULL")
    db.execute("PRAGMA wal_autocheckpoint=20")
    db.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY, pad TEXT)")
    if not life: os.write(log, b"0\\n")
    for n in range(life * 40 + 1, life * 40 + 41):
        db.execute("BEGIN")
        db.execute("INSERT INTO t VALUES (?, ?)", (2 * n, "x" * (n * 37 % 3000)))
        db.execute("INSERT INTO t VALUES (?, '')", (2 * n + 1,)); db.execute("COMMIT")
        os.write(log, b"%d\\n" % n)
    db.close()
"""


def record(script: str, folder: Path, tracer: Path) -> list[Record]:
    root = folder / "root"
    root.mkdir()
    command = [sys.executable, "-c", script, str(root), str(folder / "ack")]
    subprocess.run(
        under_tracer(tracer, root, folder / "trace", folder / "ack", command), check=True
    )
    return read_trace(folder / "trace")


def replay(records: list[Record], disk: Disk | None = None) -> Disk:
    disk = disk or Disk()
    for one in records:
        disk.apply(one)
    return disk


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith("-shm")
    }


def test_every_way_to_change_a_file_is_seen(tmp_path: Path, tracer: Path) -> None:
    records = record(PLAIN, tmp_path, tracer)
    assert acknowledged(records) == b"done\n"
    assert replay(records).files() == contents(tmp_path / "root")


@pytest.mark.parametrize(
    "script",
    [
        "import sys, numpy; numpy.memmap(sys.argv[1] + '/m', 'u1', 'w+', shape=10)",
        "import sys, os; os.symlink('x', sys.argv[1] + '/s')",
    ],
)
def test_what_cannot_be_followed_is_refused(script: str, tmp_path: Path, tracer: Path) -> None:
    with pytest.raises(Untraceable):
        record(script, tmp_path, tracer)


def test_sqlite_is_seen_whole(tmp_path: Path, tracer: Path) -> None:
    records = record(SQLITE, tmp_path, tracer)
    assert replay(records).files() == contents(tmp_path / "root")
    assert {Op.SYNC_END, Op.TRUNCATE, Op.UNLINK, Op.WRITE} <= {
        one.op for one in records if "catalog.db" in one.path
    }


def surviving(folder: Path) -> list[int]:
    if not (folder / "catalog.db").exists():
        return []
    with closing(sqlite3.connect(folder / "catalog.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        if not db.execute("SELECT 1 FROM sqlite_master").fetchall():
            return []
        return [n for (n,) in db.execute("SELECT n FROM t ORDER BY n")]


def lost_by_sqlite(records: list[Record], folder: Path, disk: Disk) -> int:
    """Crashes at 60 points in all modes; returns how many acknowledged transactions were missing
    afterwards.
    """
    random, lost, at = np.random.default_rng(7), 0, 0
    modes = list(Mode)
    for number, point in enumerate(crash_points(records, 60, random)):
        replay(records[at:point], disk)
        at = point
        target = folder / f"state{number}"
        disk.crash(target, modes[number % len(modes)], random)
        rows = surviving(target)
        assert len(rows) % 2 == 0 and rows == list(range(2, 2 + len(rows))), (
            "half a transaction, or one out of order"
        )
        acks = acknowledged(records[:point]).split()
        lost += max(0, int(acks[-1] if acks else 0) - len(rows) // 2)
    return lost


def test_sqlite_in_wal_mode_survives_the_strict_disk(tmp_path: Path, tracer: Path) -> None:
    assert lost_by_sqlite(record(SQLITE, tmp_path, tracer), tmp_path, Disk()) == 0


def test_sqlite_without_syncs_is_caught(tmp_path: Path, tracer: Path) -> None:
    script = SQLITE.replace("synchronous=FULL", "synchronous=NORMAL")
    assert lost_by_sqlite(record(script, tmp_path, tracer), tmp_path, Disk()) > 0


def wrote(path: str, data: bytes, offset: int = 0) -> Record:
    return Record(Op.WRITE, path, number=offset, data=data)


def crashed(
    records: list[Record], mode: Mode, folder: Path, seed: int = 0, disk: Disk | None = None
) -> dict[str, bytes]:
    target = folder / f"{mode.value}{seed}"
    replay(records, disk).crash(target, mode, np.random.default_rng(seed))
    return contents(target)


SYNCED = [Record(Op.SYNC_BEGIN, "", number=1), Record(Op.SYNC_END, "", number=1)]


def test_a_write_during_a_sync_is_not_covered(tmp_path: Path) -> None:
    begin, end = Record(Op.SYNC_BEGIN, "f", number=1), Record(Op.SYNC_END, "f", number=1)
    records = [
        Record(Op.CREATE, "f"),
        *SYNCED,
        wrote("f", b"a"),
        begin,
        wrote("f", b"b", 1),
        end,
        wrote("f", b"c", 2),
    ]
    assert crashed(records, Mode.FORGET, tmp_path) == {"f": b"a"}
    assert crashed(records, Mode.KEEP, tmp_path) == {"f": b"abc"}


def test_a_name_needs_its_folder_synced(tmp_path: Path) -> None:
    records = [
        Record(Op.CREATE, "f"),
        wrote("f", b"a"),
        Record(Op.SYNC_BEGIN, "f", number=1),
        Record(Op.SYNC_END, "f", number=1),
    ]
    assert crashed(records, Mode.FORGET, tmp_path) == {}
    assert crashed(records, Mode.FORGET, tmp_path, 1, Disk(names_follow_sync=True)) == {"f": b"a"}
    assert crashed([*records, *SYNCED], Mode.FORGET, tmp_path, 2) == {"f": b"a"}
    renamed = [*records, *SYNCED, Record(Op.RENAME, "f", "g")]
    assert crashed(renamed, Mode.FORGET, tmp_path, 3) == {"f": b"a"}
    assert crashed([*renamed, *SYNCED], Mode.FORGET, tmp_path, 4) == {"g": b"a"}


def test_torn_and_reordered_writes_mix_old_and_new(tmp_path: Path) -> None:
    old = [Record(Op.CREATE, "f"), wrote("f", b"o" * 8192), Record(Op.SYNC_BEGIN, "f", number=1)]
    records = [
        *old,
        Record(Op.SYNC_END, "f", number=1),
        *SYNCED,
        wrote("f", b"n" * 8192),
        wrote("f", b"t" * 100, 8192),
    ]
    torn = {crashed(records, Mode.TORN, tmp_path, seed)["f"] for seed in range(30)}
    assert any(b"o" * 512 in state and b"n" * 512 in state for state in torn)
    assert all(
        set(state[start : start + 512]) in ({111}, {110})
        for state in torn
        for start in range(0, 8192, 512)
    )
    whole = {crashed(records, Mode.REORDER, tmp_path, seed)["f"] for seed in range(30)}
    assert whole == {b"o" * 8192, b"n" * 8192, b"o" * 8192 + b"t" * 100, b"n" * 8192 + b"t" * 100}


def test_states_repeat_by_seed(tmp_path: Path) -> None:
    records = [Record(Op.CREATE, "f"), *SYNCED, wrote("f", bytes(range(256)) * 64)]
    first = crashed(records, Mode.TORN, tmp_path, 5)
    (tmp_path / "again").mkdir()
    assert crashed(records, Mode.TORN, tmp_path / "again", 5) == first
