"""Where the catalog of a data folder is: SQLite in it, or PostgreSQL, and then the folder says
which is its own.

    DATA/CATALOG   {"catalog": "postgresql", "folder": "<32 hex digits>"}

The database has a schema of the same name, so neither another database nor an empty one is taken
for the catalog.
"""

from __future__ import annotations

import json
import re
from importlib import import_module
from pathlib import Path

from milvine.catalog.sql import DEFINITIONS, Catalog
from milvine.errors import CatalogFailed, CorruptFile, StorageFailed
from milvine.events import Events
from milvine.storage.durable import write_file

IN_FOLDER = "sqlite://:@:/"
"""The `general.meta_uri` of a catalog in the data folder."""
NOTE = "CATALOG"


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
        write_file(root / NOTE, json.dumps({"catalog": "postgresql", "folder": noted}).encode())
    catalog: Catalog = postgres.PostgresCatalog(path, uri, noted, read_only, events)
    return catalog


def folder_id(root: Path) -> str:
    """What names the catalog of a folder in PostgreSQL; empty where it is in the folder.

    Raises:
        CorruptFile: the note says neither.
    """
    path = root / NOTE
    try:
        noted = json.loads(path.read_bytes())["folder"]
    except FileNotFoundError:
        return ""
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptFile.at(str(path), 0, f"it names no catalog in PostgreSQL ({error})") from None
    if not isinstance(noted, str) or not re.fullmatch("[0-9a-f]{32}", noted):
        raise CorruptFile.at(str(path), 0, "it names no catalog in PostgreSQL")
    return noted


def _used(root: Path) -> bool:
    found = (
        root / "catalog.sqlite",
        *(root / "segments").glob("rows-*"),
        *(root / DEFINITIONS).glob("collection-*"),
    )
    return any(path.exists() for path in found)
