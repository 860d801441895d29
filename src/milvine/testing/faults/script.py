"""A small workload that goes through every point of the write path, always the same, and a life
under it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from milvine.config import Settings
from milvine.maintenance.reclaim import reclaim
from milvine.testing.by_name import DatabaseByName
from milvine.testing.crash.journal import (
    BATCH_IDS,
    Action,
    History,
    Journal,
    Runs,
    perform,
    runs_of,
)
from milvine.testing.place import data_of, journal_of, settings_in
from milvine.testing.sample_rows import CONTENTS
from milvine.types import IndexType, MetricType

SMALL = Settings(
    background=False,
    build_in_subprocess=False,
    search_threads=1,
    build_threads=1,
    index_rows_min=64,
    wal_file_bytes=8 << 10,
    file_cleanup_timeout=0,
)
_SHAPES = {
    "given": (8, 1, int(MetricType.L2)),
    "auto": (3, 1, int(MetricType.L2)),
    "own": (64, 1, int(MetricType.HAMMING)),
}
_INDEX = (int(IndexType.IVF_FLAT), json.dumps({"nlist": 4}))
Act = Callable[[DatabaseByName, History, Journal, Action], None]


def steps() -> Iterator[Action]:
    """Every kind of call and of rows: raw and indexed segments, partitions, tombstones, a tail."""
    plan: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("create_collection", "given", {}),
        ("create_collection", "auto", {}),
        ("create_partition", "given", {"tag": "p"}),
        ("insert", "given", {"rows": 100}),
        ("insert", "auto", {"rows": 30, "ids": None}),
        ("insert", "given", {"rows": 40, "tag": "p"}),
        ("flush", "", {}),
        ("delete", "given", {"ids": _rows(4, 5, 25)}),
        ("delete", "given", {"ids": _rows(6, 0, 9), "tag": "p"}),
        ("insert", "auto", {"rows": 20, "ids": None}),
        ("flush", "", {}),
        ("insert", "given", {"rows": 90}),
        ("delete", "given", {"ids": _rows(12, 0, 3)}),
        ("flush", "given", {}),
        ("create_index", "given", {"setting": _INDEX}),
        ("delete", "given", {"ids": _rows(12, 10, 50)}),
        ("flush", "given", {}),
        ("compact", "given", {}),
        ("drop_partition", "given", {"tag": "p"}),
        ("create_collection", "own", {}),
        ("insert", "own", {"rows": 70}),
        ("flush", "own", {}),
        ("create_index", "own", {"setting": _INDEX}),
        ("drop_collection", "own", {}),
        ("drop_index", "given", {}),
        ("insert", "given", {"rows": 300}),
        ("delete", "given", {"ids": _rows(26, 0, 20)}),
        ("insert", "auto", {"rows": 10, "ids": None}),
    )
    inserts = 0
    for number, (kind, name, rest) in enumerate(plan, 1):
        if kind == "insert":
            known_by_vectors = name == "auto"
            content = "plain" if known_by_vectors else CONTENTS[inserts % len(CONTENTS)]
            rest = {"ids": ((number * BATCH_IDS, rest["rows"]),), "content": content, **rest}
            inserts += 1
        elif kind == "create_collection":
            rest = {"setting": _SHAPES[name]}
        yield Action(number, 0, kind, name, **rest)


def _rows(insert: int, first: int, end: int) -> Runs:
    """Ids of some rows of an insert, by its place in the plan."""
    return runs_of(np.arange(insert * BATCH_IDS + first, insert * BATCH_IDS + end))


def make(db: DatabaseByName, history: History, journal: Journal, action: Action) -> None:
    """Make a call with its entries in the journal."""
    history.begin(action)
    journal.do(action)
    finish(db, history, journal, action)


def finish(db: DatabaseByName, history: History, journal: Journal, action: Action) -> None:
    """Make a call that the journal says was begun, perhaps a second time."""
    made = perform(db, action)
    journal.done(action, made)
    history.end(action, made=made)


def live(folder: Path, act: Act = make, opened: Callable[[], None] = lambda: None) -> History:
    """One life on an empty disk: open, all the steps, each tidied up after, close."""
    history, journal = History(), Journal(journal_of(folder))
    with DatabaseByName.open(data_of(folder), settings_in(folder, SMALL)) as db:
        opened()
        for action in steps():
            act(db, history, journal, action)
            tidy(db)
    journal.close()
    return history


def tidy(db: DatabaseByName) -> None:
    """What the background does: remove the files that nothing needs."""
    reclaim(db.stores, 0)


def leftovers(db: DatabaseByName) -> list[str]:
    """Files in the segment folder that nothing needs and that would stay, once all is tidied."""
    tidy(db)
    needed = {name for state in db.stores.states.values() for name in state.files()}
    return sorted(set(db.stores.storage.names()) - needed)
