"""What the harness itself does must not look like a fault when it is killed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.testing.crash import workload
from milvine.testing.place import backups_of


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("what", ["one backup", "all of them"])
def test_a_kill_while_backups_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Once it was: a backup half removed, with its manifest, was taken for one that had lost a log
    file.
    """
    folder = tmp_path / "db"
    place = backups_of(folder)
    with Database.open(folder, Settings()) as db:
        for number in ("1", "2"):
            (place / number).mkdir(parents=True)
            db.backup(place / number)

    def begin(path: Path, ignore_errors: bool = False) -> None:
        if not path.exists():
            return
        next(path.rglob("*.wal")).unlink()
        raise _Killed

    with monkeypatch.context() as patched, pytest.raises(_Killed):
        patched.setattr(shutil, "rmtree", begin)
        workload.discard(place / "1" if what == "one backup" else place)
    workload.settle_backups(folder)
    assert not place.exists()
    assert not list(tmp_path.glob("*.going"))


def test_a_damaged_backup_is_a_failure_all_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "db"
    place = backups_of(folder) / "1"
    place.mkdir(parents=True)
    with Database.open(folder, Settings()) as db:
        db.backup(place)
    next(place.rglob("*.wal")).unlink()
    with pytest.raises(Exception, match="is missing, though the manifest"):
        workload.settle_backups(folder)
