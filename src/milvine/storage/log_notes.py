"""The two notes by which a data folder and a log that lies elsewhere name each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from milvine.errors import StorageFailed
from milvine.storage.checksum import crc32c
from milvine.storage.durable import refusal, write_file

LOG_NOTE = "LOG_FOLDER"
"""The file of the data folder that says where a log is that lies elsewhere."""
LOG_OWNER = "DATABASE"
"""The file beside such a log that says whose it is."""


class Note(NamedTuple):
    """The number of the database, the same in both notes, and the folder of the other."""

    database: str
    folder: str


def read_note(path: Path) -> Note | None:
    """None where there is none.

    Raises:
        StorageFailed: it is damaged, or cannot be read.
    """
    note, damage = look_at_note(path)
    if damage:
        raise StorageFailed(damage)
    return note


def look_at_note(path: Path) -> tuple[Note | None, str]:
    """A note, and what is wrong with it, if anything: there is no note then.

    Raises:
        StorageFailed: it cannot be read.
    """
    try:
        found = json.loads(path.read_bytes())
        note = Note(found["database"], found["folder"])
        if not all(isinstance(part, str) for part in note):
            raise TypeError
        if found.get("sum", _sum(note)) != _sum(note):  # notes of before have none
            return None, f"{path} is damaged: its checksum is not that of what it says"
    except FileNotFoundError:
        return None, ""
    except OSError as error:
        raise refusal(f"read {path}", error) from error
    except (KeyError, TypeError, AttributeError):
        return None, f"{path} is damaged: it names no database and folder"
    except ValueError as error:
        return None, f"{path} is damaged: {error}"
    return note, ""


def write_note(path: Path, note: Note) -> None:
    """Durable, where it does not say so already."""
    if look_at_note(path)[0] != note:
        write_file(path, json.dumps(note._asdict() | {"sum": _sum(note)}).encode())


def _sum(note: Note) -> int:
    return crc32c("\n".join(note).encode("utf-8", "surrogatepass"))
