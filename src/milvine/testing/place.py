"""Where things lie. A harness gives each database a folder of its own, which stands for a disk:

FOLDER/data       the data folder
FOLDER/logs/      only where the log lies elsewhere (`wal.path`), in a folder in it
FOLDER.journal    what was meant to be done and what was acknowledged; not on that disk
FOLDER.backups    backups under way
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from milvine.config import Settings
from milvine.storage.log_notes import LOG_NOTE, LOG_OWNER, Note, look_at_note, write_note


def make_place(folder: Path, log: str) -> None:
    """An empty disk; `log`: `home` or `elsewhere`."""
    folder.mkdir(parents=True)
    if log == "elsewhere":
        _logs(folder).mkdir()


def remove_place(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    journal_of(folder).unlink(missing_ok=True)


def data_of(folder: Path) -> Path:
    return folder / "data"


def _logs(folder: Path) -> Path:
    return folder / "logs"


def has_log_elsewhere(folder: Path) -> bool:
    return _logs(folder).exists()


def settings_in(folder: Path, settings: Settings) -> Settings:
    """`settings` with the place of the log in them."""
    return (
        replace(settings, wal_path=str(_logs(folder) / "db"))
        if has_log_elsewhere(folder)
        else settings
    )


def readdress(folder: Path, before: Path, now: Path) -> None:
    """Have a copy of the disk `before` say that it is `now`: it holds paths of itself."""
    for name in (LOG_NOTE, LOG_OWNER):
        for path in folder.rglob(name):
            note, _ = look_at_note(path)
            if note:
                write_note(path, Note(note.database, note.folder.replace(f"{before}/", f"{now}/")))


def backups_of(folder: Path) -> Path:
    return folder.with_name(folder.name + ".backups")


def journal_of(folder: Path) -> Path:
    return folder.with_name(folder.name + ".journal")
