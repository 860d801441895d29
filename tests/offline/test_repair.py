"""What verify says of damage, and what repair makes of it."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from random import Random

import numpy as np
import pytest

from milvine.errors import CorruptFile, DataFolderLocked, StorageFailed, UnsupportedFormat
from milvine.events import Events, LogMissing, SegmentRefused
from milvine.offline import catalog as care_catalog
from milvine.offline import verify as care_verify
from milvine.offline.repair import repair
from milvine.offline.verify import verify
from milvine.storage.folder import FORMAT_VERSION
from milvine.testing.by_name import DatabaseByName
from milvine.testing.offline import QUIET, differences, flips
from milvine.types import MetricType

FLIPS = int(os.environ.get("MILVINE_CARE_FLIPS", "6"))


def repaired(root, **options):
    """The outcome of a repair after which the folder is clean."""
    done = repair(root, dry_run=False, **options)
    assert [str(f) for f in verify(root).findings if f.damage] == []
    return done


def same(root, model, lost=0):
    told = []
    with DatabaseByName.open(root, QUIET, Events(told.append)) as db:
        assert differences(db, model, lost) == []
    # What a repair has set aside is not lost.
    assert lost or not any(isinstance(event, LogMissing) for event in told)
    with DatabaseByName.open(root, QUIET) as db:
        assert differences(db, model, lost) == []
    assert verify(root).clean


def files(root, kind):
    """Component files of a kind that the catalog names, newest last."""
    with sqlite3.connect(root / "catalog.sqlite") as connection:
        column = {"rows": "rows_file", "dead": "tombstone_file", "index": "index_file"}[kind]
        named = connection.execute(
            f"SELECT DISTINCT {column} FROM segments WHERE {column} IS NOT NULL"
        ).fetchall()
    connection.close()
    return [root / "segments" / name for (name,) in sorted(named)]


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)


def test_a_killed_database_is_clean(sample):
    root, model = sample
    report = verify(root)
    assert report.clean and report.segments and report.rows and report.log_records
    assert repair(root).steps == []
    same(root, model)


def test_flips(tmp_path):
    outcome = flips(FLIPS, 11, tmp_path)
    assert outcome.ok, "\n".join(outcome.notes)
    assert outcome.tried == FLIPS and outcome.rows


@pytest.mark.parametrize("definitions", [True, False], ids=["definitions", "footers alone"])
def test_a_lost_catalog_comes_back(sample, definitions):
    root, model = sample
    for path in root.glob("catalog.sqlite*"):
        path.unlink()
    if not definitions:  # as in a folder of before: what has no segment has no name
        shutil.rmtree(root / "definitions")
        for name in ("fresh", "empty"):
            model.drop_collection(name) if model.has_collection(name) else None
    with pytest.raises(CorruptFile, match="milvine repair"):
        DatabaseByName.open(root, QUIET)
    assert not verify(root).clean
    done = repaired(root)
    assert done.lost_rows == 0 and done.set_aside
    if definitions:
        same(root, model)
    else:
        with DatabaseByName.open(root, QUIET) as db:
            assert set(db.collections()) >= {"given", "auto"} and db.collection(
                "given"
            ).count() == model.count("given")


@pytest.mark.parametrize("at", [0, 3 * 4096])
def test_what_sqlite_says_of_its_file_is_told_in_its_own_words(sample, at):
    root, _ = sample
    DatabaseByName.open(root, QUIET).close()
    data = bytearray((root / "catalog.sqlite").read_bytes())
    data[at : at + 100] = bytes(100) if at else b"x" * 100
    (root / "catalog.sqlite").write_bytes(data)
    with pytest.raises(CorruptFile) as refused:
        DatabaseByName.open(root, QUIET)
    told = [*map(str, verify(root).findings), *repair(root).steps, str(refused.value)]
    assert any("catalog.sqlite" in each for each in told)
    assert not [each for each in told if "SQL:" in each or "sqlalche" in each or "\n" in each]


def test_a_torn_catalog_comes_back(sample):
    root, model = sample
    DatabaseByName.open(root, QUIET).close()  # the newest commits move into the file itself
    data = (root / "catalog.sqlite").read_bytes()
    (root / "catalog.sqlite").write_bytes(data[: len(data) // 2])
    assert not verify(root).clean
    repaired(root)
    same(root, model)


def test_a_changed_number_in_the_catalog_is_noticed(sample):
    root, model = sample
    with sqlite3.connect(root / "catalog.sqlite") as connection:
        connection.execute("UPDATE collections SET flushed_lsn = flushed_lsn + 1")
    connection.close()
    assert any("not what was written" in f.what for f in verify(root).findings)
    with pytest.raises(CorruptFile, match="not what was written"):
        DatabaseByName.open(root, QUIET)
    repaired(root)
    same(root, model)


def test_ids_are_not_given_again_after_a_rebuild(sample):
    root, _ = sample
    with DatabaseByName.open(root, QUIET) as db:
        known = {db.collection(name).definition.id for name in db.collections()}
    for path in root.glob("catalog.sqlite*"):
        path.unlink()
    repaired(root)
    with DatabaseByName.open(root, QUIET) as db:
        db.create_collection("new", 4, 1, db.collection("given").definition.metric)
        assert db.collection("new").definition.id not in known | {1}
        made = db.collection("auto").insert(np.zeros((2, 8), np.float32), None)
        assert len(set(made.tolist())) == 2 and db.collection("auto").count() == 69


def test_a_damaged_index_is_left_out(sample):
    root, model = sample
    (index,) = files(root, "index")
    flip(index, 3000)
    assert any(f.file == f"segments/{index.name}" and f.offset == 0 for f in verify(root).findings)
    done = repaired(root)
    assert done.set_aside and done.lost_rows == 0 and not files(root, "index")
    same(root, model)


def test_a_missing_index_costs_nothing(sample):
    root, model = sample
    files(root, "index")[0].unlink()
    assert verify(root).clean  # told, and built anew by the next start
    same(root, model)


def test_what_a_lost_segment_held_comes_from_the_log(sample):
    root, model = sample
    for path in files(root, "rows"):
        path.unlink()
    found = [f.what for f in verify(root).findings if f.damage]
    assert any("rows of segment" in what for what in found)
    assert repaired(root).lost_rows == 0
    same(root, model)


def test_rows_that_nothing_holds_are_counted(sample):
    root, model = sample
    DatabaseByName.open(root, QUIET).close()
    for path in (root / "wal").iterdir():
        path.unlink()
    lost = files(root, "rows")[-1]
    flip(lost, lost.stat().st_size // 2)
    plan = repair(root)
    assert plan.dry_run and plan.lost_rows and lost.exists() and not (root / "set-aside").exists()
    done = repaired(root)
    assert done.lost_rows == plan.lost_rows
    assert (next((root / "set-aside").iterdir()) / "segments" / lost.name).exists()
    same(root, model, done.lost_rows)


def test_undamaged_blocks_of_a_segment_are_saved(tmp_path):
    root = tmp_path / "db"
    rows, width = 6000, 128
    vectors = np.random.default_rng(1).random((rows, width), dtype=np.float32)
    with DatabaseByName.open(root, QUIET) as db:
        db.create_collection("c", width, 100, MetricType.L2)
        db.collection("c").insert(vectors, np.arange(rows))
        db.flush()
        db.collection("c").delete(np.arange(10))
    for path in (root / "wal").iterdir():
        path.unlink()
    (file,) = files(root, "rows")
    flip(file, (1 << 20) + 17)
    finding = next(f for f in verify(root).findings if f.damage)
    assert (finding.file, finding.offset) == (
        f"segments/{file.name}",
        1 << 20,
    ) and "vectors" in finding.what
    done = repaired(root)
    block = (1 << 20) // (4 * width)
    assert block <= done.lost_rows <= block + 1
    with DatabaseByName.open(root, QUIET) as db:
        assert db.collection("c").count() == rows - 10 - done.lost_rows
        parts = [
            db.collection("c").get(np.arange(first, first + 1000)) for first in range(0, rows, 1000)
        ]
        found, stored = np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
        assert (
            found.sum() == db.collection("c").count()
            and (stored[found] == vectors[found]).all()
            and not found[:10].any()
        )


@pytest.mark.parametrize("how", ["missing", "damaged"])
def test_tombstones_come_from_the_log(sample, how):
    root, model = sample
    for path in files(root, "dead"):
        path.unlink() if how == "missing" else flip(path, 70)
    with DatabaseByName.open(root, QUIET) as db:  # the other collections go on
        assert db.collection("fresh").count() == model.count("fresh")
        with pytest.raises((CorruptFile, StorageFailed), match="dead-"):
            db.collection("given").get(np.array([5000]))
    repaired(root)
    same(root, model)


def test_a_missing_format_file(sample):
    root, model = sample
    (root / "FORMAT").unlink()
    assert [f.file for f in verify(root).findings if f.damage] == ["FORMAT"]
    repaired(root)
    same(root, model)


@pytest.mark.parametrize("damage", ["catalog.sqlite", "segments"])
def test_a_repaired_folder_of_an_older_format_has_the_new_one(sample, damage):
    """An older Milvine would write to the new catalog what no other can read."""
    root, _ = sample
    (root / "FORMAT").write_text('{"milvine_format": 1}')
    flip(files(root, "rows")[0], 200) if damage == "segments" else (root / damage).unlink()
    repair(root)
    assert json.loads((root / "FORMAT").read_text()) == {"milvine_format": 1}
    repaired(root)
    assert json.loads((root / "FORMAT").read_text()) == {"milvine_format": FORMAT_VERSION}


@pytest.mark.parametrize("damage", ["catalog", "segment", "log", "definition"])
@pytest.mark.parametrize("flushed", [False, True])
def test_an_insert_that_comes_again_after_a_repair_is_stored_once(tmp_path, damage, flushed):
    """Keys are in the catalog and in the log, which has those of late inserts, flushed or not."""
    root, ids = tmp_path / "db", np.arange(3)
    with DatabaseByName.open(tmp_path / "open", QUIET) as db:
        db.create_collection("other", 4, 1, MetricType.L2)
        db.collection("other").insert(np.ones((5, 4), np.float32), np.arange(5))
        db.flush()
        db.create_collection("keyed", 4, 1, MetricType.L2)
        for key, count in (("first", 1), ("second", 3)):
            db.collection("keyed").insert(
                np.ones((count, 4), np.float32), ids[:count] + count * 10, key=key
            )
        if flushed:
            db.flush()
        shutil.copytree(tmp_path / "open", root)
    if damage == "catalog":
        (root / "catalog.sqlite").unlink()
    elif damage == "log":
        flip(max((root / "wal").glob("*.wal")), 40)
    else:
        flip(
            files(root, "rows")[0]
            if damage == "segment"
            else min((root / "definitions").iterdir()),
            20,
        )
    repaired(root, skip_log_damage=True)
    with DatabaseByName.open(root, QUIET) as db:
        assert db.collection("keyed").count() == 4
        for key, count in (("first", 1), ("second", 3)):
            db.collection("keyed").insert(
                np.ones((count, 4), np.float32), ids[:count] + count * 10, key=key
            )
        assert db.collection("keyed").count() == 4


def test_a_newer_format_is_left_alone(sample):
    root, model = sample
    (root / "FORMAT").write_text('{"milvine_format": 7}')
    with pytest.raises(UnsupportedFormat):
        repair(root)
    repaired(root, ignore_format=True)
    same(root, model)


def test_damage_in_the_log(sample):
    root, model = sample
    (log,) = (root / "wal").iterdir()
    at = log.stat().st_size * 9 // 10
    flip(log, at)
    finding = next(f for f in verify(root).findings if f.damage)
    assert finding.file == f"wal/{log.name}" and finding.offset is not None and finding.offset <= at
    with pytest.raises(CorruptFile, match="wal"):
        DatabaseByName.open(root, QUIET)
    shutil.copytree(root, root.with_name("second"))
    done = repaired(root)
    assert done.lost_records >= 1 and done.unused_records
    skipped = repaired(root.with_name("second"), skip_log_damage=True)
    assert skipped.unused_records == 0
    same(root.with_name("second"), model, 1000)
    assert list((root / "set-aside").rglob(log.name))


def test_a_torn_end_is_no_damage(sample):
    root, model = sample
    (log,) = (root / "wal").iterdir()
    with open(log, "ab") as file:
        file.write(b"MVWL" + bytes(60))
    report = verify(root)
    assert report.clean and any("torn end" in f.what for f in report.findings)
    same(root, model)


def test_a_repair_can_be_cut_short(sample, monkeypatch):
    root, model = sample
    for path in root.glob("catalog.sqlite*"):
        path.unlink()
    steps = ("give_second_names", "swap_catalog", "remove_first_names")
    for step in steps:

        def stop(*args):
            raise StorageFailed("power cut")

        with monkeypatch.context() as patched:
            patched.setattr(f"milvine.offline.repair.{step}", stop)
            with pytest.raises(StorageFailed, match="power cut"):
                repair(root, dry_run=False)
    repaired(root)
    same(root, model)


def test_nobody_may_have_it_open(sample):
    root, _ = sample
    with DatabaseByName.open(root, QUIET), pytest.raises(DataFolderLocked):
        repair(root)


def test_verify_beside_a_writer(sample):
    root, _ = sample
    with DatabaseByName.open(root, QUIET) as db:
        random = Random(3)
        for _ in range(3):
            db.collection("given").insert(
                np.random.random((50, 8)).astype(np.float32),
                np.arange(50) + random.randrange(10**9),
            )
            db.flush()
            report = verify(root)
            assert report.clean, [str(f) for f in report.findings]


def test_what_changes_between_two_looks_is_no_difference(tmp_path, monkeypatch):
    """Each time that verify looks again, another partition is on its way to the catalog."""
    root = tmp_path / "db"
    with DatabaseByName.open(root, QUIET) as db:
        db.create_collection("c", 4, 1, MetricType.L2)
        path = next((root / "definitions").iterdir())

        def change():
            before = path.read_bytes()
            db.collection("c").create_partition(f"p{len(db.collection('c').partitions())}")
            path.write_bytes(before)

        def changed(survey, folder):
            change()
            return really(survey, folder)

        change()
        really = care_catalog.current_contents
        monkeypatch.setattr(care_catalog, "current_contents", changed)
        assert verify(root).clean
        monkeypatch.setattr(care_catalog, "current_contents", really)
        assert [f.what for f in verify(root).findings] == [
            "it says something else than the catalog"
        ]


def test_a_segment_that_goes_while_it_is_looked_at(sample, monkeypatch):
    root, _ = sample
    found = care_verify.check_record

    def gone(record, components):
        (root / "segments" / record.rows_file).unlink(missing_ok=True)
        return found(record, components)

    monkeypatch.setattr(care_verify, "check_record", gone)
    verify(root, running=True)


def test_what_is_no_database(tmp_path):
    for call in (verify, repair):
        with pytest.raises(StorageFailed, match="holds no Milvine database"):
            call(tmp_path)


def test_one_damaged_segment_keeps_nobody_else_from_opening(sample):
    root, model = sample
    events = []
    file = max(files(root, "rows"), key=lambda path: path.stat().st_size)
    good = file.read_bytes()
    flip(file, file.stat().st_size // 3)
    for _ in range(2):
        with DatabaseByName.open(root, QUIET, Events(events.append)) as db:
            with pytest.raises(CorruptFile, match=file.name):
                db.collection("given").delete(np.array([5550]))
            assert (
                db.collection("fresh").count() == model.count("fresh")
                and db.collection("fresh").get(np.array([3]))[0].all()
            )
            assert db.collection("auto").count() == model.count("auto")
    assert any(isinstance(event, SegmentRefused) and file.name in event.reason for event in events)
    file.write_bytes(good)
    with DatabaseByName.open(root, QUIET) as db:
        assert not db.collection("given").get(np.array([5550]))[0].any()


def test_files_of_others_among_the_segments_stay(sample):
    root, model = sample
    theirs = [
        root / "segments" / name
        for name in ("server.log", "tokens.yaml", "rows-x.mlv", "rows-1.mlv.old")
    ]
    half = root / "segments" / "rows-1.mlv.tmp"
    for path in (*theirs, half):
        path.write_text("something")
    told = {f.file: f.what for f in verify(root).findings}
    assert all("leaves it alone" in told[f"segments/{path.name}"] for path in theirs)
    assert "next start removes it" in told[f"segments/{half.name}"]
    same(root, model)
    assert all(path.exists() for path in theirs) and not half.exists()


def test_a_catalog_that_lost_commits_sweeps_nothing_away(sample):
    root, model = sample
    DatabaseByName.open(root, QUIET).close()
    before = (root / "catalog.sqlite").read_bytes()
    with DatabaseByName.open(root, QUIET) as db:
        vectors = np.ones((4, 8), np.float32)
        for store in (db, model):
            store.insert("fresh", vectors, np.arange(200, 204))
            store.delete("fresh", np.array([201]))
    DatabaseByName.open(root, QUIET).close()  # the log is trimmed
    (root / "catalog.sqlite").write_bytes(before)
    with pytest.raises(CorruptFile, match="lost commits"):
        DatabaseByName.open(root, QUIET)
    assert any("lost commits" in f.what for f in verify(root).findings)
    repaired(root)
    same(root, model)


def test_a_catalog_that_lost_a_collection_does_not_pass_over_its_rows(sample):
    root, model = sample
    DatabaseByName.open(root, QUIET).close()
    before = (root / "catalog.sqlite").read_bytes()
    db = DatabaseByName.open(root, QUIET)
    for store in (db, model):
        store.create_collection("late", 8, 1, MetricType.L2)
        store.insert("late", np.ones((4, 8), np.float32), np.arange(4))
    shutil.copytree(root, root.with_name("killed"))
    db.close()
    root = root.with_name("killed")
    for path in root.glob("catalog.sqlite*"):
        path.unlink()
    (root / "catalog.sqlite").write_bytes(before)
    with pytest.raises(CorruptFile, match="lost commits"):
        DatabaseByName.open(root, QUIET)
    assert any("lost commits" in f.what for f in verify(root).findings)
    repaired(root)
    same(root, model)


def test_a_collection_of_which_only_a_damaged_definition_is_left(sample):
    root, model = sample
    for path in root.glob("catalog.sqlite*"):
        path.unlink()
    last = max((root / "definitions").iterdir())
    assert '"empty"' in last.read_text()
    flip(last, 30)
    model.drop_collection("empty")
    repaired(root)
    same(root, model)
    assert list((root / "set-aside").rglob(last.name))
