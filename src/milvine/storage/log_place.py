"""Where the log of a database lies: in the data folder, or where `wal.path` says. A move can never
lose it.

A log that lies elsewhere is named in the data folder (LOG_FOLDER), and names its database there
(DATABASE). So a folder that is not mounted, that belongs to another database, or that leaves
records behind is told from the right one.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from milvine.errors import StorageFailed
from milvine.storage.durable import make_folder, sync_folder
from milvine.storage.log_notes import LOG_NOTE, LOG_OWNER, Note, look_at_note, read_note, write_note

_HOME = "wal"
_LOG_FILES = "*.wal"
_NOT_FOR_LOGS = ("segments", "definitions", "set-aside")
"""Folders of the data folder in which files that do not belong there are removed, by Milvine or by
its users.
"""


def log_folder(root: Path) -> Path:
    """Where the log of the database in `root` was when it was last open for writing. See
    `find_log`.
    """
    mark = read_note(root / LOG_NOTE)
    return Path(mark.folder) if mark else root / _HOME


def find_log(root: Path, moved: Path | None = None) -> Path:
    """Where the log of the database in `root` is, for whoever only reads it: nothing is made or
    noted.

    `moved` is where to look when it is not where the data folder says, because both were moved or
    copied.

    Raises:
        StorageFailed: the log of this database is in neither place: not mounted, moved, or that of
            the original of
            which `root` is a copy.
    """
    mark, damage = look_at_note(root / LOG_NOTE)
    if damage:
        if moved and _names(moved, root):
            return Path(os.path.abspath(moved))
        raise StorageFailed(
            f"{damage}. Name the folder of the log with --log; `milvine repair` writes the note"
            " anew"
        )
    if mark is None:
        return root / _HOME
    noted = Path(mark.folder)
    for folder in [noted, *([Path(os.path.abspath(moved))] if moved else [])]:
        owner, _ = look_at_note(folder / LOG_OWNER)
        if owner is None and _held(folder):
            return folder
        if (
            owner is not None
            and owner.database == mark.database
            and not _original(root, folder, owner)
        ):
            return folder
    owner = read_note(noted / LOG_OWNER)
    whose = f"there it is that of {owner.folder}" if owner else "it is not there"
    raise StorageFailed(
        f"The log of {root} was in {noted}, and {whose}. Is it mounted? If it was moved or copied"
        " together with the data folder, name its folder with --log. To go on without it, remove"
        f" {root / LOG_NOTE}: records that were acknowledged may be in it"
    )


def _names(folder: Path, root: Path) -> bool:
    """Whether the log in `folder` says that it is that of `root`."""
    owner, _ = look_at_note(folder / LOG_OWNER)
    return owner is not None and _same(Path(owner.folder), root)


def damaged_notes(root: Path, folder: Path) -> dict[str, str]:
    """What is wrong with the notes of `root` and its log in `folder`, by file.

    Files are relative to `root` if they lie in it.
    """
    paths = [root / LOG_NOTE, *([folder / LOG_OWNER] if folder != root / _HOME else [])]
    found = {}
    for path in paths:
        _, damage = look_at_note(path)
        if damage:
            found[str(path.relative_to(root) if path.is_relative_to(root) else path)] = damage
    return found


def place_log(root: Path, wanted: str) -> Path:
    """The folder for the log, made if need be; `wanted` is `wal.path`, empty for the one in the
    data folder.

    Raises:
        StorageFailed: records lie in the folder used so far, or the folder is empty though it was
            in use, or belongs to
            another database, or cannot be made.
    """
    home = root / _HOME
    folder = Path(os.path.abspath(wanted)) if wanted else home
    try:
        return _home(root, home) if _same(folder, home) else _elsewhere(root, folder)
    except OSError as error:
        raise StorageFailed(
            f"Cannot use {folder} for the log: {error.strerror or error}"
        ) from error


def _home(root: Path, home: Path) -> Path:
    if read_note(root / LOG_NOTE):
        _check_move(root, log_folder(root), home)
        (root / LOG_NOTE).unlink()
        sync_folder(root)
    make_folder(home)
    return home


def _elsewhere(root: Path, folder: Path) -> Path:
    for name in _NOT_FOR_LOGS:
        if Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(root / name)):
            raise StorageFailed(
                f"wal.path says {folder}, where the database keeps other files. Set another folder"
            )
    mark, before = read_note(root / LOG_NOTE), log_folder(root)
    owner = read_note(folder / LOG_OWNER)
    ours = owner.database if owner and _same(Path(owner.folder), root) else str(uuid.uuid4())
    number = mark.database if mark else ours
    if _of_another(root, folder, owner, number):
        raise StorageFailed(
            f"{folder} holds the log of another database. Set wal.path to a folder of its own"
        )
    if not _same(folder, before):
        _check_move(root, before, folder)
    elif not owner and not _held(folder):
        raise _missing(
            root,
            folder,
            f"nothing is there now, and {LOG_NOTE} in the data folder says it was in use",
        )
    make_folder(folder, private=True)
    _note(root, folder, number)
    return folder


def note_log(root: Path, folder: Path) -> None:
    """Have both name each other, once `find_log` has found the log of `root` in `folder`."""
    if (root / LOG_NOTE).exists():
        mark, _ = look_at_note(root / LOG_NOTE)
        owner = mark or look_at_note(folder / LOG_OWNER)[0]
        _note(root, folder, owner.database if owner else str(uuid.uuid4()))


def _note(root: Path, folder: Path, number: str) -> None:
    write_note(folder / LOG_OWNER, Note(number, str(root)))
    write_note(root / LOG_NOTE, Note(number, str(folder)))


def _of_another(root: Path, folder: Path, owner: Note | None, number: str) -> bool:
    if folder.parent != root and (folder.parent / "FORMAT").exists():
        return True  # the `wal` of a data folder
    if owner is None or not _held(folder):
        return False
    return owner.database != number or _original(root, folder, owner)


def _original(root: Path, folder: Path, owner: Note) -> bool:
    """Whether the log in `folder` is in use by the data folder of which `root` is a copy, which
    names it as well.
    """
    original = Path(owner.folder)
    if _same(original, root):
        return False
    mark = read_note(original / LOG_NOTE)
    return mark is not None and _same(Path(mark.folder), folder)


def _check_move(root: Path, before: Path, folder: Path) -> None:
    """Records that are not in segments yet lie in the log: whoever moves it must take them
    along.
    """
    owner = read_note(before / LOG_OWNER)
    if _held(before) and not (owner and _original(root, before, owner)):
        first = (
            f"clear {folder}, which holds files of another log, and then " if _held(folder) else ""
        )
        said = f"is not set, which means {folder}" if folder == root / _HOME else f"says {folder}"
        raise StorageFailed(
            f"The log is in {before}, and wal.path {said}. With the server stopped, {first}"
            f"move {before / _LOG_FILES} to {folder}; or set wal.path to {before} again"
        )
    used = before.is_dir() or before != root / _HOME
    if used and not _held(folder):
        raise _missing(
            root, before, f"there are no {_LOG_FILES} in it, and none in {folder} either"
        )


def _missing(root: Path, folder: Path, what: str) -> StorageFailed:
    sign = folder if folder == root / _HOME else root / LOG_NOTE
    return StorageFailed(
        f"The log of {root} was in {folder}: {what}. Is it mounted? Records that were acknowledged"
        f" may be in it. To go on without them, remove {sign}"
    )


def _held(folder: Path) -> bool:
    return any(folder.glob(_LOG_FILES))


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)
