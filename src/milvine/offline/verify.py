"""Reads every byte of a database and says what is wrong, changing nothing.

Beside a running server it is a reader like any other: what a merge or a drop took away meanwhile is
no finding.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from milvine.catalog.model import Contents, SegmentRecord
from milvine.catalog.note import NOTE
from milvine.catalog.place import IN_FOLDER, in_folder
from milvine.catalog.sql import DEFINITIONS
from milvine.config.sources import KEPT_FILE
from milvine.errors import CorruptFile, StorageFailed, Unsupported
from milvine.ingest.orphans import forgotten
from milvine.memory_plan import UNBOUNDED
from milvine.offline.catalog import check_references, current_contents, read_catalog
from milvine.offline.component import Component, Pace, examine, pace
from milvine.offline.contents import check_record, check_rows, check_tombstones, live_nonfinite
from milvine.offline.findings import Finding, Report, damage, in_order, note
from milvine.offline.logfiles import first_lsn, read_log
from milvine.offline.survey import Survey
from milvine.segment.cache import FileCache
from milvine.segment.layout import COMPONENT_NAME
from milvine.segment.reader import Segment
from milvine.storage.base import TEMPORARY, Storage
from milvine.storage.folder import (
    FORMAT_VERSION,
    OLDEST_READABLE,
    DataFolder,
    in_use,
    refuse_file,
)
from milvine.storage.local import LocalStorage
from milvine.storage.log_notes import LOG_NOTE, LOG_OWNER
from milvine.storage.log_place import damaged_notes, find_log
from milvine.types import Collection
from milvine.wal.log import log_files

_EXPECTED = {
    "FORMAT",
    "LOCK",
    "catalog.sqlite",
    "catalog.sqlite-wal",
    "catalog.sqlite-shm",
    "catalog.sqlite-journal",
}
_EXPECTED |= {"wal", "segments", DEFINITIONS, "set-aside", NOTE, LOG_NOTE, KEPT_FILE}


def verify(
    root: Path,
    bytes_per_second: float | None = None,
    open_indexes: bool = True,
    meta_uri: str = IN_FOLDER,
    log: Path | None = None,
    running: bool | None = None,
) -> Report:
    """Look at the database in `root`. See `milvine.offline.findings`.

    Args:
        bytes_per_second: read no faster than this.
        open_indexes: load every index whose checksums are right, and count its rows.
        meta_uri: where its catalog is, as the setting `general.meta_uri` says it.
        log: where its log is, if it was moved together with the folder.
        running: whether a server works on it; None: find out.

    Raises:
        StorageFailed: there is no database, or it cannot be read (no permission).
    """
    began = time.monotonic()
    survey = look(root, bytes_per_second, open_indexes, running, meta_uri, log)
    contents = survey.contents or Contents((), 0, 0)
    return Report(
        str(root),
        in_order(survey.findings),
        len(survey.components),
        sum(component.size for component in survey.components.values()),
        len(contents.collections),
        sum(len(stored.segments) for stored in contents.collections),
        sum(record.rows - record.dead for record, _ in survey.records()),
        survey.log_records,
        time.monotonic() - began,
        survey.nonfinite_rows,
    )


def look(
    root: Path,
    bytes_per_second: float | None = None,
    open_indexes: bool = True,
    running: bool | None = None,
    meta_uri: str = IN_FOLDER,
    log: Path | None = None,
) -> Survey:
    """Read everything once. `running` says whether a server works on it, None: find out. Raises as
    `verify`.
    """
    refuse_file(root)
    if not root.is_dir() or not any(
        (root / name).exists() for name in ("FORMAT", "catalog.sqlite", "segments")
    ):
        raise StorageFailed(f"{root} holds no Milvine database")
    own = in_folder(root, meta_uri)
    survey = Survey(root, meta_uri=meta_uri)
    _find_log(survey, log)
    folder = DataFolder(root, survey.log or root / "wal")
    try:
        survey.running = in_use(root) if running is None else running
        survey.findings += _format(folder)
        read_catalog(survey, folder, own)
        storage = LocalStorage(folder.segments) if folder.segments.is_dir() else None
        if storage is not None:
            _read_components(survey, storage, pace(bytes_per_second))
        survey.findings += _strangers(root, folder.wal)
        findings = list(_compare(survey))
        if open_indexes and storage is not None:
            findings += _open_indexes(survey, storage)
        if survey.log is not None:
            read_log(survey, survey.log)
        survey.findings += _without_races(survey, findings, folder) if survey.running else findings
    except PermissionError as error:
        raise StorageFailed(f"Cannot read {error.filename}: {error.strerror}") from error
    return survey


def _format(folder: DataFolder) -> Iterator[Finding]:
    path = folder.root / "FORMAT"
    try:
        version = json.loads(path.read_bytes())["milvine_format"]
        if version not in range(OLDEST_READABLE, FORMAT_VERSION + 1):
            yield damage(
                "FORMAT", None, f"it says {version}; this Milvine reads up to {FORMAT_VERSION}"
            )
    except FileNotFoundError:
        yield damage(
            "FORMAT", None, "the file is missing: nothing says which format the folder has"
        )
    except (ValueError, KeyError, TypeError) as error:
        yield damage("FORMAT", 0, f"it does not say a format ({error})")


def _find_log(survey: Survey, moved: Path | None) -> None:
    try:
        survey.log = find_log(survey.root, moved)
        notes = damaged_notes(survey.root, survey.log)
        survey.findings += [damage(file, None, what) for file, what in notes.items()]
    except StorageFailed as error:
        survey.findings.append(damage(LOG_NOTE, None, str(error)))


def _strangers(root: Path, log: Path) -> Iterator[Finding]:
    expected = {*_EXPECTED, log.name} if log.parent == root else _EXPECTED
    if log == root:
        expected = {*_EXPECTED, LOG_OWNER, *(path.name for path in log_files(log))}
    for entry in sorted(root.iterdir()):
        if entry.name not in expected and not entry.name.endswith(TEMPORARY):
            yield note(entry.name, "Milvine knows no such file and leaves it alone")


# Components


def _read_components(survey: Survey, storage: Storage, pace: Pace) -> None:
    for name in storage.names():
        if not COMPONENT_NAME.fullmatch(name):
            half = COMPONENT_NAME.fullmatch(name.removesuffix(TEMPORARY))
            what = (
                "half written; the next start removes it"
                if half
                else "no component; Milvine leaves it alone"
            )
            survey.findings.append(note(f"segments/{name}", what))
            continue
        try:
            survey.components[name] = examine(storage, name, pace)
        except FileNotFoundError:
            continue  # gone since the folder was listed; whether it is missed shows below


def _compare(survey: Survey) -> Iterator[Finding]:
    """What components say of themselves, and of each other through the catalog."""
    collections = (
        {each.collection.id: each.collection for each in survey.contents.collections}
        if survey.contents
        else {}
    )
    named = {name for record, _ in survey.records() for name in record.files}
    for component in survey.components.values():
        orphan = survey.contents is not None and component.name not in named
        reason = _forgotten(survey, component) if orphan and not survey.running else None
        if reason:
            survey.catalog_sound, orphan = False, False
            yield damage(
                "catalog.sqlite",
                None,
                f"it has lost commits: {component.name} is in none, but {reason}",
            )
        elif orphan:
            yield note(
                component.file, "no segment of the catalog needs it; the next start removes it"
            )
        for finding in component.findings:
            yield Finding(finding.file, finding.offset, finding.what, not orphan)
        if not orphan:
            yield from _contents(component, collections)
    for record, collection in survey.records():
        yield from check_record(record, survey.components)
        yield from _nonfinite(survey, record, collection)
    yield from check_references(survey)


def _nonfinite(survey: Survey, record: SegmentRecord, collection: Collection) -> Iterator[Finding]:
    try:
        count = live_nonfinite(record, collection, survey.components)
    except FileNotFoundError:
        return  # a merge took it away since it was looked at
    if count:
        survey.nonfinite_rows += count
        what = (
            f"{count} rows of segment {record.id} of {collection.name} hold NaN or infinity or are"
            " too long for float32"
        )
        yield Finding(
            f"segments/{record.rows_file}", None, f"{what}: no search finds them", False, record.id
        )


def _forgotten(survey: Survey, component: Component) -> str | None:
    """Why a file that the catalog does not name proves that it should."""
    if survey.contents is None or component.footer is None or component.name.startswith("index-"):
        return None
    missing = {
        record.id for record, _ in survey.records() if record.rows_file not in survey.components
    }
    oldest = None if survey.log is None else first_lsn(survey.log)
    return forgotten(component.footer, survey.contents.flushed, missing, oldest)


def _contents(component: Component, collections: dict[int, Collection]) -> Iterator[Finding]:
    for entry in component.entries:
        try:
            if "ids" in entry["sections"]:
                yield from check_rows(component, entry, collections.get(entry["collection"]["id"]))
            elif "live" in entry["sections"]:
                yield from check_tombstones(component, entry)
        except (OSError, ValueError, KeyError, AssertionError) as error:
            yield damage(
                component.file,
                None,
                f"segment {entry['id']}: it cannot be read: {error}",
                entry["id"],
            )


def _open_indexes(survey: Survey, storage: Storage) -> Iterator[Finding]:
    """Load every index of which file and vectors are sound: a damaged image would be a risk to this
    process.
    """
    files = FileCache(storage, 8, replace(UNBOUNDED, tables=0))  # nobody searches
    for record, collection in survey.records():
        component = survey.components.get(record.index_file or "")
        rows = survey.components.get(record.rows_file)
        if (
            component is None
            or rows is None
            or component.footer is None
            or component.bad
            or rows.footer is None
        ):
            continue
        entry = rows.entry(record.id)
        if entry is None or not rows.sound(entry, "flat", "vectors"):
            continue
        segment = Segment(record, collection, files)
        try:
            live = segment.tombstones()
        except (CorruptFile, StorageFailed):  # told already; which rows it may leave out is unknown
            continue
        try:
            opened = segment.index(live)
        except Unsupported as error:  # it may be sound: what reads it is not installed here
            yield note(component.file, f"the index was not opened: {error}")
            continue
        if opened is None:
            why = files.damaged.get(component.name, "unknown")
            yield damage(component.file, 0, f"the index cannot be opened: {why}", record.id)
        elif opened.rows != record.rows:
            yield damage(
                component.file,
                0,
                f"the index has {opened.rows} rows, segment {record.rows}",
                record.id,
            )


# Beside a running server


def _without_races(survey: Survey, findings: list[Finding], folder: DataFolder) -> list[Finding]:
    """Those that still hold for the catalog as it is now: segments come and go while they
    are read.
    """
    contents = current_contents(survey, folder)
    if contents is None:
        return findings
    before = {record.id: record for record, _ in survey.records()}
    now = {record.id: record for stored in contents.collections for record in stored.segments}
    named = {f"segments/{name}" for record in now.values() for name in record.files}
    return [
        finding
        for finding in findings
        if (finding.file == "catalog.sqlite" or finding.file in named)
        and (finding.segment is None or now.get(finding.segment) == before.get(finding.segment))
    ]


def raise_damage(report: Report) -> None:
    """Raises CorruptFile with the first damage, if there is any."""
    for finding in report.findings:
        if finding.damage:
            at = "" if finding.offset is None else f" at byte {finding.offset}"
            raise CorruptFile(f"{report.folder}/{finding.file} is damaged{at}: {finding.what}")
