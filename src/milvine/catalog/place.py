"""Where the catalog of a data folder is: SQLite in it, or PostgreSQL, and then a note in the folder
says which is its own.

The database has a schema of the same name, so neither another database nor an empty one is taken
for the catalog.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from milvine.catalog.note import NOTE, folder_id, write_folder_id
from milvine.catalog.sql import DEFINITIONS, Catalog
from milvine.errors import CatalogFailed, StorageFailed
from milvine.events import Events
from milvine.storage.folder import segments_folder

IN_FOLDER = "sqlite://:@:/"
"""The `general.meta_uri` of a catalog in the data folder."""


def in_folder(root: Path, uri: str) -> bool:
    """Whether the catalog is SQLite in the folder, as both `uri` and the folder have it.

    Raises:
        CatalogFailed: they differ.
        CorruptFile: what the folder says cannot be read.
    """
    noted = folder_id(root)
    if uri == IN_FOLDER and noted:
        raise CatalogFailed(
            f"{root} has its catalog in PostgreSQL. Set general.meta_uri to the database it is in"
        )
    if uri != IN_FOLDER and not noted and _used(root):
        raise CatalogFailed(
            f"{root} is in use with a catalog of its own: {NOTE}, which would name one in"
            f" PostgreSQL, is not there. Set general.meta_uri to {IN_FOLDER}, or take an empty"
            " folder"
        )
    return uri == IN_FOLDER


def open_catalog(
    path: Path, uri: str, read_only: bool = False, events: Events | None = None
) -> Catalog:
    """Open the catalog of the folder in which `path` is or would be the SQLite file.

    Raises:
        CatalogFailed: the database cannot be reached, or is not the one this folder belongs to.
        DataFolderLocked: a server elsewhere has it open.
        StorageFailed: there is none, and `read_only` makes none.
    """
    root = path.parent
    if in_folder(root, uri):
        return Catalog(path, read_only, events)
    noted = folder_id(root)
    if read_only and not noted:
        raise StorageFailed(f"{root} holds no Milvine database")
    postgres = import_module("milvine.catalog.postgres")
    if not noted:
        noted = str(postgres.create(uri))
        write_folder_id(root, noted)
    catalog: Catalog = postgres.PostgresCatalog(path, uri, noted, read_only, events)
    return catalog


def _used(root: Path) -> bool:
    found = (
        root / "catalog.sqlite",
        *segments_folder(root).glob("rows-*"),
        *(root / DEFINITIONS).glob("collection-*"),
    )
    return any(path.exists() for path in found)
