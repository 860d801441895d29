"""Definitions a second time, outside the catalog: one small file for each collection, so that a
lost catalog can be rebuilt with names, partitions and settings, also of collections without a
segment, and without those that were dropped.

    DATA/definitions/collection-N.json   lines of {"body": {...}, "crc32c": of the body's text}

The first line is the collection as it was when the file was written whole, with "partitions": [[id,
tag], ...]. Each of the others is a change: {"created": [id, tag]}, {"dropped": id}, or {"set":
{...}} with the collection as it is then. So a change costs the same however many partitions there
are. A file is written whole again when most of it is of the past.

They are written after the commit they tell of. Nothing reads them but `milvine verify` and `milvine
repair`. A last line without its end is that of a crash, and is passed over; the first may end
without, as files of format 1 do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from milvine.catalog.encoding import collection_of, described
from milvine.errors import CatalogFailed
from milvine.storage.checksum import crc32c
from milvine.storage.directory import Directory
from milvine.storage.durable import sync_folder
from milvine.storage.failpoints import at
from milvine.types import Collection, Partition

_PREFIX, _SUFFIX = "collection-", ".json"
_LINES_MIN = 64
"""A file is written whole again when it has so many lines, and two for each partition."""
Definition = tuple[Collection, tuple[Partition, ...]]
Change = dict[str, Any]


def created(partition: Partition) -> Change:
    return {"created": [partition.id, partition.tag]}


def dropped(partition_id: int) -> Change:
    return {"dropped": partition_id}


def settled(collection: Collection) -> Change:
    """Its settings are other ones."""
    return {"set": described(collection)}


@dataclass(slots=True)
class _File:
    """What a file that can be appended to holds: lines, and partitions that are there."""

    lines: int
    partitions: int

    def count(self, change: Change) -> None:
        self.lines += 1
        self.partitions += ("created" in change) - ("dropped" in change)

    @property
    def past(self) -> bool:
        """Most of it is."""
        return self.lines > 2 * self.partitions + _LINES_MIN


class Definitions:
    """The files of one folder. A write that fails is tried again with the next
    one: the catalog has it all.

    `read` gives a collection as the catalog has it, None where it has none.
    """

    def __init__(self, folder: Path, read: Callable[[int], Definition | None]) -> None:
        self._folder, self._read = folder, read
        self._directory: Directory | None = None
        self._files: dict[int, _File] = {}
        self._owed: set[int] = set()

    def store(self, collection: Collection, partitions: tuple[Partition, ...]) -> None:
        """Write the file of a new collection, durably."""
        self._pay()
        self._try(collection.id, partial(self._write_whole, (collection, partitions)))

    def append(self, collection_id: int, change: Change) -> None:
        """Add a change to the file of a collection, durably."""
        self._pay()
        file = self._files.get(collection_id)
        if collection_id in self._owed:
            return
        if file is None or file.past:
            self._try(collection_id, partial(self._write_from_catalog, collection_id))
        elif not self._try(collection_id, partial(self._append, collection_id, change, file)):
            self._pay()

    def remove(self, collection_id: int) -> None:
        self._pay()
        self._try(collection_id, partial(self._remove, collection_id))

    def differing(self, definitions: Iterable[Definition]) -> dict[int, Path]:
        """By collection id, the files that do not say these, missing ones too. The rest
        is known from now on."""
        wanted = {definition[0].id: definition for definition in definitions}
        self._files, self._owed = {}, set()
        # This is how a database is opened: the folder that is there now is its own.
        self._directory = None
        paths = {number: self._folder / _name(number) for number in wanted} | _paths(self._folder)
        return {
            n: path
            for n, path in paths.items()
            if n not in wanted or not self._says(n, path, wanted[n])
        }

    def replace(self, definitions: Iterable[Definition], differing: Iterable[int]) -> None:
        """Have files for exactly these: the `differing` ones are written or removed."""
        wanted = {definition[0].id: definition for definition in definitions}
        for number in differing:
            write = (
                partial(self._write_whole, wanted[number])
                if number in wanted
                else partial(self._remove, number)
            )
            self._try(number, write)

    def _says(self, number: int, path: Path, wanted: Definition) -> bool:
        """Whether a file says this; then it is known from now on."""
        try:
            data = path.read_bytes()
            if _decode(data) != wanted:
                return False
        except (OSError, *_NONSENSE):
            return False
        if data.endswith(b"\n"):  # else the next change writes it whole
            self._files[number] = _File(data.count(b"\n"), len(wanted[1]))
        return True

    def _pay(self) -> None:
        """Try again what failed before."""
        for number in sorted(self._owed):
            self._try(number, partial(self._write_from_catalog, number))

    def _try(self, number: int, write: Callable[[], None]) -> bool:
        try:
            at("definition.write")
            write()
        except (OSError, CatalogFailed):
            self._files.pop(number, None)  # it may end in a part of a line
            self._owed.add(number)
            return False
        self._owed.discard(number)
        at("definition.written")
        return True

    def _write_from_catalog(self, number: int) -> None:
        definition = self._read(number)
        if definition is None:
            self._remove(number)
        else:
            self._write_whole(definition)

    def _write_whole(self, definition: Definition) -> None:
        number = definition[0].id
        self._held().write(_name(number), _whole(*definition))
        self._files[number] = _File(1, len(definition[1]))

    def _append(self, number: int, change: Change, file: _File) -> None:
        self._held().append(_name(number), _line(change))
        file.count(change)

    def _remove(self, number: int) -> None:
        self._files.pop(number, None)
        if self._held().unlink(_name(number)):
            self._held().sync()

    def close(self) -> None:
        """Let go of the folder."""
        if self._directory is not None:
            self._directory.close()

    def _held(self) -> Directory:
        """The folder, made the first time; not the one above it, which is gone
        where it is not there."""
        if self._directory is None:
            with suppress(FileExistsError):
                self._folder.mkdir()
                sync_folder(self._folder.parent)
            self._directory = Directory(self._folder)
        return self._directory


def _name(number: int) -> str:
    return f"{_PREFIX}{number}{_SUFFIX}"


def read_definitions(folder: Path) -> tuple[list[Definition], dict[int, str]]:
    """What the files say, by collection id, and which of them are damaged, how."""
    return read_files(_paths(folder))


def read_files(paths: Mapping[int, Path]) -> tuple[list[Definition], dict[int, str]]:
    """As `read_definitions`, of some files. One that is missing says nothing."""
    found: list[Definition] = []
    damaged: dict[int, str] = {}
    for number, path in sorted(paths.items()):
        try:
            definition = _decode(path.read_bytes())
        except FileNotFoundError:
            continue
        except _NONSENSE as error:
            damaged[number] = f"it is no definition of a collection ({error})"
            continue
        if definition[0].id == number:
            found.append(definition)
        else:
            damaged[number] = f"it defines collection {definition[0].id}"
    return found, damaged


def ids_beyond(
    definitions: list[Definition],
    damaged: Iterable[int],
    last_collection_id: int,
    last_partition_id: int,
) -> list[str]:
    """Which collections and partitions have ids above those that a catalog ever
    gave, as a text each."""
    collections = sorted({*(collection.id for collection, _ in definitions), *damaged})
    found = [f"collection {number}" for number in collections if number > last_collection_id]
    for collection, partitions in definitions:
        if collection.id <= last_collection_id:
            newer = (partition.id for partition in partitions if partition.id > last_partition_id)
            found += [f"partition {number} of collection {collection.id}" for number in newer]
    return found


_NONSENSE = (ValueError, KeyError, TypeError, RecursionError, AttributeError)


def _paths(folder: Path) -> dict[int, Path]:
    files = folder.glob(f"{_PREFIX}*{_SUFFIX}") if folder.is_dir() else ()
    numbers = {path: path.name[len(_PREFIX) : -len(_SUFFIX)] for path in files}
    return {int(number): path for path, number in numbers.items() if number.isdecimal()}


def _whole(collection: Collection, partitions: tuple[Partition, ...]) -> bytes:
    pairs = [[partition.id, partition.tag] for partition in partitions]
    return _line({**described(collection), "partitions": pairs})


def _line(body: dict[str, Any]) -> bytes:
    held = {"body": body, "crc32c": crc32c(_canonical(body))}
    return json.dumps(held, separators=(",", ":")).encode() + b"\n"


def _canonical(body: dict[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":"), sort_keys=True).encode()


def _decode(data: bytes) -> Definition:
    first, *changes = data.split(b"\n")
    body = _body(first)
    collection, tags = collection_of(body), dict(body["partitions"])
    for line in changes[:-1]:  # behind the last end of a line is nothing, or what a crash left
        change = _body(line)
        if "created" in change:
            tags |= dict([change["created"]])
        elif "dropped" in change:
            del tags[change["dropped"]]
        else:
            collection = collection_of(change["set"])
    return collection, tuple(Partition(each, collection.id, tag) for each, tag in tags.items())


def _body(line: bytes) -> dict[str, Any]:
    held = json.loads(line)
    body: dict[str, Any] = held["body"]
    if crc32c(_canonical(body)) != held["crc32c"]:
        raise ValueError("its checksum is wrong")
    return body
