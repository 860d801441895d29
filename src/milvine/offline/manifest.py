"""What a backup holds: MANIFEST.json, written last, with a checksum of every file and one of its
own.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from milvine.errors import CorruptFile, StorageFailed, UnsupportedFormat
from milvine.limits import MIB
from milvine.storage.checksum import crc32c
from milvine.storage.durable import write_file

MANIFEST = "MANIFEST.json"
PARTIAL = ".partial"
_FORMAT = 1
_FILE = re.compile(r"FORMAT|catalog\.sqlite|wal/\d{16}\.wal|segments/(rows|index|dead)-\d+\.mlv")


@dataclass(frozen=True, slots=True)
class BackedUp:
    """One file. `mark` is what a component says of its own content; 0 for other files."""

    name: str
    bytes: int
    crc32c: int
    mark: int = 0


@dataclass(frozen=True, slots=True)
class Manifest:
    """A whole backup. `new_bytes` counts what was written for it; the rest is shared with others by
    hard link.

    `rows` counts live rows in segments; what was not flushed comes with the log, `log_records` of
    it.
    """

    folder: str
    made: str
    source: str
    last_lsn: int
    collections: int
    rows: int
    log_records: int
    new_bytes: int
    files: tuple[BackedUp, ...]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    def by_name(self) -> dict[str, BackedUp]:
        return {file.name: file for file in self.files}


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write it durably into the folder of its backup."""
    body = {**asdict(manifest), "milvine_backup": _FORMAT}
    del body["folder"]
    text = json.dumps({"crc32c": crc32c(_canonical(body)), "body": body}, indent=1)
    write_file(folder / MANIFEST, text.encode())


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the backup in `folder`.

    Raises:
        StorageFailed: there is none.
        CorruptFile: it is damaged, or names files that no backup has.
        UnsupportedFormat: a newer Milvine wrote it.
    """
    path = folder / MANIFEST
    try:
        held = json.loads(path.read_bytes())
        body = held["body"]
        if crc32c(_canonical(body)) != held["crc32c"]:
            raise ValueError("its checksum is wrong")
        if body.pop("milvine_backup") > _FORMAT:
            raise UnsupportedFormat(f"{path} was written by a newer Milvine")
        files = tuple(BackedUp(**file) for file in body.pop("files"))
        manifest = Manifest(folder=str(folder), files=files, **body)
        _check_types(manifest, *files)
    except OSError as error:
        raise StorageFailed(f"{folder} holds no whole backup: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptFile.at(str(path), 0, f"it is no manifest ({error})") from error
    for file in files:
        if not _FILE.fullmatch(file.name):
            raise CorruptFile.at(str(path), 0, f"it names {file.name!r}, which no backup holds")
    return manifest


def _check_types(*parts: Manifest | BackedUp) -> None:
    for part in parts:
        for field in fields(part):
            value: object = getattr(part, field.name)
            if str(field.type) == "str" and type(value) is not str:
                raise ValueError(f"{field.name} is no text")
            if str(field.type) == "int" and not (type(value) is int and 0 <= value < 1 << 63):
                raise ValueError(f"{field.name} is no count")


def _canonical(body: object) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()


def backups(destination: Path) -> list[Manifest]:
    """The whole backups in a folder, oldest first.

    Raises:
        CorruptFile: one of them has a damaged manifest.
    """
    return [read_manifest(folder) for folder in _folders(destination)]


def newest(destination: Path) -> Manifest | None:
    """The newest whole backup in a folder. One whose manifest is damaged is passed over: what it
    holds is trusted by nobody, and keeps nobody from making another.
    """
    for folder in reversed(_folders(destination)):
        with suppress(CorruptFile):
            return read_manifest(folder)
    return None


def _folders(destination: Path) -> list[Path]:
    """Those of whole backups, oldest first."""
    found = (path.parent for path in destination.glob(f"*/{MANIFEST}"))
    return sorted(folder for folder in found if not folder.name.endswith(PARTIAL))


def checksum(path: Path) -> int:
    """CRC32C of a whole file."""
    total = 0
    with open(path, "rb") as file:
        while data := file.read(MIB):
            total = crc32c(data, start=total)
    return total
