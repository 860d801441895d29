"""The journal of a workload: what was about to be done, what was acknowledged, what was found out
after a crash.

One JSON object a line, appended with one unbuffered write each. `do` comes before the call, `done`
after it returned; after a crash the checker writes `settled` for every call that was under way, and
`interrupted` says that a call was interrupted and is made again. The journal lies outside the
database's folder and is never damaged: it is what the client on the other side of the wire
remembers.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from milvine.testing.model import ModelDatabase, Store
from milvine.testing.sample_rows import vectors_of
from milvine.types import Collection, IdMode, Ids, IndexSetting, IndexType, MetricType, Vectors

OWNER_IDS = 10**12
"""Given ids are owner * OWNER_IDS + action number * BATCH_IDS + row: each thread owns its rows."""
BATCH_IDS = 10**5

Runs = tuple[tuple[int, int], ...]
"""Ids as (first, length) runs."""


def runs_of(ids: Ids) -> Runs:
    breaks = np.flatnonzero(np.diff(ids) != 1) + 1
    return tuple((int(run[0]), len(run)) for run in np.split(ids, breaks) if len(run))


def ids_of(runs: Iterable[tuple[int, int]]) -> Ids:
    return np.concatenate(
        [np.arange(first, first + length) for first, length in runs] or [np.empty(0, np.int64)]
    )


@dataclass(frozen=True, slots=True)
class Action:
    """One call on the database, complete enough to make it, or its effect on the model, again.

    `rows` counts the rows of an insert, whose vectors follow from `number` and `content` (see
    `milvine.testing.sample_rows`); `ids` are those given to insert or delete; `setting` holds the
    index parameters or the shape of a new collection.
    """

    number: int
    thread: int
    kind: str
    collection: str = ""
    tag: str = ""
    rows: int = 0
    ids: Runs | None = None
    setting: tuple[int, ...] | tuple[int, str] = ()
    content: str = "plain"

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Action:
        ids = value["ids"] and tuple((int(first), int(length)) for first, length in value["ids"])
        return cls(**{**value, "ids": ids, "setting": tuple(value["setting"])})

    @property
    def index(self) -> IndexSetting:
        return (
            IndexSetting(IndexType(int(self.setting[0])), str(self.setting[1]))
            if self.setting
            else IndexSetting()
        )

    def vectors(self, collection: Collection) -> Vectors:
        """The vectors that this insert carries, (rows, width) of the collection's dtype.

        Where ids are generated, the first is like no other: by it the insert is known again.
        """
        width, metric = collection.width, collection.metric
        vectors = vectors_of(self.number, self.rows, width, metric, self.content)
        if self.ids is None:
            vectors[0] = vectors_of(self.number, 1, width, metric)[0]
        return vectors


def perform(db: Store, action: Action) -> Ids | None:
    """Makes the call; the ids that were generated, if any. An insert may be made again: it has a
    key of its own.
    """
    name, kind = action.collection, action.kind
    if kind == "insert":
        ids = None if action.ids is None else ids_of(action.ids)
        made = db.insert(
            name, action.vectors(db.definition(name)), ids, action.tag, f"insert {action.number}"
        )
        return made if ids is None else None
    if kind == "delete":
        db.delete(name, ids_of(action.ids or ()), action.tag)
    elif kind == "flush":
        db.flush([name] if name else None)
    elif kind == "create_collection":
        dimension, megabytes, metric = (int(value) for value in action.setting)
        db.create_collection(name, dimension, megabytes, MetricType(metric))
    elif kind == "create_index":
        db.create_index(name, action.index)
    elif kind in ("create_partition", "drop_partition"):
        getattr(db, kind)(name, action.tag)
    else:
        getattr(db, kind)(name)
    return None


class History:
    """What a journal says: a model of everything acknowledged, and the calls that were
    under way.
    """

    def __init__(self) -> None:
        self.model = ModelDatabase()
        self.under_way: dict[int, Action] = {}
        self.acknowledged = 0
        self.next_number = 1
        self._past_ids: dict[str, list[Ids]] = {}  # every id that collections of a name ever held
        self._generated: dict[tuple[str, int], list[Ids]] = {}

    @classmethod
    def read(cls, text: bytes) -> History:
        history = cls()
        for line in text.split(b"\n")[:-1]:
            history.take(json.loads(line))
        return history

    def take(self, entry: dict[str, Any]) -> None:
        if "do" in entry:
            self.begin(Action.from_json(entry["do"]))
            return
        if "interrupted" in entry:
            return
        action = self.under_way[entry["done"] if "done" in entry else entry["settled"]]
        made = ids_of(entry["ids"]) if entry.get("ids") is not None else None
        self.end(action, entry.get("applied", True), made)

    def begin(self, action: Action) -> None:
        self.under_way[action.number] = action
        self.next_number = max(self.next_number, action.number + 1)

    def end(self, action: Action, applied: bool = True, made: Ids | None = None) -> None:
        """A call returned, or was found to have been applied or not; `made` are the ids it
        generated.
        """
        del self.under_way[action.number]
        self.acknowledged += applied
        if not applied:
            return
        name = action.collection
        if action.kind != "insert":
            perform(self.model, action)
            return
        given = None if action.ids is None else ids_of(action.ids)
        ids = self.model.insert(
            name, action.vectors(self.model.definition(name)), given, action.tag, generated=made
        )
        self._past_ids.setdefault(name, []).append(ids)
        if given is None:
            self._generated.setdefault((name, action.thread), []).append(ids)

    def live_ids(self, name: str, tag: str = "") -> Ids:
        """All ids of a collection or of one of its partitions."""
        rows = self.model.table(name).partitions
        return np.concatenate([part.ids for key, part in rows.items() if tag in ("", key)])

    def gone_ids(self, name: str, recent: int = 0) -> Ids:
        """Ids that collections of this name held once and must not hold now; `recent`: of that many
        last inserts.
        """
        past = self._past_ids.get(name, [])[-recent:]
        live = self.live_ids(name) if self.model.has_collection(name) else ids_of(())
        return np.setdiff1d(np.concatenate([ids_of(()), *past]), live)

    def owned(self, thread: int, name: str, ids: Ids) -> Ids:
        """Those of `ids` that the thread inserted."""
        if self.model.definition(name).id_mode is IdMode.GENERATED:
            return np.intersect1d(
                ids, np.concatenate(self._generated.get((name, thread), [ids_of(())]))
            )
        mine: Ids = ids[ids // OWNER_IDS == thread]
        return mine


class Journal:
    """Appends to a journal file. Whole lines, one write each: threads need no lock."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def do(self, action: Action) -> None:
        self._append({"do": asdict(action)})

    def done(self, action: Action, made: Ids | None) -> None:
        self._append({"done": action.number, "ids": None if made is None else runs_of(made)})

    def interrupted(self, action: Action) -> None:
        self._append({"interrupted": action.number})

    def settled(self, action: Action, applied: bool, made: Ids | None) -> None:
        self._append(
            {
                "settled": action.number,
                "applied": applied,
                "ids": None if made is None else runs_of(made),
            }
        )

    def _append(self, entry: dict[str, Any]) -> None:
        os.write(self._fd, json.dumps(entry, separators=(",", ":")).encode() + b"\n")

    def close(self) -> None:
        os.close(self._fd)


def tried_in(text: bytes) -> Counter[str]:
    """What a journal tells of: inserts of each content, new collections, interrupted calls."""
    tried: Counter[str] = Counter()
    for line in text.split(b"\n")[:-1]:
        entry = json.loads(line)
        action = entry.get("do", {})
        tried["calls interrupted"] += "interrupted" in entry
        if action.get("kind") == "insert":
            tried[f"inserts of {action['content']} rows"] += 1
        tried["collections made"] += action.get("kind") == "create_collection"
    return tried
