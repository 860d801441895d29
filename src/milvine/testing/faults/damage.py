"""One flipped byte, a cut or a removed file, and then everything is read through the open database.

Either opening says which file is damaged; or, after one pass of the scrubber, each answer is right
or an error that names the file, and what lies in other files is all there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from milvine.errors import MilvineError, OperatorError
from milvine.events import Event, Events, JobFailed, LogMissing, TornTailCut
from milvine.maintenance.scrub import scrub
from milvine.testing.by_name import DatabaseByName
from milvine.testing.faults.process import in_process
from milvine.testing.mix import EVERYTHING, Mix
from milvine.testing.model import ModelDatabase, distances
from milvine.testing.offline import (
    QUIET,
    damaged_copies,
    differences,
    files_that_matter,
    flip,
    name_of_file,
)
from milvine.testing.place import data_of, settings_in
from milvine.testing.sample_rows import findable
from milvine.types import Query

Damage = Callable[[Path, Random], tuple[str, int]]


@dataclass
class Outcome:
    """How each damage was met. `missed` and `wrong` must be 0."""

    tried: int = 0
    at_open: int = 0  # the start was refused, and the file named
    refused: int = 0  # some reads were refused, and the file named; the rest was right
    # As a power cut leaves it: an end cut off, or no log, which is told; or the last commit.
    torn: int = 0
    harmless: int = 0  # everything was right
    wrong: int = 0  # an answer that is not right, an error that names nothing, or another error
    notes: list[str] = field(default_factory=list)

    def summary(self, what: str) -> str:
        return (
            f"{what} {self.tried}, named at the start {self.at_open}, named by reads"
            f" {self.refused}, taken for the end of a power cut {self.torn}, of no effect"
            f" {self.harmless}, wrong or silent {self.wrong}"
        )


def cut(folder: Path, random: Random) -> tuple[str, int]:
    """Shorten one file."""
    path = random.choice(files_that_matter(folder))
    at = random.randrange(path.stat().st_size)
    os.truncate(path, at)
    return name_of_file(folder, path), at


def remove(folder: Path, random: Random) -> tuple[str, int]:
    """Take one file away."""
    path = random.choice(files_that_matter(folder))
    path.unlink()
    return name_of_file(folder, path), 0


DAMAGES: dict[str, Damage] = {"flips": flip, "cuts": cut, "removals": remove}


def damages(
    what: str, count: int, seed: int, work: Path, rows: int = 5500, mix: Mix = EVERYTHING
) -> Outcome:
    """`count` times one damage in a copy of a sample."""
    random, outcome = Random(seed), Outcome()
    for folder, model in damaged_copies(work, f"{what}{seed}", count, rows, mix):
        file, at = DAMAGES[what](folder, random)
        outcome.tried += 1
        status, result = in_process(partial(_look, folder, file, model), work / "answer")
        kind, problems = result if status == 0 else ("wrong", [f"ended with {status}: {result}"])
        setattr(outcome, kind, getattr(outcome, kind) + 1)
        outcome.notes += [f"{folder.name}: {file} at {at}: {problem}" for problem in problems]
        if kind != "wrong":
            shutil.rmtree(folder)
    return outcome


def _look(folder: Path, file: str, model: ModelDatabase) -> tuple[str, list[str]]:
    """What becomes of it: a counter of Outcome, and what is wrong."""
    events: list[Event] = []
    try:
        db = DatabaseByName.open(data_of(folder), settings_in(folder, QUIET), Events(events.append))
    except OperatorError as error:
        named = _names(str(error), file)
        return ("at_open", []) if named else ("wrong", [f"the start says: {error}"])
    with db:
        scrub(db.stores, lambda seconds: False)
        errors, problems = _read(db, model)
    if any(isinstance(event, TornTailCut | LogMissing) for event in events):
        return ("torn" if problems else "harmless"), []
    if Path(file).name == "catalog.sqlite-wal" and not any(
        "rows" in problem for problem in problems
    ):
        return ("torn" if problems else "harmless"), []
    problems += [
        f"an error names another file: {error}" for error in errors if not _names(error, file)
    ]
    problems += [
        str(event)
        for event in events
        if isinstance(event, JobFailed) and not _names(event.reason, file)
    ]
    if problems:
        return "wrong", problems
    return ("refused" if errors else "harmless"), []


def _names(text: str, file: str) -> bool:
    """Whether an error is about this file: SQLite's files are one, and a lost file may be missed by
    what was in it.
    """
    name = Path(file).name
    if name == "FORMAT" and "has format" in text:
        return True
    return any(part in text for part in (name, name.removesuffix("-wal")))


def _read(db: DatabaseByName, model: ModelDatabase) -> tuple[list[str], list[str]]:
    """Errors of reads, and what is otherwise than in the model in collections without errors."""
    errors, problems = [], []
    names = set(db.collections()) | set(model.collections())
    for name in sorted(names):
        try:
            problems += _differences(db, model, name)
        except MilvineError as error:
            errors.append(str(error))
    return errors, problems


def _differences(db: DatabaseByName, model: ModelDatabase, name: str) -> list[str]:
    found = differences(_Only(db, name), _Only(model, name))  # type: ignore[arg-type]
    if name not in model.collections() or found:
        return found
    rows: Any = model.table(name).partitions
    vectors = np.concatenate([part.vectors for part in rows.values()])
    vectors, metric = vectors[findable(vectors)], model.definition(name).metric
    if not len(vectors):
        return found
    some = np.ascontiguousarray(vectors[:: max(1, len(vectors) // 50)])
    hits = db.search(name, Query(some, 1, {"nprobe": 64}))
    true = distances(some, vectors, metric)
    best = true.max(axis=1) if metric.larger_is_closer else true.min(axis=1)
    if not np.allclose(hits.distances[:, 0], best, rtol=1e-4, atol=1e-4):
        found.append(f"a search of {name} misses nearest rows")
    return found


class _Only:
    """A store of which one collection is seen."""

    def __init__(self, store: DatabaseByName | ModelDatabase, name: str) -> None:
        self._store, self._name = store, name

    def collections(self) -> list[str]:
        return [name for name in self._store.collections() if name == self._name]

    def __getattr__(self, what: str) -> Any:
        return getattr(self._store, what)
