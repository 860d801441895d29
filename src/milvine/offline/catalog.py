"""The catalog, and the definitions beside it: what is wrong with them, and where they contradict
each other.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from milvine.catalog.definition_files import Definition, ids_beyond, read_definitions
from milvine.catalog.model import Contents
from milvine.catalog.pending import unread_commits
from milvine.catalog.place import open_catalog
from milvine.catalog.sql import DEFINITIONS
from milvine.catalog.sqlite import is_there
from milvine.errors import MilvineError
from milvine.offline.findings import Finding, damage, note
from milvine.offline.survey import Survey
from milvine.segment.layout import COMPONENT_NAME
from milvine.storage.folder import DataFolder

_LOOKS = 4
"""At definitions that a server may be changing."""


def read_catalog(survey: Survey, folder: DataFolder, own: bool) -> None:
    """Put into `survey` what it says and what is wrong with it. `own`: it is in the folder."""
    name = folder.catalog.name
    if own and not survey.running:
        for at, what, certain in unread_commits(folder.catalog.with_name(name + "-wal")):
            survey.findings.append(Finding(name + "-wal", at, what, certain))
    if own and not is_there(folder.catalog):
        what = "is empty" if folder.catalog.exists() else "is missing"
        survey.findings.append(
            damage(name, None, f"the catalog {what}; `milvine repair` rebuilds it")
        )
        survey.findings += _damaged_definitions(survey.root)
        return
    sound = not any(finding.damage and finding.file.startswith(name) for finding in survey.findings)
    try:
        catalog = open_catalog(folder.catalog, survey.meta_uri, read_only=True)
        try:
            wrong = catalog.check()
            survey.findings += [damage(name, None, each) for each in wrong]
            survey.contents = catalog.contents(unchecked=True)
            survey.catalog_sound = sound and not wrong
            if not survey.running:
                _check_newest(survey, survey.contents)
        finally:
            catalog.close()
    except (MilvineError, ValueError) as error:
        survey.findings.append(damage(name, None, f"it cannot be read: {error}"))
        survey.findings += _damaged_definitions(survey.root)
        return
    survey.findings += _definitions(survey, folder)


def _damaged_definitions(root: Path) -> Iterator[Finding]:
    for number, what in read_definitions(root / DEFINITIONS)[1].items():
        yield damage(f"{DEFINITIONS}/collection-{number}.json", 0, what)


def _check_newest(survey: Survey, contents: Contents) -> None:
    """A definition of something that the catalog never made is of a commit that it lost."""
    definitions = read_definitions(survey.root / DEFINITIONS)
    for what in ids_beyond(*definitions, contents.last_collection_id, contents.last_partition_id):
        survey.lost_commits(f"{DEFINITIONS} has {what}, which it never made")


_Difference = tuple[Finding, Definition | None, Definition | None]
"""What is to be told of it, what the file says, what the catalog says."""


def _definitions(survey: Survey, folder: DataFolder) -> list[Finding]:
    """The definitions outside the catalog must say the same. A server changes the one after the
    other: what counts beside one is a difference that every look finds."""
    lasting = list(_definition_differences(survey.contents, folder.root / DEFINITIONS))
    for _ in range(_LOOKS - 1 if survey.running else 0):
        if not lasting:
            break
        time.sleep(0.2)
        now = _definition_differences(current_contents(survey, folder), folder.root / DEFINITIONS)
        lasting = [each for each in now if each in lasting]
    return [finding for finding, *_ in lasting]


def _definition_differences(contents: Contents | None, folder: Path) -> Iterator[_Difference]:
    definitions, damaged = read_definitions(folder)
    for number, what in damaged.items():
        yield damage(f"{DEFINITIONS}/collection-{number}.json", 0, what), None, None
    defined = {collection.id: (collection, partitions) for collection, partitions in definitions}
    stored = contents.collections if contents else ()
    in_catalog = {each.collection.id: (each.collection, each.partitions) for each in stored}
    for number in sorted(defined.keys() | in_catalog.keys()):
        sides = defined.get(number), in_catalog.get(number)
        if sides[0] == sides[1] or number in damaged:
            continue
        file = f"{DEFINITIONS}/collection-{number}.json"
        if all(sides):
            yield damage(file, None, "it says something else than the catalog"), *sides
        else:
            what = "the catalog has no such collection" if sides[0] else "it is missing"
            yield note(file, f"{what}: the next start puts that right"), *sides


def current_contents(survey: Survey, folder: DataFolder) -> Contents | None:
    """What it says by now, None where that cannot be read."""
    try:
        catalog = open_catalog(folder.catalog, survey.meta_uri, read_only=True)
        try:
            return catalog.contents()
        finally:
            catalog.close()
    except MilvineError:
        return None


def check_references(survey: Survey) -> Iterator[Finding]:
    """Whether what the catalog says of segments agrees with what it says of their collections."""
    names: set[str] = set()
    for stored in survey.contents.collections if survey.contents else ():
        partitions = {partition.id for partition in stored.partitions}
        if stored.collection.name in names:
            yield damage(
                "catalog.sqlite", None, f"two collections are named {stored.collection.name}"
            )
        names.add(stored.collection.name)
        for record in stored.segments:
            where = f"segment {record.id} of {stored.collection.name}"
            if record.partition_id not in partitions:
                yield damage(
                    "catalog.sqlite",
                    None,
                    f"{where} is of a partition that is not there",
                    record.id,
                )
            if record.max_lsn > stored.flushed_lsn:
                what = (
                    f"{where} has LSN {record.max_lsn}, though only {stored.flushed_lsn} is flushed"
                )
                yield damage("catalog.sqlite", None, what, record.id)
            for name in record.files:
                if not COMPONENT_NAME.fullmatch(name):
                    yield damage(
                        "catalog.sqlite",
                        None,
                        f"{where} names {name!r}, which is no component",
                        record.id,
                    )
