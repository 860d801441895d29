"""What a repair will do, worked out in memory: nothing is written here."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from milvine.catalog.model import Contents
from milvine.catalog.sql import DEFINITIONS
from milvine.ingest.checks import Fitting, never_made
from milvine.offline.aside import path_of
from milvine.offline.findings import Finding
from milvine.offline.logfiles import LogScan
from milvine.offline.resolve import Resolved, definitions_of, resolve
from milvine.offline.stored_rows import Logged
from milvine.offline.survey import Survey
from milvine.storage.folder import DataFolder
from milvine.types import IdMode
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


class Plan:
    """What stays, what is written and what is set aside.

    Attributes:
        logged: by collection id, what the log has of it.
        resolved: the collections as they will be.
        known: what the catalog says, where that can be believed.
        last_lsn, last_id: the highest that anything names.
        ids: the highest of collections and of partitions.
        keep_log: catalog, rows and log are sound, so log and segments stay as they are.
    """

    def __init__(
        self, survey: Survey, folder: DataFolder, outcome: Outcome, skip_log_damage: bool
    ) -> None:
        self.survey, self.folder, self.outcome = survey, folder, outcome
        self._skip = skip_log_damage
        self.definitions = {definition[0].id: definition for definition in definitions_of(survey)}
        self.logged: dict[int, Logged] = {}
        self.resolved: list[Resolved] = []
        self.trusted = survey.trusted or Contents((), 0, 0)
        self.last_lsn, self.last_id = self.trusted.durable_lsn, self.trusted.last_id
        self.ids = [0, 0]
        self.keep_log = False

    def make(self) -> None:
        """Fill it in, and tell `outcome` of it."""
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
        for lsn, record in scan:
            if scan.first_damage is not None and lsn > scan.first_damage and not self._skip:
                self.outcome.unused_records += 1
                continue
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
        contents, definition = self.survey.contents, self.definitions.get(record.collection_id)
        what = never_made(contents, record) if contents else ""
        defined = definition is not None and record.partition_id in (
            0,
            *(partition.id for partition in definition[1]),
        )
        return "" if defined else what

    def _fitting(self) -> Fitting:
        return Fitting(list(self.definitions.values()), self.trusted.flushed)

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
            path = path_of(self.folder, name)
            inside = path.is_relative_to(survey.root)
            say(f"set aside {path.relative_to(survey.root) if inside else path}")

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
        return {name for name in broken if path_of(self.folder, name).is_file()}


def _partition(entry: dict[str, Any]) -> int:
    return int(entry["partition"]["id"]) if "partition" in entry else 0
