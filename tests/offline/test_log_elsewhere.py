"""Every tool that reads a data folder without a server, wherever `wal.path` has put its log."""

from __future__ import annotations

import json
import os
import shutil
from copy import deepcopy

import numpy as np
import pytest
from typer.testing import CliRunner

from milvine.cli import app
from milvine.errors import CorruptFile, StorageFailed
from milvine.offline.backup import backup
from milvine.offline.repair import repair
from milvine.offline.restore import restore
from milvine.offline.verify import verify
from milvine.testing.by_name import DatabaseByName
from milvine.testing.offline import copy_database, differences, make_sample, quiet
from milvine.types import MetricType
from milvine.wal.log import log_files

PLACES = {"home": None, "outside": "log", "inside": "db/journal"}


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A killed database with its log outside the data folder, and the model of what is in it."""
    base = tmp_path_factory.mktemp("elsewhere")
    return base, make_sample(base / "db", log=base / "log")


class Placed:
    """A copy of it: its folder, its log, the model, and settings that open it."""

    def __init__(self, made, base, place):
        source, model = made
        self.root, self.model = base / "db", deepcopy(model)
        self.log = base / PLACES[place] if PLACES[place] else base / "db" / "wal"
        copy_database(source / "db", self.root, source / "log", self.log)
        self.settings = quiet(self.log if PLACES[place] else None)
        if not PLACES[place]:
            (self.root / "LOG_FOLDER").unlink()

    def same(self, lost=0):
        for _ in range(2):
            with DatabaseByName.open(self.root, self.settings) as db:
                assert differences(db, self.model, lost) == []
        assert verify(self.root).clean


@pytest.fixture(params=list(PLACES))
def placed(request, made, tmp_path):
    return Placed(made, tmp_path, request.param)


@pytest.fixture
def outside(made, tmp_path):
    return Placed(made, tmp_path, "outside")


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)


def test_verify_finds_the_log_and_nothing_strange(placed):
    report = verify(placed.root)
    assert report.clean and report.log_records
    assert not [str(f) for f in report.findings if "knows no such file" in f.what]
    assert repair(placed.root).steps == []
    placed.same()


def test_a_backup_has_what_only_the_log_has(placed, tmp_path):
    with_server = tmp_path / "with_server"
    made = backup(placed.root, tmp_path / "kept")
    with DatabaseByName.open(placed.root, placed.settings) as db:
        db.collection("fresh").insert(np.ones((3, 8), np.float32), np.arange(900, 903))
        db.collection("fresh").delete(np.array([901]))
        db.backup(with_server)
        db.backup(tmp_path / "by_reader")
    with DatabaseByName.open(placed.root, placed.settings, read_only=True) as reader:
        reader.backup(tmp_path / "by_reader")
    assert made.log_records
    restore(tmp_path / "kept", tmp_path / "again")
    with DatabaseByName.open(tmp_path / "again", quiet(None)) as db:
        assert differences(db, placed.model) == []
    for source in (with_server, tmp_path / "by_reader"):
        shutil.rmtree(tmp_path / "again")
        restore(source, tmp_path / "again")
        with DatabaseByName.open(tmp_path / "again", quiet(None)) as db:
            assert db.collection("fresh").get(np.arange(900, 903))[0].tolist() == [
                True,
                False,
                True,
            ]


def test_damage_in_the_log_is_named_and_repaired(placed):
    (log,) = log_files(placed.log)
    at = log.stat().st_size * 9 // 10
    flip(log, at)
    (finding,) = [f for f in verify(placed.root).findings if f.damage]
    assert finding.file.endswith(log.name) and finding.offset <= at
    with pytest.raises(CorruptFile, match=log.name):
        DatabaseByName.open(placed.root, placed.settings)
    with pytest.raises(CorruptFile, match="had been acknowledged"):
        backup(placed.root, placed.root.with_name("kept"))
    assert list(placed.root.with_name("kept").iterdir()) == []
    done = repair(placed.root, skip_log_damage=True, dry_run=False)
    assert done.set_aside and not log.exists() and list((placed.root / "set-aside").rglob(log.name))
    shown = log.relative_to(placed.root) if log.is_relative_to(placed.root) else log
    assert f"set aside {shown}" in done.steps  # where it was, and not where it would be
    placed.same(lost=1000)


def test_a_lost_catalog_is_rebuilt_with_the_log(placed):
    for path in placed.root.glob("catalog.sqlite*"):
        path.unlink()
    assert repair(placed.root, dry_run=False).lost_rows == 0
    placed.same()


def test_lost_commits_are_noticed(placed):
    DatabaseByName.open(placed.root, placed.settings).close()
    before = (placed.root / "catalog.sqlite").read_bytes()
    with DatabaseByName.open(placed.root, placed.settings) as db:
        for store in (db, placed.model):
            store.insert("fresh", np.ones((4, 8), np.float32), np.arange(200, 204))
            store.delete("fresh", np.array([201]))
    DatabaseByName.open(placed.root, placed.settings).close()  # the log is trimmed
    (placed.root / "catalog.sqlite").write_bytes(before)
    assert any("lost commits" in f.what for f in verify(placed.root).findings)
    assert repair(placed.root, dry_run=False).lost_rows == 0
    placed.same()


@pytest.mark.parametrize("definitions", [True, False], ids=["defined", "undefined"])
@pytest.mark.parametrize("what", ["collection", "partition"])
def test_lost_definitions_are_noticed(placed, what, definitions):
    DatabaseByName.open(placed.root, placed.settings).close()
    before = (placed.root / "catalog.sqlite").read_bytes()
    old = {path.name: path.read_bytes() for path in (placed.root / "definitions").iterdir()}
    db = DatabaseByName.open(placed.root, placed.settings)
    for store in (db, placed.model):
        if what == "collection":
            store.create_collection("late", 8, 1, db.collection("fresh").definition.metric)
        else:
            store.create_partition("fresh", "late")
        name, tag = ("late", "") if what == "collection" else ("fresh", "late")
        store.insert(name, np.ones((4, 8), np.float32), np.arange(4), tag)
    killed = placed.root.with_name("killed")
    killed_log = killed.with_name("killed_log") if placed.settings.wal_path else None
    copy_database(placed.root, killed, placed.log if killed_log else None, killed_log)
    db.close()
    for path in killed.glob("catalog.sqlite*"):
        path.unlink()
    (killed / "catalog.sqlite").write_bytes(before)
    if not definitions:
        shutil.rmtree(killed / "definitions")
        (killed / "definitions").mkdir()
        for name, data in old.items():
            (killed / "definitions" / name).write_bytes(data)
    with pytest.raises(CorruptFile, match="lost commits"):
        DatabaseByName.open(killed, quiet(killed_log))
    assert any("lost commits" in f.what for f in verify(killed).findings)
    done = repair(killed, dry_run=False)
    assert verify(killed).clean
    if definitions:
        placed.root, placed.settings = killed, quiet(killed_log)
        placed.same()
    else:
        assert done.lost_records == 1 and any("defined nowhere" in step for step in done.steps)
        DatabaseByName.open(killed, quiet(killed_log)).close()


REPLACE = os.replace


def power_cut(*args, **relative):
    """Instead of a step of repair's own; what replaces files relative to a folder held open is
    storage.
    """
    if not relative:
        raise StorageFailed("power cut")
    REPLACE(*args, **relative)


def test_a_repair_that_is_cut_short_anywhere(placed, monkeypatch):
    (log,) = log_files(placed.log)
    flip(log, log.stat().st_size * 9 // 10)

    places = (
        "milvine.offline.repair.give_second_names",
        "milvine.offline.repair.swap_catalog",
        "milvine.offline.aside.os.replace",
        "milvine.offline.repair.remove_first_names",
    )
    for place in places:
        with monkeypatch.context() as patched:
            patched.setattr(place, power_cut)
            with pytest.raises(StorageFailed, match="power cut"):
                repair(placed.root, skip_log_damage=True, dry_run=False)
    repair(placed.root, skip_log_damage=True, dry_run=False)
    placed.same(lost=1000)


def test_a_repair_that_is_cut_short_forgets_no_commit(placed, monkeypatch):
    """What the `-wal` of a sound catalog holds outlives a power cut just before the new one takes
    its place.
    """
    before = [f for f in verify(placed.root).findings if f.damage]
    assert before == [] and (placed.root / "catalog.sqlite-wal").stat().st_size
    rows = verify(placed.root).rows
    (log,) = log_files(placed.log)
    flip(log, log.stat().st_size * 9 // 10)

    with monkeypatch.context() as patched:
        patched.setattr("milvine.offline.aside.os.replace", power_cut)
        with pytest.raises(StorageFailed, match="power cut"):
            repair(placed.root, skip_log_damage=True, dry_run=False)
    for left in placed.root.glob("catalog.repaired*"):
        left.unlink()
    assert verify(placed.root).rows == rows


def test_a_log_that_is_not_there_is_told(outside):
    outside.log.rename(outside.log.with_name("away"))
    (finding,) = [f for f in verify(outside.root).findings if f.damage]
    assert finding.file == "LOG_FOLDER" and "Is it mounted?" in finding.what
    for tool in (repair, lambda root: backup(root, root.with_name("kept"))):
        with pytest.raises(StorageFailed, match=r"Is it mounted\?"):
            tool(outside.root)
    assert not outside.root.with_name("kept").exists()


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_a_database_that_was_moved_together_with_its_log(outside, tmp_path, how, monkeypatch):
    new, root, log = tmp_path / "new", tmp_path / "new" / "db", tmp_path / "new" / "log"
    new.mkdir()
    act = shutil.move if how == "moved" else shutil.copytree
    act(outside.root, root)
    act(outside.log, log)
    monkeypatch.delenv("MILVINE_CONFIG", raising=False)
    told = CliRunner().invoke(app, ["verify", str(root)])
    assert told.exit_code == 1 and "name its folder with --log" in told.output
    assert CliRunner().invoke(app, ["verify", str(root), "--log", str(log)]).exit_code == 0
    monkeypatch.setenv("MILVINE_WAL_PATH", str(log))
    assert CliRunner().invoke(app, ["verify", str(root)]).exit_code == 0
    kept = CliRunner().invoke(app, ["backup", str(root), str(tmp_path / "kept"), "--json"])
    assert json.loads(kept.output)["log_records"]
    (file,) = log_files(log)
    flip(file, file.stat().st_size * 9 // 10)
    done = CliRunner().invoke(app, ["repair", str(root), "--yes", "--skip-log-damage"])
    assert done.exit_code == 0, done.output
    assert how == "moved" or verify(outside.root).clean  # the original was left alone
    outside.root, outside.settings = root, quiet(log)
    outside.same(lost=1000)


def test_a_folder_of_before_has_no_note(made, tmp_path):
    placed = Placed(made, tmp_path, "home")
    assert not (placed.root / "LOG_FOLDER").exists() and verify(placed.root).log_records
    placed.same()


@pytest.mark.parametrize("note", ["LOG_FOLDER", "DATABASE"])
def test_a_flip_in_a_note_is_named_and_repaired_from_the_other(outside, note):
    path = (outside.root if note == "LOG_FOLDER" else outside.log) / note
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        flip(path, at)
        named = [f for f in verify(outside.root, log=outside.log).findings if f.damage]
        assert all(
            finding.file.endswith(note) and "is damaged" in finding.what for finding in named
        )
        if named and at % 5 == 0:
            with pytest.raises(StorageFailed, match=f"{note} is damaged"):
                DatabaseByName.open(outside.root, outside.settings)
            repair(outside.root, dry_run=False, log=outside.log)
            assert path.read_bytes() == whole
        path.write_bytes(whole)
    outside.same()


def test_a_damaged_note_is_not_taken_from_a_stranger(outside, tmp_path):
    """The log of another database does not become this one's."""
    with DatabaseByName.open(tmp_path / "other", quiet(tmp_path / "others")) as db:
        db.create_collection("c", 2, 1, MetricType.L2)
    flip(outside.root / "LOG_FOLDER", 20)
    with pytest.raises(StorageFailed, match=r"LOG_FOLDER is damaged.* --log"):
        repair(outside.root, dry_run=False)
    with pytest.raises(StorageFailed, match="LOG_FOLDER is damaged"):
        repair(outside.root, dry_run=False, log=tmp_path / "others")


def test_notes_without_a_checksum_are_those_of_before(outside):
    for path in (outside.root / "LOG_FOLDER", outside.log / "DATABASE"):
        told = json.loads(path.read_bytes())
        del told["sum"]
        path.write_text(json.dumps(told))
    assert verify(outside.root).clean
    outside.same()
