"""After a crash: opens the folder, settles the calls that were under way, and compares everything
with the journal.

`python -m milvine.testing.crash.verify` answers requests, one JSON object a line: each crash state
is opened in a process that may die of it without taking the harness along.
"""

from __future__ import annotations

import json
import subprocess
import sys
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np
from numpy.typing import NDArray

from milvine.config import Settings
from milvine.errors import MilvineError
from milvine.testing.by_name import DatabaseByName
from milvine.testing.crash.command import module_command
from milvine.testing.crash.journal import (
    BATCH_IDS,
    OWNER_IDS,
    Action,
    History,
    Journal,
    ids_of,
    perform,
)
from milvine.testing.crash.planning import search_params
from milvine.testing.crash.workload import tiny_settings
from milvine.testing.model import distances, lookup
from milvine.testing.place import data_of, journal_of, settings_in
from milvine.testing.sample_rows import findable, same_rows
from milvine.types import IdMode, Ids, IndexType, Query

CHECKER = 900
"""The thread number under which the checker itself inserts."""
_GET_IDS = 1000
_NEAR = 5  # hits among which a row is that is its own nearest, but for rounding


@dataclass
class Report:
    """What one look at a database found. All numbers but `rows` and `acknowledged` must be 0."""

    rows: int = 0  # compared byte by byte
    acknowledged: int = 0  # calls that the journal says were answered
    # Rows, collections, partitions and settings that were acknowledged and are not there.
    lost: int = 0
    resurrected: int = 0  # deleted or dropped ones that are there, and rows that nobody inserted
    half: int = 0  # calls under way that happened in part
    wrong: int = 0  # rows with other vectors, searches with other answers
    failures: int = 0  # opening or a call raised, or the process died
    tried: dict[str, int] = field(default_factory=dict)  # how often it was done under what
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not (self.lost or self.resurrected or self.half or self.wrong or self.failures)

    def add(self, other: Report) -> None:
        for name in ("rows", "lost", "resurrected", "half", "wrong", "failures"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.acknowledged += other.acknowledged
        self.count(other.tried)
        self.notes = (self.notes + other.notes)[:50]

    def count(self, tried: Mapping[str, int]) -> None:
        for what, times in tried.items():
            self.tried[what] = self.tried.get(what, 0) + times

    def note(self, counter: str, text: str, count: int = 1) -> None:
        if count:
            setattr(self, counter, getattr(self, counter) + count)
            self.notes.append(f"{counter}: {text}" + (f" ({count})" if count > 1 else ""))


class Checker:
    """One open database beside its history."""

    def __init__(self, db: DatabaseByName, history: History, report: Report) -> None:
        self.db, self.history, self.report = db, history, report

    # calls that were under way

    def settle(self, journal: Journal) -> None:
        for action in list(self.history.under_way.values()):
            applied, made = self.applied(action)
            if applied and action.kind == "insert":
                self._repeat(action, made)
            journal.settled(action, applied, made)
            self.history.end(action, applied, made)

    def _repeat(self, action: Action, made: Ids | None) -> None:
        """Whoever got no answer sends an insert again; the comparison then finds its rows once, or
        tells of it.
        """
        ids = perform(self.db, action)
        if made is not None and not np.array_equal(made, [] if ids is None else ids):
            self.report.note("wrong", f"{_short(action)}, sent again, was answered with other ids")

    def applied(self, action: Action) -> tuple[bool, Ids | None]:
        """Whether a call without an answer happened, and the ids it generated."""
        name, kind = action.collection, action.kind
        if kind == "create_collection":
            return self.db.has_collection(name), None
        if not self.db.has_collection(name):
            # Any other call on it: the full comparison reports the loss.
            return kind == "drop_collection", None
        if kind in ("create_partition", "drop_partition"):
            return self.db.has_partition(name, action.tag) == (kind == "create_partition"), None
        if kind in ("create_index", "drop_index"):
            return self.db.definition(name).index == action.index, None
        if kind == "delete":
            found = self._found(name, ids_of(action.ids or ()), action.tag)
            return self._whole(action, ~found), None
        if kind == "insert" and action.ids is not None:
            return self._whole(action, self._found(name, ids_of(action.ids), action.tag)), None
        return self._inserted(action) if kind == "insert" else (False, None)

    def _whole(self, action: Action, happened: NDArray[np.bool_]) -> bool:
        if happened.any() and not happened.all():
            self.report.note(
                "half", f"{happened.sum()} of {len(happened)} rows of {_short(action)}"
            )
        return bool(happened.any())

    def _inserted(self, action: Action) -> tuple[bool, Ids | None]:
        """Generated ids follow each other, and the first row is known by its vector."""
        name, tags = action.collection, (action.tag,) if action.tag else ()
        vectors = action.vectors(self.db.definition(name))
        if action.tag and not self.db.has_partition(name, action.tag):
            return False, None
        params = search_params(IndexType.FLAT, _NEAR)
        hits = self.db.search(name, Query(vectors[:1], _NEAR, params, tags))
        near = hits.ids.ravel()
        if not len(near):
            return False, None
        found, stored = lookup(self.db, name, near)
        first = near[found & same_rows(stored, np.repeat(vectors[:1], len(near), axis=0))]
        if not len(first):
            return False, None
        ids = first[0] + np.arange(len(vectors))
        found, stored = self._get(name, ids, action.tag)
        same = found & same_rows(stored, vectors)
        return self._whole(action, same), ids[same]

    def _found(self, name: str, ids: Ids, tag: str = "") -> NDArray[np.bool_]:
        if tag and not self.db.has_partition(name, tag):
            return np.zeros(len(ids), dtype=bool)
        return self._get(name, ids, tag)[0]

    def _get(self, name: str, ids: Ids, tag: str) -> tuple[NDArray[np.bool_], NDArray[Any]]:
        parts = [lookup(self.db, name, part, (tag,) if tag else ()) for part in _portions(ids)]
        return np.concatenate([found for found, _ in parts]), np.concatenate(
            [vectors for _, vectors in parts]
        )

    # everything else

    def compare(self) -> None:
        """Collections, partitions, settings, rows, counts and a few searches."""
        model, report = self.history.model, self.report
        there, expected = set(self.db.collections()), set(model.collections())
        report.note("lost", f"collections {sorted(expected - there)}", len(expected - there))
        report.note("resurrected", f"collections {sorted(there - expected)}", len(there - expected))
        for name in sorted(there & expected):
            self._compare_collection(name)

    def _compare_collection(self, name: str) -> None:
        model, report = self.history.model, self.report
        real, ours = self.db.definition(name), model.definition(name)
        shape = [(c.dimension, c.metric, c.index_file_size_mb, c.index) for c in (real, ours)]
        report.note("lost", f"{name} is {shape[0]}, not {shape[1]}", int(shape[0] != shape[1]))
        if real.id_mode != ours.id_mode and ours.id_mode is not IdMode.UNDECIDED:
            report.note("lost", f"{name} has id mode {real.id_mode.name}, not {ours.id_mode.name}")
        there, expected = set(self.db.partitions(name)), set(model.partitions(name))
        report.note(
            "lost", f"partitions {sorted(expected - there)} of {name}", len(expected - there)
        )
        report.note(
            "resurrected", f"partitions {sorted(there - expected)} of {name}", len(there - expected)
        )
        for tag in sorted(there & expected):
            self._compare_rows(name, tag)
        gone = self._found(name, self.history.gone_ids(name))
        report.note("resurrected", f"deleted rows of {name}", int(gone.sum()))
        self._compare_counts(name)
        self._compare_searches(name)

    def _compare_rows(self, name: str, tag: str) -> None:
        rows = self.history.model.table(name).partitions[tag]
        found, vectors = self._get(name, rows.ids, tag)
        missing = rows.ids[~found]
        self.report.note("lost", f"rows of {name}/{tag}: {_batches(missing)}", len(missing))
        other = found & ~same_rows(vectors, rows.vectors)
        self.report.note(
            "wrong", f"vectors of {name}/{tag}: {_batches(rows.ids[other])}", int(other.sum())
        )
        self.report.rows += len(rows.ids)

    def _compare_counts(self, name: str) -> None:
        table = self.history.model.table(name)
        for part in self.db.stats(name).partitions:
            expected = len(table.partitions[part.tag].ids) if part.tag in table.partitions else 0
            surplus = part.row_count - expected
            self.report.note(
                "resurrected",
                f"rows counted in {name}/{part.tag} beyond {expected}",
                max(surplus, 0),
            )
            self.report.note(
                "lost", f"rows not counted in {name}/{part.tag} of {expected}", max(-surplus, 0)
            )
        count, expected = self.db.count(name), self.history.model.count(name)
        self.report.note(
            "wrong", f"{name} counts {count} rows, not {expected}", int(count != expected)
        )

    def _compare_searches(self, name: str) -> None:
        """Every hit must be a live row; without an index that approximates, the hits must be the
        best ones.
        """
        table = self.history.model.table(name)
        ids = self.history.live_ids(name)
        vectors = np.concatenate([rows.vectors for rows in table.partitions.values()])
        able = findable(vectors)
        ids, vectors = ids[able], vectors[able]
        if not len(ids):
            return
        queries = vectors[np.random.default_rng(len(ids)).integers(0, len(ids), 4)]
        index, k = table.collection.index.type, min(10, len(ids))
        hits = self.db.search(name, Query(queries, k, search_params(index, k)))
        real = hits.ids != -1
        strays = np.setdiff1d(hits.ids[real], ids)
        self.report.note(
            "resurrected",
            f"search of {name} found rows that are not there: {strays[:5]}",
            len(strays),
        )
        if index in (IndexType.FLAT, IndexType.IVF_FLAT):
            true = np.sort(distances(queries, vectors, table.collection.metric))
            best = true[:, ::-1][:, :k] if table.collection.metric.larger_is_closer else true[:, :k]
            same = hits.distances.shape == best.shape and np.allclose(
                hits.distances, best, rtol=1e-4, atol=1e-4
            )
            self.report.note(
                "wrong", f"search of {name} ({index.name}) misses nearest rows", int(not same)
            )

    # and life goes on

    def insert(self, journal: Journal) -> None:
        """A batch into every collection, a delete, a flush."""
        for name in self.history.model.collections():
            number = self.history.next_number
            generated = (
                self.history.model.definition(name).id_mode is IdMode.GENERATED or name == "auto"
            )
            ids = None if generated else ((CHECKER * OWNER_IDS + number * BATCH_IDS, 7),)
            self._make(Action(number, CHECKER, "insert", name, rows=7, ids=ids), journal)
            if ids is not None:
                self._make(
                    Action(number + 1, CHECKER, "delete", name, ids=((ids[0][0], 3),)), journal
                )
        self._make(Action(self.history.next_number, CHECKER, "flush"), journal)

    def _make(self, action: Action, journal: Journal) -> None:
        self.history.begin(action)
        journal.do(action)
        made = perform(self.db, action)
        journal.done(action, made)
        self.history.end(action, made=made)


def _portions(ids: Ids) -> list[Ids]:
    return [ids[at : at + _GET_IDS] for at in range(0, max(len(ids), 1), _GET_IDS)]


def _short(action: Action) -> str:
    return f"{action.kind} {action.number} of {action.collection}/{action.tag}"


def _batches(ids: Ids) -> list[str]:
    """Which inserts the ids came from, as thread:number."""
    pairs = np.unique(np.stack([ids // OWNER_IDS, ids % OWNER_IDS // BATCH_IDS]), axis=1).T
    return [f"{thread}:{number}" for thread, number in pairs[:8].tolist()]


def check(folder: Path, settings: Settings, go_on: bool = True) -> Report:
    """Opens, settles, compares; with `go_on` also inserts, flushes, reopens and compares again.
    Never raises.
    """
    report = Report()
    try:
        history = History.read(journal_of(folder).read_bytes())
        report.acknowledged = history.acknowledged
        journal = Journal(journal_of(folder))
        for life in (0, 1) if go_on else (0,):
            with DatabaseByName.open(data_of(folder), settings_in(folder, settings)) as db:
                checker = Checker(db, history, report)
                checker.settle(journal)
                checker.compare()
                if go_on and not life:
                    checker.insert(journal)
        journal.close()
    except (MilvineError, Exception) as error:
        report.note(
            "failures", f"{type(error).__name__}: {error}\n{traceback.format_exc(limit=-6)}"
        )
    return report


class CheckerProcess:
    """A process that checks folders one after the other, and is replaced when one of them
    kills it.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._process: subprocess.Popen[str] | None = None

    def check(self, folder: Path, go_on: bool = True, timeout: float = 120) -> Report:
        if self._process is None:
            command = module_command("milvine.testing.crash.verify", [json.dumps(self._settings)])
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps({"folder": str(folder), "go_on": go_on}) + "\n")
        self._process.stdin.flush()
        patience = Timer(timeout, self._process.kill)
        patience.start()
        answer = self._process.stdout.readline()
        patience.cancel()
        if answer:
            return Report(**json.loads(answer))
        self._process.communicate()
        died = self._process.returncode
        self._process = None
        return Report(
            failures=1, notes=[f"failures: the checking process died or hung: status {died}"]
        )

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate()
            self._process = None


def main() -> None:
    settings = tiny_settings(json.loads(sys.argv[1]))
    for line in sys.stdin:
        request = json.loads(line)
        print(
            json.dumps(asdict(check(Path(request["folder"]), settings, request["go_on"]))),
            flush=True,
        )


if __name__ == "__main__":
    main()
