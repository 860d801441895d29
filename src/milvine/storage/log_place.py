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
LOG_NOTE = _MARK
"""The file of the data folder that says where a log is that lies elsewhere."""
LOG_OWNER = _OWNER
"""The file beside such a log that says whose it is."""
_NOT_FOR_LOGS = ("segments", "definitions", "set-aside")
"""Folders of the data folder in which files that do not belong there are removed, by Milvine or by its users."""


def log_folder(root: Path) -> Path:
    """Where the log of the database in `root` was when it was last open for writing. See `find_log`."""
    mark = _read(root / _MARK)
    return Path(mark["folder"]) if mark else root / _HOME


def find_log(root: Path, moved: Path | None = None) -> Path:
    """Where the log of the database in `root` is, for whoever only reads it: nothing is made or noted.

    `moved` is where to look when it is not where the data folder says, because both were moved or copied.

    Raises:
        StorageFailed: the log of this database is in neither place: not mounted, moved, or that of the original of
            which `root` is a copy.
    """
    mark = _read(root / _MARK)
    if mark is None:
        return root / _HOME
    noted = Path(mark["folder"])
    places = [noted, *([Path(os.path.abspath(moved))] if moved else [])]
    for folder in places:
        owner = _read(folder / _OWNER)
        if owner is None and _held(folder):
            return folder
        if owner is not None and owner["database"] == mark["database"] and not _original(root, folder, owner):
            return folder
    owner = _read(noted / _OWNER)
    whose = f"there it is that of {owner['folder']}" if owner else "it is not there"
    raise StorageFailed(
        f"The log of {root} was in {noted}, and {whose}. Is it mounted? If it was moved or copied together with the "
        f"data folder, name its folder with --log. To go on without it, remove {root / _MARK}: records that were "
        "acknowledged may be in it"
    )


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
    for name in _NOT_FOR_LOGS:
        if Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(root / name)):
            raise StorageFailed(f"wal.path says {folder}, where the database keeps other files. Set another folder")
    mark, before = _read(root / _MARK), log_folder(root)
    owner = _read(folder / _OWNER)
    ours = owner["database"] if owner and _same(Path(owner["folder"]), root) else str(uuid.uuid4())
    number = mark["database"] if mark else ours
    if _of_another(root, folder, owner, number):
        raise StorageFailed(f"{folder} holds the log of another database. Set wal.path to a folder of its own")
    if not _same(folder, before):
        _check_move(root, before, folder)
    elif not owner and not _held(folder):
        raise _missing(root, folder, f"nothing is there now, and {_MARK} in the data folder says it was in use")
    make_folder(folder, private=True)
    _note(root, folder, number)
    return folder


def note_log(root: Path, folder: Path) -> None:
    """Have both folders name each other, once `find_log` has found the log of `root` in `folder`."""
    mark = _read(root / _MARK)
    if mark:
        _note(root, folder, mark["database"])


def _note(root: Path, folder: Path, number: str) -> None:
    for path, named in ((folder / _OWNER, root), (root / _MARK, folder)):
        told = {"database": number, "folder": str(named)}
        if _read(path) != told:
            write_file(path, json.dumps(told).encode())


def _of_another(root: Path, folder: Path, owner: dict[str, Any] | None, number: str) -> bool:
    if folder.parent != root and (folder.parent / "FORMAT").exists():
        return True  # the `wal` of a data folder
    if owner is None or not _held(folder):
        return False
    return owner["database"] != number or _original(root, folder, owner)


def _original(root: Path, folder: Path, owner: dict[str, Any]) -> bool:
    """Whether the log in `folder` is in use by the data folder of which `root` is a copy, which names it as well."""
    original = Path(owner["folder"])
    if _same(original, root):
        return False
    mark = _read(original / _MARK)
    return mark is not None and _same(Path(mark["folder"]), folder)


def _check_move(root: Path, before: Path, folder: Path) -> None:
    """Records that are not in segments yet lie in the log: whoever moves it must take them along."""
    owner = _read(before / _OWNER)
    if _held(before) and not (owner and _original(root, before, owner)):
        first = f"clear {folder}, which holds files of another log, and then " if _held(folder) else ""
        raise StorageFailed(
            f"The log is in {before}, and wal.path says {folder}. With the server stopped, {first}"
            f"move {before / _LOG_FILES} to {folder}; or set wal.path to {before} again"
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
    if not isinstance(found, dict) or not all(isinstance(found.get(key), str) for key in ("database", "folder")):
        raise StorageFailed(f"{path} is damaged: it names no database and folder")
    return found
