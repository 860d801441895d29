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
from dataclasses import replace
from pathlib import Path

import numpy as np

from milvine.catalog.definition_files import read_definitions
from milvine.catalog.model import Contents, SegmentRecord, StoredCollection
from milvine.catalog.note import folder_id
from milvine.catalog.sql import DEFINITIONS
from milvine.errors import StorageFailed, Unsupported, UnsupportedFormat
from milvine.offline.aside import (
    NEW_CATALOG,
    begin_log,
    give_second_names,
    remove_first_names,
    swap_catalog,
)
from milvine.offline.component import Component
from milvine.offline.repair_plan import Outcome, Plan
from milvine.offline.resolve import Resolved, indexed
from milvine.offline.stored_rows import Logged
from milvine.offline.survey import Survey
from milvine.offline.verify import look
from milvine.segment.writer import RowSet, write_rows, write_tombstones
from milvine.storage.folder import FORMAT_VERSION, DataFolder, refuse_file, write_format
from milvine.storage.local import LocalStorage
from milvine.storage.log_place import find_log, note_log
from milvine.types import Collection, IdMode, Partition, RowMask


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
    refuse_file(root)
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
        plan = Plan(survey, folder, outcome, skip_log_damage)
        if any(finding.damage for finding in survey.findings) or (root / NEW_CATALOG).exists():
            plan.make()
            if not dry_run:
                _Work(plan).do()
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
    """The writing that a plan asks for."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.survey, self.folder = plan, plan.survey, plan.folder
        self.last_id = plan.last_id

    def do(self) -> None:
        outcome = self.plan.outcome
        storage = LocalStorage.made(self.folder.segments, use_mmap=False)
        stored = [self._stored(storage, each) for each in self.plan.resolved]
        durable = max(self.plan.last_lsn, self.plan.trusted.durable_lsn)
        contents = Contents(
            tuple(stored), durable, max(self.last_id, time.time_ns() // 1000 * 1000)
        )
        needed = {name for each in stored for record in each.segments for name in record.files}
        going = [name for name in outcome.set_aside if name.removeprefix("segments/") not in needed]
        outcome.set_aside = going
        aside = give_second_names(self.folder, going)
        write_format(self.folder.root)  # before there is a catalog that older ones do not know
        swap_catalog(self.folder, contents, self._last_ids(contents), self.survey.catalog_sound)
        # With its files set aside it is known by nothing else.
        note_log(self.folder.root, self.folder.wal)
        begin_log(self.folder, going, durable)
        remove_first_names(self.folder, going)
        outcome.folder = str(aside) if going else ""

    def _last_ids(self, contents: Contents) -> tuple[int, int]:
        partitions = [p.id for each in contents.collections for p in each.partitions]
        definitions, damaged = read_definitions(self.folder.root / DEFINITIONS)
        collections = [
            *(each.collection.id for each in contents.collections),
            *(each.id for each, _ in definitions),
            *damaged,
        ]
        return max([self.plan.ids[0], *collections]), max([self.plan.ids[1], *partitions])

    def _stored(self, storage: LocalStorage, each: Resolved) -> StoredCollection:
        if self.plan.keep_log:
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
        stored_keys = [
            key
            for one in self.plan.trusted.collections
            if one.collection.id == collection.id
            for key in one.keys
        ]
        keys = self.plan.logged.get(collection.id, Logged()).keys(stored_keys)
        return StoredCollection(collection, self.plan.last_lsn, each.partitions, segments, keys)

    def _with_id_mode(self, each: Resolved) -> Collection:
        logged = self.plan.logged.get(each.collection.id, Logged())
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
        logged = self.plan.logged.get(each.collection.id, Logged())
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
            write_tombstones(storage, name, each.collection, masks, self.plan.last_lsn)
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
