"""Backups while others write, chains of them, and what restore refuses."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from milvine.config import Settings
from milvine.errors import CorruptFile, DataFolderLocked, StorageFailed
from milvine.offline import backup as care_backup
from milvine.offline import restore as care_restore
from milvine.offline.backup import backup
from milvine.offline.manifest import MANIFEST, backups
from milvine.offline.restore import restore
from milvine.offline.verify import verify
from milvine.storage.folder import FORMAT_VERSION
from milvine.testing.by_name import DatabaseByName
from milvine.testing.offline import QUIET, differences
from milvine.types import IndexSetting, IndexType, MetricType

BUSY = Settings(
    auto_flush_interval=0.01,
    auto_flush_tail_age=0.02,
    file_cleanup_timeout=0,
    search_threads=1,
    build_threads=1,
    build_in_subprocess=False,
    wal_file_bytes=20_000,
)


def components(root, kind=""):
    return sorted(path.name for path in (root / "segments").iterdir() if path.name.startswith(kind))


def test_a_backup_of_a_killed_database(sample, tmp_path):
    root, model = sample
    made = backup(root, tmp_path / "kept")
    assert made.collections == 4 and made.log_records and made.new_bytes == made.bytes
    restore(tmp_path / "kept", tmp_path / "again")
    assert verify(tmp_path / "again").clean
    with DatabaseByName.open(tmp_path / "again", QUIET) as db:
        assert differences(db, model) == []


@pytest.mark.parametrize("indexes", [False, True])
def test_indexes_are_taken_over_only_when_asked(sample, tmp_path, indexes):
    root, model = sample
    made = backup(root, tmp_path / "kept")
    restore(tmp_path / "kept", tmp_path / "again", indexes=indexes)
    assert bool(components(tmp_path / "again", "index-")) is indexes
    assert any("index-" in file.name for file in made.files)
    slim = backup(root, tmp_path / "slim", indexes=False)
    assert not any("index-" in file.name for file in slim.files)
    restore(tmp_path / "slim", tmp_path / "third", indexes=True)
    with DatabaseByName.open(tmp_path / "third", QUIET) as db:
        assert differences(db, model) == []
        db.collection("given").create_index(IndexSetting.of(IndexType.IVF_FLAT, {"nlist": 8}))
        assert components(tmp_path / "third", "index-")


def test_what_is_restored_from_an_older_backup_has_the_new_format(sample, tmp_path, monkeypatch):
    root, _ = sample
    old = b'{"milvine_format": 1}'
    monkeypatch.setattr(
        care_backup, "write_format", lambda folder: (folder / "FORMAT").write_bytes(old)
    )
    backup(root, tmp_path / "kept")
    restore(tmp_path / "kept", tmp_path / "again")
    again = json.loads((tmp_path / "again" / "FORMAT").read_text())
    assert again == {"milvine_format": FORMAT_VERSION}


def test_beside_a_writer_nothing_acknowledged_is_missing(tmp_path):
    root, stop = tmp_path / "db", threading.Event()
    acknowledged = {"rows": 0, "deleted": 0}
    failed = []

    def write(db):
        try:
            batch = 0
            while not stop.is_set():
                first = batch * 100
                db.collection("c").insert(
                    np.full((20, 8), batch, np.float32), np.arange(first, first + 20)
                )
                acknowledged["rows"] = batch + 1
                if batch:
                    db.collection("c").delete(np.arange(first - 100, first - 90))
                    acknowledged["deleted"] = batch
                batch += 1
        except Exception as error:
            failed.append(error)

    with DatabaseByName.open(root, BUSY) as db:
        db.create_collection("c", 8, 1, MetricType.L2)
        thread = threading.Thread(target=write, args=(db,))
        thread.start()
        taken = []
        try:
            while not (acknowledged["rows"] or failed):
                time.sleep(0.001)
            while len(taken) < 4 and not failed:
                before = dict(acknowledged)
                made = db.backup(tmp_path / "kept", link=len(taken) % 2 == 1)
                taken.append((made, before, dict(acknowledged)))
        finally:
            stop.set()
            thread.join()
        assert not failed
    for number, (made, before, after) in enumerate(taken):
        folder = tmp_path / f"r{number}"
        restore(tmp_path / "kept" / os.path.basename(made.folder), folder)
        with DatabaseByName.open(folder, QUIET) as db:
            _check(db, before, after)


def _check(db, before, after):
    """Whole batches up to one moment between the two, each row once; deletes likewise."""
    batches = next(
        (
            b
            for b in range(after["rows"] + 2)
            if not db.collection("c").get(np.array([b * 100 + 19]))[0][0]
        ),
        None,
    )
    assert batches is not None and before["rows"] <= batches <= after["rows"] + 1
    count = 0
    for batch in range(batches):
        found, vectors = db.collection("c").get(np.arange(batch * 100, batch * 100 + 20))
        assert found[10:].all() and (found[:10].all() or not found[:10].any())
        assert not (found[0] and batch < before["deleted"]), "a deleted row is back"
        assert (vectors[found] == batch).all()
        count += int(found.sum())
    assert db.collection("c").count() == count


def test_a_chain_shares_what_did_not_change(sample, tmp_path):
    root, _ = sample
    kept = tmp_path / "kept"
    first = backup(root, kept)
    with DatabaseByName.open(root, QUIET) as db:
        db.collection("fresh").insert(np.ones((5, 8), np.float32), np.arange(100, 105))
        db.flush()
        second = db.backup(kept)
    assert [m.folder for m in backups(kept)] == [first.folder, second.folder]
    shared = [
        f for f in second.files if f.name in first.by_name() and f.name.startswith("segments/")
    ]
    assert shared and second.new_bytes < second.bytes / 2
    for file in shared:
        assert os.path.samefile(f"{first.folder}/{file.name}", f"{second.folder}/{file.name}")
    shutil.rmtree(first.folder)  # the others do not need it
    restore(kept, tmp_path / "again")
    with DatabaseByName.open(tmp_path / "again", QUIET) as db:
        assert db.collection("fresh").get(np.array([100, 104]))[0].all()


def at_the_first_partial(monkeypatch, act):
    """Have `act` done once by each thread, just before it makes the folder that it will make its
    backup in.
    """
    mkdir, done = Path.mkdir, set()

    def make(path, *arguments, **options):
        if path.name.endswith(".partial") and threading.get_ident() not in done:
            done.add(threading.get_ident())
            act()
        return mkdir(path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", make)
    now = SimpleNamespace(
        strftime=lambda *_: "20270115T080000Z", gmtime=time.gmtime, sleep=time.sleep
    )
    monkeypatch.setattr(care_backup, "time", now)


def test_backups_begun_at_the_same_moment_share_nothing(sample, tmp_path, monkeypatch):
    root, model = sample
    at_the_first_partial(monkeypatch, threading.Barrier(2, timeout=60).wait)
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda _: backup(root, tmp_path / "kept"), range(2)))
    assert len({each.folder for each in made}) == 2
    for number, each in enumerate(made):
        restore(Path(each.folder), tmp_path / f"r{number}")
        with DatabaseByName.open(tmp_path / f"r{number}", QUIET) as db:
            assert differences(db, model) == []


def test_a_name_that_is_given_meanwhile_is_not_given_again(sample, tmp_path, monkeypatch):
    root, _ = sample
    made = []
    at_the_first_partial(monkeypatch, lambda: made.append(backup(root, tmp_path / "kept")))
    made.append(backup(root, tmp_path / "kept"))
    assert [os.path.basename(each.folder) for each in made] == [
        "20270115T080000Z-001",
        "20270115T080000Z-002",
    ]
    # Of one that was interrupted, or goes on.
    (tmp_path / "kept" / "20270115T080000Z-003.partial").mkdir()
    assert backup(root, tmp_path / "kept").folder.endswith("Z-004")


def test_what_decayed_in_an_earlier_backup_is_not_shared(sample, tmp_path):
    root, model = sample
    first = Path(backup(root, tmp_path / "kept").folder)
    name = components(root, "rows-")[-1]
    data = bytearray((first / "segments" / name).read_bytes())
    data[200] ^= 1
    (first / "segments" / name).write_bytes(data)
    second = backup(root, tmp_path / "kept")
    restore(Path(second.folder), tmp_path / "again")
    with DatabaseByName.open(tmp_path / "again", QUIET) as db:
        assert differences(db, model) == []


def test_a_damaged_manifest_keeps_nobody_from_another_backup(sample, tmp_path):
    root, model = sample
    folders = [Path(backup(root, tmp_path / "kept").folder) for _ in range(2)]
    (folders[1] / MANIFEST).write_text("{")
    third = Path(backup(root, tmp_path / "kept").folder)
    name = components(root, "rows-")[-1]
    shared = (folders[0] / "segments" / name).stat()
    assert (third / "segments" / name).stat().st_ino == shared.st_ino
    restore(third, tmp_path / "again")
    with DatabaseByName.open(tmp_path / "again", QUIET) as db:
        assert differences(db, model) == []


def test_restores_into_the_same_folder_do_not_meet(sample, tmp_path, monkeypatch):
    root, model = sample
    backup(root, tmp_path / "kept")
    refused = []

    def beside(staging, **more):
        with pytest.raises(
            DataFolderLocked, match=r"again\.restoring is open in this process already"
        ):
            restore(tmp_path / "kept", tmp_path / "again")
        refused.append(staging)
        return verify(staging, **more)

    monkeypatch.setattr(care_restore, "verify", beside)
    restore(tmp_path / "kept", tmp_path / "again")
    assert len(refused) == 1
    (tmp_path / "more.restoring" / "segments").mkdir(parents=True)  # of one that was killed
    (tmp_path / "more.restoring" / "segments" / "rows-1.mlv").write_text("half")
    monkeypatch.undo()
    restore(tmp_path / "kept", tmp_path / "more")
    for name in ("again", "more"):
        assert not (tmp_path / f"{name}.restoring").exists()
        with DatabaseByName.open(tmp_path / name, QUIET) as db:
            assert differences(db, model) == []


def test_an_earlier_copy_that_says_something_else_is_not_shared(sample, tmp_path):
    root, _ = sample
    first = backup(root, tmp_path / "kept")
    path = tmp_path / "kept" / os.path.basename(first.folder) / MANIFEST
    held = json.loads(path.read_text())
    assert {"crc32c", "body"} == set(held)
    path.write_text(path.read_text().replace('"bytes"', '"bites"', 1))
    second = backup(root, tmp_path / "kept")
    assert second.new_bytes == first.new_bytes
    restore(Path(second.folder), tmp_path / "again")
    with pytest.raises(CorruptFile, match="MANIFEST"):
        restore(path.parent, tmp_path / "other")


def test_a_damaged_database_is_not_backed_up(sample, tmp_path):
    root, _ = sample
    with DatabaseByName.open(root, QUIET):
        pass
    name = components(root, "rows-")[-1]
    data = bytearray((root / "segments" / name).read_bytes())
    data[200] ^= 1
    (root / "segments" / name).write_bytes(data)
    with pytest.raises(CorruptFile, match=f"{name} is damaged at byte 0"):
        backup(root, tmp_path / "kept")
    assert list((tmp_path / "kept").iterdir()) == []


@pytest.mark.parametrize(
    "kind", ["segments/rows-", "segments/dead-", "wal/", "catalog.sqlite", "FORMAT", "MANIFEST"]
)
def test_a_damaged_backup_is_not_restored(sample, tmp_path, kind):
    root, _ = sample
    made = backup(root, tmp_path / "kept")
    folder = tmp_path / "kept" / os.path.basename(made.folder)
    path = next(
        p
        for p in sorted(folder.rglob("*"))
        if p.is_file() and str(p.relative_to(folder)).startswith(kind)
    )
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptFile, match=path.name):
        restore(folder, tmp_path / "again")
    path.unlink()
    with pytest.raises((CorruptFile, StorageFailed)):
        restore(folder, tmp_path / "again")
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize(
    "name", ["../../evil", "segments/../x", "/etc/passwd", "segments/rows-1.mlv\n", "LOCK"]
)
def test_a_manifest_names_nothing_outside(sample, tmp_path, name):
    from milvine.offline.manifest import BackedUp, Manifest, write_manifest

    (tmp_path / "b").mkdir()
    files = (BackedUp(name, 1, 1),)
    write_manifest(tmp_path / "b", Manifest("", "", "", 0, 0, 0, 0, 0, files))
    with pytest.raises(CorruptFile, match="names"):
        restore(tmp_path / "b", tmp_path / "again")


def test_what_restore_and_backup_refuse(sample, tmp_path):
    root, _ = sample
    backup(root, tmp_path / "kept")
    with pytest.raises(StorageFailed, match="not empty"):
        restore(tmp_path / "kept", root)
    with pytest.raises(StorageFailed, match="no whole backup"):
        restore(tmp_path, tmp_path / "again")
    with pytest.raises(StorageFailed, match="no Milvine database"):
        backup(tmp_path / "kept", tmp_path / "other")
    (tmp_path / "again").mkdir()
    restore(tmp_path / "kept", tmp_path / "again")
    assert verify(tmp_path / "again").clean


@pytest.mark.parametrize("partition", [False, True])
def test_what_comes_and_goes_between_catalog_and_log_leaves_no_record(
    sample, tmp_path, monkeypatch, partition
):
    """A log that names what its catalog never made would be damage."""
    root, _ = sample
    look, looks = care_backup.log_files, []

    with DatabaseByName.open(root, QUIET) as database:
        database.create_collection("stays", 4, 1024, MetricType.L2)

        def meanwhile(folder):
            looks.append(1)
            if len(looks) == 2:  # the catalog is copied, the end of the log not yet noted
                come_and_go(database, partition)
            return look(folder)

        monkeypatch.setattr(care_backup, "log_files", meanwhile)
        backup(root, tmp_path / "kept")
    assert len(looks) == 4
    restore(tmp_path / "kept", tmp_path / "again")
    assert verify(tmp_path / "again").clean
    DatabaseByName.open(tmp_path / "again", QUIET).close()


def come_and_go(database, partition):
    """A collection or partition, and rows in it."""
    name, tag = ("stays", "short") if partition else ("short", "")
    if partition:
        database.collection(name).create_partition(tag)
    else:
        database.create_collection(name, 4, 1024, MetricType.L2)
    database.collection(name).insert(np.eye(4, dtype=np.float32), None, tag)
    database.collection(name).drop_partition(tag) if partition else database.collection(name).drop()


@pytest.mark.parametrize("link", [False, True])
def test_what_changes_while_files_are_copied_begins_nothing_again(
    sample, tmp_path, monkeypatch, link
):
    """Else a backup would never end beside a program that always makes and drops collections."""
    root, _ = sample
    look, make_folder, write = (
        care_backup.open_catalog,
        care_backup.make_folder,
        care_backup.write_file,
    )
    looks, copied = [], []

    with DatabaseByName.open(root, QUIET) as database:
        database.create_collection("stays", 4, 1024, MetricType.L2)
        database.flush()
        counts = {name: database.collection(name).count() for name in database.collections()}

        def looked(*args, **named):
            looks.append(1)
            return look(*args, **named)

        def made(folder, *args, **named):
            if folder.name == "wal":  # where the log is copied to
                come_and_go(database, False)
                come_and_go(database, True)
            make_folder(folder, *args, **named)

        def written(path, data):
            write(path, data)
            if path.parent.name == "wal" and not copied:  # files of segments are next
                copied.append(path)
                for each in counts:
                    database.collection(each).drop()
                for each in (root / "segments").iterdir():
                    each.unlink()

        for name, function in (
            ("open_catalog", looked),
            ("make_folder", made),
            ("write_file", written),
        ):
            monkeypatch.setattr(care_backup, name, function)
        backup(root, tmp_path / "kept", link=link)
    assert len(looks) == len(copied) == 1
    restore(tmp_path / "kept", tmp_path / "again")
    assert verify(tmp_path / "again").clean
    with DatabaseByName.open(tmp_path / "again", QUIET) as database:
        assert {
            name: database.collection(name).count() for name in database.collections()
        } == counts
