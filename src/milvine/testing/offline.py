"""Damage done on purpose, and what `milvine verify`, `repair`, `backup` and `restore` make of it.

    python -m milvine.testing.offline flips --count 500 --seed 1

makes small databases with everything in them (partitions, deletes, a merge, an index, an unflushed
tail; collections of several dimensions, float and binary; copies, zeros; the log in the data folder
and elsewhere), and again and again flips one byte somewhere in a copy: `verify` must name the file,
or the byte must not matter; after `repair` the folder must be clean and open, and every row outside
the damaged part must be there, once, with its vector. Prints one line of figures, after one that
says what was mixed, and ends with 1 when something was wrong.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import numpy as np

from milvine.config import Settings
from milvine.errors import MilvineError
from milvine.offline.repair import repair
from milvine.offline.verify import verify
from milvine.storage.log_notes import LOG_NOTE, LOG_OWNER, Note, read_note, write_note
from milvine.testing.by_name import DatabaseByName
from milvine.testing.mix import EVERYTHING, Mix, add_options, from_options
from milvine.testing.model import ModelDatabase, Store, lookup
from milvine.testing.place import data_of, make_place, readdress, settings_in
from milvine.testing.sample_rows import same_rows, vectors_of
from milvine.types import Ids, IndexSetting, IndexType, MetricType

QUIET = Settings(
    background=False, build_in_subprocess=False, search_threads=1, build_threads=1, mmap=False
)
_DIMENSION = 8
_FEW = 30
_NOT_READ = ("LOCK", "catalog.sqlite-shm")


def make_sample(
    root: Path, rows: int = 5500, log: Path | None = None, mix: Mix | None = None
) -> ModelDatabase:
    """A database in `root` as a killed process leaves it, and the model of what is in it.

    Args:
        log: where its log is, if that is not in `root`.
        mix: what else to put into it.
    """
    model, live = ModelDatabase(), root.with_name(root.name + ".live")
    log_live = log and log.with_name(log.name + ".live")
    with DatabaseByName.open(live, quiet(log_live)) as db:
        fill(db, model, rows)
        if mix:
            fill_more(db, model, mix)
        copy_database(live, root, log_live, log)
    shutil.rmtree(live)
    if log_live:
        shutil.rmtree(log_live, ignore_errors=True)  # it may have been in the other
    return model


def quiet(log: Path | None) -> Settings:
    """Settings of a database that does nothing by itself, with its log elsewhere if `log`
    is given.
    """
    return replace(QUIET, wal_path=str(log)) if log else QUIET


def copy_database(
    source: Path, root: Path, source_log: Path | None = None, log: Path | None = None
) -> None:
    """Copy a data folder, and a log that lies elsewhere, as if the database had always been where
    the copy is.
    """
    shutil.copytree(source, root)
    if source_log and log:
        if source_log.is_relative_to(source):
            (root / source_log.relative_to(source)).rename(log)
        else:
            shutil.copytree(source_log, log)
        note = read_note(root / LOG_NOTE)
        assert note
        write_note(root / LOG_NOTE, Note(note.database, str(log)))
        write_note(log / LOG_OWNER, Note(note.database, str(root)))


def fill(db: DatabaseByName, model: ModelDatabase, rows: int) -> None:
    """Every kind of file: rows of two partitions, a merge, tombstones, an index, an unflushed tail
    with deletes.
    """
    random = np.random.default_rng(5)

    def insert(name: str, ids: Ids | None, count: int, tag: str = "") -> Ids:
        vectors = random.random((count, _DIMENSION), dtype=np.float32)
        made = db.insert(name, vectors, ids, tag)
        model.insert(name, vectors, ids, tag, generated=made)
        return made

    for store in _both(db, model):
        store.create_collection("gone", _DIMENSION, 1, MetricType.L2)
    insert("gone", np.arange(20), 20)
    db.flush()
    for store in _both(db, model):
        store.drop_collection("gone")
        for name, metric in (
            ("given", MetricType.L2),
            ("auto", MetricType.IP),
            ("fresh", MetricType.L2),
        ):
            store.create_collection(name, _DIMENSION, 1, metric)
        store.create_partition("given", "p")
        store.create_partition("given", "empty")
        store.create_collection("empty", 64, 7, MetricType.L2)
    insert("given", np.arange(rows), rows)
    insert("given", random.permutation(np.arange(rows, rows + 100)), 100, "p")
    generated = insert("auto", None, 50)
    db.flush()
    for store in _both(db, model):
        store.delete("given", np.arange(0, rows // 5))
        store.delete("auto", generated[:3])
    db.flush()
    db.compact("given")
    for store in _both(db, model):
        store.create_index("given", IndexSetting.of(IndexType.IVF_FLAT, {"nlist": 8}))
        store.delete("given", np.arange(rows - 20, rows + 3))
    insert("given", np.arange(rows + 200, rows + 260), 60, "p")
    db.flush()
    insert("given", np.arange(rows + 300, rows + 330), 30)
    insert("auto", None, 20)
    insert("fresh", np.arange(7), 7)
    for store in _both(db, model):
        store.delete("given", np.arange(rows + 250, rows + 305))
        store.delete("fresh", np.array([2]))


def fill_more(db: DatabaseByName, model: ModelDatabase, mix: Mix) -> None:
    """Collections of each dimension with rows of each content, flushed and not, some deleted."""
    random = Random(5)
    for dimension in mix.dimensions:
        name = f"of{dimension}"
        metric = mix.metric(dimension, random)
        for store in _both(db, model):
            store.create_collection(name, dimension, 1, metric)
        for life in range(2):
            for number, content in enumerate(mix.rows):
                ids = np.arange(_FEW) + (life * len(mix.rows) + number) * _FEW
                vectors = vectors_of(number, _FEW, metric.width(dimension), metric, content)
                for store in _both(db, model):
                    store.insert(name, vectors, ids)
                    store.delete(name, ids[:3])
            if not life:
                db.flush([name])


def _both(db: DatabaseByName, model: ModelDatabase) -> Iterator[Store]:
    yield from (db, model)


@dataclass
class Outcome:
    """What was found wrong; every number but `tried`, `named` and `rows` must be 0."""

    tried: int = 0
    named: int = 0  # verify named the file; the others did not matter
    rows: int = 0  # compared
    lost_with_damage: int = 0  # rows in the damaged part, which repair said were lost
    missed: int = 0
    wrong: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not (self.missed or self.wrong)

    def fail(self, counter: str, what: str) -> None:
        setattr(self, counter, getattr(self, counter) + 1)
        self.notes.append(what)


def differences(
    db: DatabaseByName, model: ModelDatabase, lost: int = 0, returning: int = 0
) -> list[str]:
    """What `db` has otherwise than `model`, where up to `lost` rows may be missing and `returning`
    be back.
    """
    found = []
    if sorted(db.collections()) != sorted(model.collections()):
        found.append(f"collections {db.collections()}, not {model.collections()}")
    missing = 0
    for name in sorted(set(model.collections()) & set(db.collections())):
        table = model.table(name)
        shapes = [
            (c.dimension, c.metric, c.index_file_size_mb, c.index)
            for c in (db.definition(name), table.collection)
        ]
        if shapes[0] != shapes[1]:
            found.append(f"{name} is {shapes[0]}, not {shapes[1]}")
        if sorted(db.partitions(name)) != sorted(model.partitions(name)):
            found.append(
                f"{name} has partitions {db.partitions(name)}, not {model.partitions(name)}"
            )
            continue
        here = 0
        for tag, rows in table.partitions.items():
            there, vectors = lookup(db, name, rows.ids, (tag,))
            here += int(there.sum())
            missing += int((~there).sum())
            bad = there & ~same_rows(vectors, rows.vectors)
            if bad.any():
                found.append(f"{name}/{tag}: {int(bad.sum())} rows have other vectors")
        if not here <= db.count(name) <= here + returning:
            found.append(f"{name} counts {db.count(name)} rows, {here} of them are known")
    if missing > lost:
        found.append(f"{missing} rows are missing, {lost} may be")
    return found


def files_that_matter(folder: Path) -> list[Path]:
    """Of the disk `folder`: what is read when its database is opened, and is not empty."""
    files = (
        path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in _NOT_READ
    )
    return [path for path in files if path.stat().st_size]


def name_of_file(folder: Path, path: Path) -> str:
    """What `milvine verify` calls a file: relative to the data folder if it lies in it."""
    data = data_of(folder)
    return str(path.relative_to(data)) if path.is_relative_to(data) else str(path)


def damaged_copies(
    work: Path, name: str, count: int, rows: int, mix: Mix
) -> Iterator[tuple[Path, ModelDatabase]]:
    """`count` copies of samples in `work`, to be damaged, each with the model of what is in it.

    Every other sample was closed: all is flushed, and the log cannot stand in for what is damaged.
    The log is in the places of `mix` in turn.
    """
    samples = [sample for log in mix.logs for sample in _samples(work, log, rows, mix)]
    for number in range(count):
        folder = work / f"{name}-{number}"
        source, model = samples[number % len(samples)]
        _copy_place(source, folder)
        yield folder, model


def _samples(work: Path, log: str, rows: int, mix: Mix) -> Iterator[tuple[Path, ModelDatabase]]:
    """One that was killed, and one that was closed."""
    killed, closed = work / f"killed-{log}", work / f"closed-{log}"
    make_place(killed, log)
    wal_path = settings_in(killed, QUIET).wal_path
    model = make_sample(data_of(killed), rows, Path(wal_path) if wal_path else None, mix)
    _copy_place(killed, closed)
    DatabaseByName.open(data_of(closed), settings_in(closed, QUIET)).close()
    yield from ((killed, model), (closed, model))


def _copy_place(source: Path, folder: Path) -> None:
    shutil.copytree(source, folder)
    readdress(folder, source, folder)


def flip(folder: Path, random: Random) -> tuple[str, int]:
    """Change one byte of one file; (what `name_of_file` calls it, offset)."""
    path = random.choice(files_that_matter(folder))
    data = bytearray(path.read_bytes())
    at = random.randrange(len(data))
    data[at] ^= 1 << random.randrange(8)
    path.write_bytes(data)
    return name_of_file(folder, path), at


def flips(count: int, seed: int, work: Path, rows: int = 5500, mix: Mix = EVERYTHING) -> Outcome:
    """`count` times: one flipped byte in a copy of a sample, verify, repair, compare."""
    random, outcome = Random(seed), Outcome()
    for folder, model in damaged_copies(work, f"flip{seed}", count, rows, mix):
        file, at = flip(folder, random)
        before = len(outcome.notes)
        _one_flip(folder, file, at, model, outcome)
        if len(outcome.notes) == before:
            shutil.rmtree(folder)
    return outcome


def _one_flip(folder: Path, file: str, at: int, model: ModelDatabase, outcome: Outcome) -> None:
    outcome.tried += 1
    where, root, settings = (
        f"{folder.name}: {file} at {at}",
        data_of(folder),
        settings_in(folder, QUIET),
    )
    log = Path(settings.wal_path) if settings.wal_path else None
    try:
        report = verify(root, log=log)
        named = any(_is_about(finding.file, file) for finding in report.findings)
        outcome.named += named
        done = repair(
            root, skip_log_damage=True, dry_run=False, ignore_format=file == "FORMAT", log=log
        )
        lost = done.lost_rows + done.lost_records * 1000
        outcome.lost_with_damage += done.lost_rows
        report = verify(root)
        for finding in report.findings:
            if finding.damage:
                outcome.fail("wrong", f"{where}: after repair: {finding}")
        with DatabaseByName.open(root, settings) as db:
            found = differences(db, model, lost if named else 0, done.returning_rows)
            outcome.rows += sum(db.count(name) for name in db.collections())
    except MilvineError as error:
        outcome.fail("wrong", f"{where}: {type(error).__name__}: {error}")
        return
    for what in found:
        outcome.fail("wrong" if named else "missed", f"{where}: {what}")


def _is_about(finding: str, file: str) -> bool:
    return finding == file or Path(finding).parts[:1] == Path(file).parts[:1]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m milvine.testing.offline", description=__doc__.split("\n")[0]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("flips", help="one flipped byte at a time")
    command.add_argument("--count", type=int, default=500)
    command.add_argument("--seed", type=int, default=1)
    command.add_argument(
        "--work", type=Path, help="where folders go; those that went wrong are left there"
    )
    add_options(command, pinned=())
    given = parser.parse_args(arguments)
    mix = from_options(given)
    work = given.work or Path(tempfile.mkdtemp(prefix="milvine-offline-"))
    work.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    outcome = flips(given.count, given.seed, work, mix=mix)
    print(*outcome.notes, sep="\n", end="\n" if outcome.notes else "")
    print(f"mixed: {mix}")
    print(
        f"flips {outcome.tried}, named {outcome.named}, of no effect"
        f" {outcome.tried - outcome.named - outcome.missed}, missed {outcome.missed}, wrong after"
        f" repair {outcome.wrong}, rows compared {outcome.rows}, rows lost with the damage"
        f" {outcome.lost_with_damage}, {time.monotonic() - began:.0f} s"
    )
    return 0 if outcome.ok else 1


if __name__ == "__main__":
    sys.exit(main())
