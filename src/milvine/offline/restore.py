"""A backup becomes a data folder again; nothing of it is believed that its checksum does not
confirm.

Index files are loaded by code that trusts their content, so they are left behind and built anew,
unless whoever restores says that nobody else could have written to the backup: a checksum shows
decay, not malice.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from milvine.catalog.sql import Catalog
from milvine.errors import CorruptFile, StorageFailed
from milvine.limits import MIB
from milvine.offline.manifest import MANIFEST, BackedUp, Manifest, backups, read_manifest
from milvine.offline.verify import raise_damage, verify
from milvine.storage.checksum import crc32c
from milvine.storage.durable import make_folder, sync_folder
from milvine.storage.folder import DataFolder, write_format
from milvine.storage.local import LocalStorage

_STAGING = ".restoring"


def restore(source: Path, root: Path, indexes: bool = False) -> Manifest:
    """Make a data folder `root` from a backup: `source` is the backup, or a folder of backups, of
    which the newest.

    Args:
        indexes: take the index files over as well, instead of building them anew.

    Raises:
        StorageFailed: `root` is there and not empty, there is no backup, or the disk refuses.
        DataFolderLocked: another restore makes the same folder.
        CorruptFile: a file of the backup is damaged or missing; nothing is left in `root`.
    """
    manifest = _choose(source)
    staging = root.with_name(root.name + _STAGING)
    try:
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise StorageFailed(
                f"{root} is not empty; a backup is restored into a folder of its own"
            )
        make_folder(staging, private=True)
        folder = DataFolder(staging)
        # It keeps another restore out of this folder, and a server until all is there.
        folder.lock()
        try:
            _clear(staging)  # of a restore that did not end
            for file in manifest.files:
                if indexes or not file.name.startswith("segments/index-"):
                    _copy(Path(manifest.folder), file, staging)
            make_folder(folder.segments)
            make_folder(staging / "wal")
            _settle(staging, indexes)
            if root.exists():
                root.rmdir()
            if os.name == "nt":  # there no folder gets another name while a file in it is open
                folder.close()
            os.rename(staging, root)
            sync_folder(root.parent)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        finally:
            folder.close()
    except OSError as error:
        raise StorageFailed(f"Cannot restore {source} into {root}: {error}") from error
    return manifest


def _clear(staging: Path) -> None:
    for path in staging.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "LOCK":
            path.unlink()


def _choose(source: Path) -> Manifest:
    if (source / MANIFEST).exists():
        return read_manifest(source)
    found = backups(source)
    if not found:
        raise StorageFailed(f"{source} holds no whole backup")
    return found[-1]


def _copy(folder: Path, file: BackedUp, staging: Path) -> None:
    """Copy one file durably, and compare size and checksum on the way.

    Raises:
        CorruptFile: it is not what the manifest says.
    """
    path = folder / file.name
    target = LocalStorage.made((staging / file.name).parent)
    total = size = 0
    try:
        with open(path, "rb") as opened, target.create(path.name) as sink:
            while data := opened.read(4 * MIB):
                total, size = crc32c(data, start=total), size + len(data)
                sink.write(data)
    except FileNotFoundError:
        raise CorruptFile(
            f"{path} is missing, though the manifest of the backup names it"
        ) from None
    if (total, size) != (file.crc32c, file.bytes):
        raise CorruptFile(f"{path} is damaged: it is not what the manifest of the backup says")


def _settle(staging: Path, indexes: bool) -> None:
    """Take the indexes out, write the definitions, and look at everything once.

    A backup of before is of this format then, as it would be if a server had opened it.
    """
    write_format(staging)
    catalog = Catalog(staging / "catalog.sqlite")
    try:
        if not indexes:
            catalog.drop_indexes()
        catalog.define()
    finally:
        catalog.close()
    raise_damage(verify(staging, open_indexes=indexes, running=False))
