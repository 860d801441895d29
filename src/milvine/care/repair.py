"""Makes a database open again: what is sound stays, what is damaged is set aside, nothing is
deleted.

Steps, each of which may be the last before a power cut: new files are written; what will go gets a
second name under `set-aside`; the new catalog takes the place of the old one; the first names of
what was set aside go. Before the third step the folder is as it was, after it the repair is done.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from milvine.care.aside import (
    NEW_CATALOG,
    give_second_names,
    place_of,
    remove_first_names,
    swap_catalog,
)
from milvine.care.component import Component
from milvine.care.findings import Finding
from milvine.care.logfiles import LogScan
from milvine.care.resolve import Resolved, definitions_of, indexed, resolve
from milvine.care.rows import Logged
from milvine.care.survey import Survey
from milvine.care.verify import look
from milvine.catalog.definitions import read_definitions
from milvine.catalog.model import Contents, SegmentRecord, StoredCollection
from milvine.catalog.place import folder_id
from milvine.catalog.sql import DEFINITIONS
from milvine.errors import StorageFailed, Unsupported, UnsupportedFormat
from milvine.ingest.checks import Fitting, never_made
from milvine.segment.writer import RowSet, write_rows, write_tombstones
from milvine.storage.folder import FORMAT_VERSION, DataFolder, write_format
from milvine.storage.local import LocalStorage
from milvine.storage.log_place import find_log, note_log
from milvine.types import IdMode, Partition, RowMask
from milvine.wal.record import InsertRecord, Record


@dataclass
class Outcome:
    """What repair did, or with `dry_run` would do.

    `lost_rows`: live rows that nothing holds any more. `returning_rows`: deleted ones that may come
    back, at most. `lost_records`: inserts and deletes of the log that cannot be read.
    `unused_records`: those behind the damage, which can, but are set aside unless `skip_log_damage`
    is given.
    """

    dry_run: bool
    findings: list[Finding]
    steps: list[str] = field(default_factory=list)
    lost_rows: int = 0
    returning_rows: int = 0
    lost_records: int = 0
    unused_records: int = 0
    set_aside: list[str] = field(default_factory=list)
    folder: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def repair(
    root: Path,
    skip_log_damage: bool = False,
    dry_run: bool = True,
    ignore_format: bool = False,
    log: Path | None = None,
) -> Outcome:
    """Repair the database in `root`, which nobody may have open.

    Args:
        skip_log_damage: use the log's records behind damaged ones, too. A delete among the damaged
            ones is forgotten.
        dry_run: only say what would be done.
        ignore_format: go on although FORMAT says that a newer Milvine wrote the folder.
        log: where the log is, if it was moved together with the folder.

    Raises:
        DataFolderLocked: a process has it open.
        UnsupportedFormat: a newer Milvine wrote it.
        StorageFailed: there is no database, its log is not there, or it cannot be read or written.
        Unsupported: its catalog is in PostgreSQL.
    """
    _check_format(root, ignore_format)
    if folder_id(root):
        raise Unsupported(
            f"{root} has its catalog in PostgreSQL, which milvine repair does not rebuild. Restore"
            " the database from its pg_dump and the folder together, or both from a milvine"
            " backup; milvine verify says what is damaged"
        )
    if not root.is_dir():
        raise StorageFailed(f"{root} holds no Milvine database")
    folder = DataFolder(root, find_log(root, log))
    folder.lock()
    try:
        survey = look(root, running=False, log=log)
        outcome = Outcome(dry_run, survey.findings)
        work = _Work(survey, folder, outcome, skip_log_damage)
        if any(finding.damage for finding in survey.findings) or (root / NEW_CATALOG).exists():
            work.plan()
            if not dry_run:
                work.do()
        return outcome
    finally:
        folder.close()


def _check_format(root: Path, ignore: bool) -> None:
    try:
        version = json.loads((root / "FORMAT").read_bytes())["milvine_format"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if isinstance(version, int) and version > FORMAT_VERSION and not ignore:
        raise UnsupportedFormat(
            f"{root} has format {version}; this Milvine reads up to {FORMAT_VERSION}. Install a"
            " newer Milvine, or say --ignore-format if the file FORMAT is damaged."
        )


class _Work:
    """One repair: first all of the plan in memory, then all of the writing."""

    def __init__(
        self, survey: Survey, folder: DataFolder, outcome: Outcome, skip_log_damage: bool
    ) -> None:
        self.survey, self.folder, self.outcome, self._skip = (
            survey,
            folder,
            outcome,
            skip_log_damage,
        )
        self.definitions = {definition[0].id: definition for definition in definitions_of(survey)}
        self.logged: dict[int, Logged] = {}
        self.resolved: list[Resolved] = []
        self.known = survey.trusted or Contents((), 0, 0)
        self.last_lsn, self.last_id = self.known.durable_lsn, self.known.last_id
        self.ids = [0, 0]  # of collections and of partitions, the highest that anything names
        self.keep_log = False

    # plan

    def plan(self) -> None:
        damage = [finding for finding in self.survey.findings if finding.damage]
        rows = any(f.file.startswith(("segments/rows-", "segments/dead-")) for f in damage)
        self.keep_log = self.survey.catalog_sound and self.survey.log_sound and not rows
        if not self.keep_log:
            self._read_log()
        self._see()
        for definition in self.definitions.values():
            logged = self.logged.get(definition[0].id, Logged())
            self.resolved.append(resolve(self.survey, definition, logged))
        self._tell()

    def _read_log(self) -> None:
        undefined: dict[str, int] = {}
        scan = LogScan(
            self.folder.wal, self.folder.root, self.last_lsn, misfit=self._fitting().misfit
        )
        taken: set[int] = set()
        first = self.last_lsn
        for lsn, record in scan:
            if scan.first_damage is not None and lsn > scan.first_damage and not self._skip:
                self.outcome.unused_records += 1
                continue
            first = lsn if not taken else first
            taken.add(lsn)
            if what := self._undefined(record):
                undefined[what] = undefined.get(what, 0) + 1
            self.logged.setdefault(record.collection_id, Logged()).add(lsn, record)
            self.ids = [
                max(self.ids[0], record.collection_id),
                max(self.ids[1], record.partition_id),
            ]
            if isinstance(record, InsertRecord) and record.generated and len(record.ids):
                self.last_id = max(self.last_id, int(record.ids.max()))
        self.last_lsn = max(self.last_lsn, scan.last_lsn)
        if scan.first_damage is not None:
            gaps = (
                scan.last_lsn
                - min(taken, default=scan.last_lsn)
                + 1
                - len(taken)
                - self.outcome.unused_records
            )
            gaps -= sum(lsn >= min(taken, default=0) for lsn in scan.misfits)
            self.outcome.lost_records = max(gaps, 0) + (scan.first_damage >= scan.last_lsn)
        self.outcome.lost_records += len(scan.misfits) + sum(undefined.values())
        self.outcome.steps += [
            f"leave out LSN {lsn} in the log: {why}" for lsn, why in scan.misfits.items()
        ]
        for what, records in undefined.items():
            self.outcome.steps.append(
                f"leave out {records} records in the log: {what} is defined nowhere"
            )

    def _undefined(self, record: Record) -> str:
        """A collection or partition of which the log alone knows, for the catalog lost it and
        no definition has it."""
        contents, known = self.survey.contents, self.definitions.get(record.collection_id)
        what = never_made(contents, record) if contents else ""
        defined = known is not None and record.partition_id in (
            0,
            *(partition.id for partition in known[1]),
        )
        return "" if defined else what

    def _fitting(self) -> Fitting:
        return Fitting(list(self.definitions.values()), self.known.flushed)

    def _see(self) -> None:
        """The highest LSN and ids that any file names: none of them will be given again."""
        for component in self.survey.components.values():
            self.last_id = max(self.last_id, int(component.name.split("-")[1].removesuffix(".mlv")))
            for entry in component.entries:
                self.last_id = max(self.last_id, entry["id"])
                self.last_lsn = max(
                    self.last_lsn, entry.get("lsn", 0), *entry.get("lsn_range", [0])
                )
                self.ids = [
                    max(self.ids[0], entry["collection"]["id"]),
                    max(self.ids[1], _partition(entry)),
                ]
                if entry["collection"].get("id_mode") == IdMode.GENERATED and "id_range" in entry:
                    self.last_id = max(self.last_id, entry["id_range"][1])

    def _tell(self) -> None:
        say, survey = self.outcome.steps.append, self.survey
        if not survey.catalog_sound:
            segments = sum(len(each.whole) for each in self.resolved)
            say(f"rebuild the catalog: {len(self.resolved)} collections, {segments} segments")
        for each in self.resolved:
            logged = self.logged.get(each.collection.id, Logged())
            given = each.supplement(logged)
            for what in each.notes:
                say(f"collection {each.collection.name}: {what}")
            saved = sum(int(rows.sum()) for _, rows in each.parts)
            if saved:
                say(f"collection {each.collection.name}: save {saved} rows of damaged segments")
            if given:
                say(
                    f"collection {each.collection.name}: write the rows of {len(given)} inserts in"
                    " the log to segments"
                )
            self.outcome.lost_rows += each.lost
            self.outcome.returning_rows += each.returning
            each.unreadable.clear()
            each.given = given
        if self.outcome.unused_records:
            say(
                f"leave out {self.outcome.unused_records} records behind the damage in the log: see"
                " --skip-log-damage"
            )
        self.outcome.set_aside = sorted(self._going())
        for name in self.outcome.set_aside:
            say(f"set aside {name}")

    def _going(self) -> set[str]:
        """Files that will not stay where they are, relative to the folder."""
        survey, root = self.survey, self.folder.root
        broken = {
            f.file
            for f in survey.findings
            if f.damage and f.file.startswith(("segments/", DEFINITIONS, "FORMAT"))
        }
        if not survey.catalog_sound:
            broken |= {path.name for path in root.glob("catalog.sqlite*")} - {"catalog.sqlite-shm"}
            staying = {
                name for each in self.resolved for record, _ in each.whole for name in record.files
            }
            broken |= {f"segments/{name}" for name in survey.components if name not in staying}
        else:
            broken |= {"catalog.sqlite"}
        if not self.keep_log:
            broken |= {f"wal/{path.name}" for path in self.folder.wal.glob("*.wal")}
        return {name for name in broken if place_of(self.folder, name).is_file()}

    # do

    def do(self) -> None:
        storage = LocalStorage.made(self.folder.segments, use_mmap=False)
        stored = [self._stored(storage, each) for each in self.resolved]
        durable = max(self.last_lsn, self.known.durable_lsn)
        contents = Contents(
            tuple(stored), durable, max(self.last_id, time.time_ns() // 1000 * 1000)
        )
        needed = {name for each in stored for record in each.segments for name in record.files}
        going = [
            name for name in self.outcome.set_aside if name.removeprefix("segments/") not in needed
        ]
        self.outcome.set_aside = going
        aside = give_second_names(self.folder, going)
        write_format(self.folder.root)  # before there is a catalog that older ones do not know
        swap_catalog(self.folder, contents, self._last_ids(contents), self.survey.catalog_sound)
        # With its files set aside it is known by nothing else.
        note_log(self.folder.root, self.folder.wal)
        remove_first_names(self.folder, going)
        self.outcome.folder = str(aside) if going else ""

    def _last_ids(self, contents: Contents) -> tuple[int, int]:
        partitions = [p.id for each in contents.collections for p in each.partitions]
        known, damaged = read_definitions(self.folder.root / DEFINITIONS)
        collections = [
            *(each.collection.id for each in contents.collections),
            *(each.id for each, _ in known),
            *damaged,
        ]
        return max([self.ids[0], *collections]), max([self.ids[1], *partitions])

    def _stored(self, storage: LocalStorage, each: Resolved) -> StoredCollection:
        if self.keep_log:
            contents = self.survey.contents
            assert contents is not None
            before = next(
                stored
                for stored in contents.collections
                if stored.collection.id == each.collection.id
            )
            return replace(
                before,
                segments=tuple(self._sound_index(each, record) for record in before.segments),
            )
        collection = self._with_id_mode(each)
        each.collection = collection
        sets = list(self._row_sets(each))
        records: list[SegmentRecord] = []
        if sets:
            name = f"rows-{self._new_id()}.mlv"
            write_rows(storage, name, collection, sets)
            records = [
                _new_record(collection.row_bytes, collection.id, rows, name) for rows in sets
            ]
        segments = (*self._marked(storage, each), *records)
        known = [
            key
            for one in self.known.collections
            if one.collection.id == collection.id
            for key in one.keys
        ]
        keys = self.logged.get(collection.id, Logged()).keys(known)
        return StoredCollection(collection, self.last_lsn, each.partitions, segments, keys)

    def _with_id_mode(self, each: Resolved) -> Any:
        logged = self.logged.get(each.collection.id, Logged())
        if each.collection.id_mode is not IdMode.UNDECIDED or not logged.inserts:
            return each.collection
        generated = next(iter(logged.inserts.values())).generated
        return replace(each.collection, id_mode=IdMode.GENERATED if generated else IdMode.GIVEN)

    def _row_sets(self, each: Resolved) -> Iterator[RowSet]:
        partitions = {partition.id: partition for partition in each.partitions}
        for piece, rows in each.parts:
            chosen = np.flatnonzero(rows)
            if len(chosen) and piece.partition in partitions:
                vectors = [piece.vectors(each.collection, chosen)]
                where = partitions[piece.partition]
                replaces = (piece.number,)
                yield RowSet(
                    self._new_id(), where, piece.ids[chosen], piece.lsns[chosen], vectors, replaces
                )
        logged = self.logged.get(each.collection.id, Logged())
        for partition in each.partitions:
            yield from self._from_log(each, logged, partition)

    def _from_log(self, each: Resolved, logged: Logged, partition: Partition) -> Iterator[RowSet]:
        """The rows of one partition that only the log has."""
        collection = each.collection
        ids, lsns, vectors = [], [], []
        for lsn in sorted(each.given):
            record = logged.inserts[lsn]
            if record.partition_id != partition.id or record.rows.shape[1] != collection.row_bytes:
                continue
            when = np.full(len(record.ids), lsn, np.int64)
            live = ~logged.killed(record.ids, when, partition.id)
            rows = (
                record.rows.reshape(-1)
                .view(collection.dtype)
                .reshape(len(record.ids), collection.width)
            )
            ids.append(record.ids[live])
            lsns.append(when[live])
            vectors.append(rows[live])
        if sum(len(part) for part in ids):
            yield RowSet(
                self._new_id(), partition, np.concatenate(ids), np.concatenate(lsns), vectors
            )

    def _marked(self, storage: LocalStorage, each: Resolved) -> list[SegmentRecord]:
        """The segments that stay, with a new file for the tombstones that are in none yet."""
        name = f"dead-{self._new_id()}.mlv"
        records: list[SegmentRecord] = []
        masks: list[tuple[int, RowMask]] = []
        for record, piece in each.whole:
            mask = RowMask.from_bool(piece.live)
            record = self._sound_index(each, record)
            if not mask.dead:
                record = replace(record, tombstone_file=None, dead=0)
            elif not self._says(record.tombstone_file, record.id, mask):
                masks.append((record.id, mask))
                record = replace(record, tombstone_file=name, dead=mask.dead)
            records.append(record)
        if masks:
            write_tombstones(storage, name, each.collection, masks, self.last_lsn)
        return records

    def _says(self, name: str | None, segment_id: int, mask: RowMask) -> bool:
        component = self.survey.components.get(name or "")
        entry = component.entry(segment_id) if component is not None and not component.bad else None
        if component is None or entry is None or entry["dead"] != mask.dead:
            return False
        bits = component.section(entry, "live")
        return bits is not None and np.array_equal(bits, mask.bits)

    def _sound_index(self, each: Resolved, record: SegmentRecord) -> SegmentRecord:
        """Without an index that is missing, damaged or cannot be opened: it is built anew."""
        file = self.survey.components.get(record.index_file or "")
        bad = {f.file for f in self.survey.findings if f.damage}
        if record.index_file and (file is None or file.footer is None or file.file in bad):
            return indexed(_without(self.survey, bad), record.without_index(), each.collection)
        return record

    def _new_id(self) -> int:
        self.last_id = max(self.last_id + 1, time.time_ns() // 1000 * 1000)
        return self.last_id


def _without(survey: Survey, files: set[str]) -> Survey:
    kept: dict[str, Component] = {n: c for n, c in survey.components.items() if c.file not in files}
    return replace(survey, components=kept)


def _partition(entry: dict[str, Any]) -> int:
    return int(entry["partition"]["id"]) if "partition" in entry else 0


def _new_record(row_bytes: int, collection_id: int, rows: RowSet, name: str) -> SegmentRecord:
    return SegmentRecord(
        id=rows.segment_id,
        collection_id=collection_id,
        partition_id=rows.partition.id,
        rows_file=name,
        rows=len(rows.ids),
        data_bytes=len(rows.ids) * (row_bytes + 8),
        min_lsn=int(rows.lsns.min()),
        max_lsn=int(rows.lsns.max()),
    )


def summary(outcome: Outcome) -> str:
    """One paragraph for a terminal."""
    lost = f"{outcome.lost_rows} rows and {outcome.lost_records} log records are lost"
    kept = (
        f"what was damaged lies in {outcome.folder}" if outcome.folder else "nothing was set aside"
    )
    return f"{'nothing was changed' if outcome.dry_run else kept}; {lost}"
