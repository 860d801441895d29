"""Definitions a second time, outside the catalog: one small file for each collection, so that a lost catalog can be
rebuilt with names, partitions and settings, also of collections without a segment, and without those that were dropped.

    DATA/definitions/collection-N.json   {"body": {...}, "crc32c": of the body's text}

They are written after the commit they tell of. Nothing reads them but `milvine verify` and `milvine repair`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from milvine.catalog.rows import collection_of, described
from milvine.storage.checksum import crc32c
from milvine.storage.durable import make_folder, sync_folder, write_file
from milvine.storage.failpoints import at
from milvine.types import Collection, Partition

_PREFIX, _SUFFIX = "collection-", ".json"
Definition = tuple[Collection, tuple[Partition, ...]]


class Definitions:
    """The files of one folder. A write that fails is tried again with the next one: the catalog has it all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written: dict[int, str] = {}
        self._wanted: dict[int, str | None] = {}

    def store(self, collection: Collection, partitions: tuple[Partition, ...]) -> None:
        """Bring the file of a collection up to date, durably."""
        self._wanted[collection.id] = _encode(collection, partitions)
        self._write()

    def remove(self, collection_id: int) -> None:
        self._wanted[collection_id] = None
        self._write()

    def newest(self) -> int:
        """The highest id of a collection that has a file, 0 without any."""
        return max(_files(self._folder), default=0)

    def replace(self, definitions: list[Definition]) -> None:
        """Have files for exactly these; those that say so already stay as they are."""
        there = {number: path.read_text("utf-8", "replace") for number, path in _files(self._folder).items()}
        self._written = there
        self._wanted = dict.fromkeys(there)
        self._wanted |= {each.id: _encode(each, partitions) for each, partitions in definitions}
        self._write()

    def _write(self) -> None:
        for number, text in list(self._wanted.items()):
            try:
                self._write_one(number, text)
            except OSError:
                continue  # kept in `_wanted`
            del self._wanted[number]

    def _write_one(self, number: int, text: str | None) -> None:
        at("definition.write")
        path = self._folder / f"{_PREFIX}{number}{_SUFFIX}"
        if text is None:
            if path.exists():
                path.unlink()
                sync_folder(self._folder)
            self._written.pop(number, None)
        elif self._written.get(number) != text:
            make_folder(self._folder)
            write_file(path, text.encode())
            self._written[number] = text
        at("definition.written")


def read_definitions(folder: Path) -> tuple[list[Definition], dict[int, str]]:
    """What the files say, by collection id, and which of them are damaged, how."""
    found: list[Definition] = []
    damaged: dict[int, str] = {}
    for number, path in sorted(_files(folder).items()):
        try:
            definition = _decode(path.read_bytes())
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            damaged[number] = f"it is no definition of a collection ({error})"
            continue
        if definition[0].id == number:
            found.append(definition)
        else:
            damaged[number] = f"it defines collection {definition[0].id}"
    return found, damaged


def _files(folder: Path) -> dict[int, Path]:
    files = folder.glob(f"{_PREFIX}*{_SUFFIX}") if folder.is_dir() else ()
    numbers = {path: path.name[len(_PREFIX) : -len(_SUFFIX)] for path in files}
    return {int(number): path for path, number in numbers.items() if number.isdecimal()}


def _encode(collection: Collection, partitions: tuple[Partition, ...]) -> str:
    body = {
        **described(collection),
        "partitions": [[partition.id, partition.tag] for partition in partitions],
    }
    return json.dumps({"body": body, "crc32c": crc32c(_canonical(body))}, separators=(",", ":"))


def _canonical(body: dict[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":"), sort_keys=True).encode()


def _decode(data: bytes) -> Definition:
    held = json.loads(data)
    body = held["body"]
    if crc32c(_canonical(body)) != held["crc32c"]:
        raise ValueError("its checksum is wrong")
    collection = collection_of(body)
    return collection, tuple(Partition(number, collection.id, tag) for number, tag in body["partitions"])
