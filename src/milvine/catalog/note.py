"""The note in a data folder that says where its catalog is, when it is not in the folder:

DATA/CATALOG   {"catalog": "postgresql", "folder": "<32 hex digits>"}
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from milvine.errors import CorruptFile
from milvine.storage.durable import write_file

NOTE = "CATALOG"


def write_folder_id(root: Path, folder_id: str) -> None:
    """Note, durably, that the catalog of a folder is in PostgreSQL under this id."""
    write_file(root / NOTE, json.dumps({"catalog": "postgresql", "folder": folder_id}).encode())


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
