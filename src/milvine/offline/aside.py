"""How a repair changes files: what goes gets a second name first, and the catalog is swapped in one
step.

Files are named as they are in a data folder: those of the log `wal/...`, wherever it is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from milvine.catalog.model import Contents
from milvine.catalog.sql import DEFINITIONS, Catalog
from milvine.catalog.sqlite import checkpoint
from milvine.storage.durable import copy_file, make_folder, sync_folder
from milvine.storage.folder import DataFolder
from milvine.wal.log import Log, LogFile
from milvine.wal.record import FILE_HEADER

SET_ASIDE = "set-aside"
NEW_CATALOG = "catalog.repaired"
_LOG = "wal/"


def path_of(folder: DataFolder, name: str) -> Path:
    """Where a file is: those of the log may lie elsewhere."""
    return folder.wal / name.removeprefix(_LOG) if name.startswith(_LOG) else folder.root / name


def give_second_names(folder: DataFolder, names: Sequence[str]) -> Path:
    """Have every file under a new folder in `set-aside` as well, durably; returns that folder."""
    aside = folder.root / SET_ASIDE / time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    while aside.exists():
        aside = aside.with_name(aside.name + "x")
    for name in names:
        make_folder((aside / name).parent)
        if name.startswith("catalog"):  # it may be written to under its first name
            copy_file(path_of(folder, name), aside / name)
        else:
            _link_or_copy(path_of(folder, name), aside / name)
    for path in {(aside / name).parent for name in names}:
        sync_folder(path)
    return aside


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # no second names here, or the log is on another disk
        copy_file(source, target)


def swap_catalog(
    folder: DataFolder, contents: Contents, last_ids: tuple[int, int], sound: bool
) -> None:
    """Put a new catalog with `contents` in the place of the old one, which is
    `sound` or not to be believed.

    `last_ids`: of collections and partitions, those that will not be given again. A stop
    at any moment leaves the old catalog with all its commits if it is sound, else
    perhaps none, or the new one.
    """
    path, new = folder.catalog, folder.root / NEW_CATALOG
    for old in folder.root.glob(NEW_CATALOG + "*"):
        old.unlink()
    catalog = Catalog(new)
    try:
        catalog.fill(contents, *last_ids)
    finally:
        catalog.close()
    if sound:
        checkpoint(path)
    else:
        path.unlink(missing_ok=True)  # without its -wal it may look like one that is whole
        sync_folder(folder.root)
    for suffix in ("-wal", "-shm", "-journal"):  # they belong to the old one
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    os.replace(new, path)
    sync_folder(folder.root)


def begin_log(folder: DataFolder, going: Sequence[str], last_lsn: int) -> None:
    """An empty log after the one that is among `going`, so that the next start
    does not take it for lost."""
    old = sorted(path_of(folder, name) for name in going if name.startswith(_LOG))
    files = [LogFile(int(path.stem), 0, path) for path in old if path.stem.isdecimal()]
    if files:
        Log(folder.wal, files, last_lsn, FILE_HEADER.size, sync=True).close()


def remove_first_names(folder: DataFolder, names: Sequence[str]) -> None:
    """The last step: what has a second name goes, but what was replaced under its first by now."""
    for name in names:
        if name not in ("catalog.sqlite", "FORMAT") and not name.startswith(DEFINITIONS):
            path_of(folder, name).unlink(missing_ok=True)
    for path in {folder.segments, folder.wal, folder.root}:
        if path.is_dir():
            sync_folder(path)
