"""Where the log of a database lies: in the data folder, or where `wal.path` says. A move can never lose it.

A log that lies elsewhere is named in the data folder (LOG_FOLDER), and names its database there (DATABASE). So a folder
that is not mounted, that belongs to another database, or that leaves records behind is told from the right one.
"""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any

from milvine.errors import StorageFailed
from milvine.storage.durable import make_folder, refusal, sync_folder, write_file

_HOME, _MARK, _OWNER = "wal", "LOG_FOLDER", "DATABASE"
_LOG_FILES = "*.wal"


def log_folder(root: Path) -> Path:
    """Where the log of the database in `root` was when it was last open for writing."""
    mark = _read(root / _MARK)
    return Path(mark["folder"]) if mark else root / _HOME


def place_log(root: Path, wanted: str) -> Path:
    """The folder for the log, made if need be; `wanted` is `wal.path`, empty for the one in the data folder.

    Raises:
        StorageFailed: records lie in the folder used so far, or the folder is empty though it was in use, or belongs to
            another database, or cannot be made.
    """
    home = root / _HOME
    folder = Path(os.path.abspath(wanted)) if wanted else home
    try:
        return _home(root, home) if _same(folder, home) else _elsewhere(root, folder)
    except OSError as error:
        raise StorageFailed(f"Cannot use {folder} for the log: {error.strerror or error}") from error


def _home(root: Path, home: Path) -> Path:
    if _read(root / _MARK):
        _check_move(root, log_folder(root), home)
        (root / _MARK).unlink()
        sync_folder(root)
    make_folder(home)
    return home


def _elsewhere(root: Path, folder: Path) -> Path:
    mark, before = _read(root / _MARK), log_folder(root)
    number = mark["database"] if mark else str(uuid.uuid4())
    owner = _read(folder / _OWNER)
    if _of_another(root, folder, owner, number):
        raise StorageFailed(f"{folder} holds the log of another database. Set wal.path to a folder of its own")
    if not _same(folder, before):
        _check_move(root, before, folder)
    elif not owner and not _held(folder):
        raise _missing(root, folder, f"nothing is there now, and {_MARK} in the data folder says it was in use")
    make_folder(folder, private=True)
    told = {"database": number, "folder": str(root)}
    if owner != told:
        write_file(folder / _OWNER, json.dumps(told).encode())
    if not mark or not _same(folder, before):
        write_file(root / _MARK, json.dumps({"database": number, "folder": str(folder)}).encode())
    return folder


def _of_another(root: Path, folder: Path, owner: dict[str, Any] | None, number: str) -> bool:
    if folder.parent != root and (folder.parent / "FORMAT").exists():
        return True  # the `wal` of a data folder
    if owner is None or not _held(folder):
        return False
    original = Path(owner["folder"])  # a copy of the data folder names the log of its original
    return owner["database"] != number or (original != root and (original / _MARK).exists())


def _check_move(root: Path, before: Path, folder: Path) -> None:
    """Records that are not in segments yet lie in the log: whoever moves it must take them along."""
    if _held(before):
        raise StorageFailed(
            f"The log is in {before}, and wal.path says {folder}. With the server stopped, move {before / _LOG_FILES} "
            f"to {folder}; or set wal.path to {before} again"
        )
    used = before.is_dir() or before != root / _HOME
    if used and not _held(folder):
        raise _missing(root, before, f"there are no {_LOG_FILES} in it, and none in {folder} either")


def _missing(root: Path, folder: Path, what: str) -> StorageFailed:
    sign = folder if folder == root / _HOME else root / _MARK
    return StorageFailed(
        f"The log of {root} was in {folder}: {what}. Is it mounted? Records that were acknowledged may be in it. To go "
        f"on without them, remove {sign}"
    )


def _held(folder: Path) -> bool:
    return any(folder.glob(_LOG_FILES))


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise refusal(f"read {path}", error) from error
    except ValueError as error:
        raise StorageFailed(f"{path} is damaged: {error}") from None
    return found
