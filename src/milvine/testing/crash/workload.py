"""Random writes from several threads, journalled: what the crash harness kills.

    python -m milvine.testing.crash.workload FOLDER --seed N (--ops M | --seconds S)

Threads share two collections (one with given, one with generated ids) so that their commits are grouped, and each has
one of its own that it drops and makes again. A thread deletes only rows and drops only partitions that it made itself:
whatever the interleaving, the journal then says exactly what must be there. Settings are tiny, so that flushes, merges,
builds and new log files come all the time. Prints `ready` once the database is open.
"""

from __future__ import annotations

import argparse
import json
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from milvine.care.manifest import backups
from milvine.care.restore import restore
from milvine.catalog.place import IN_FOLDER
from milvine.config import Settings
from milvine.engine.database import Database
from milvine.testing.crash.journal import BATCH_IDS, OWNER_IDS, Action, History, Journal, perform, runs_of
from milvine.testing.model import lookup
from milvine.types import IndexType, MetricType, Query

TINY: dict[str, Any] = {
    "auto_flush_interval": 0.05,
    "auto_flush_tail_bytes": 48 << 10,
    "auto_flush_tail_age": 0.3,
    "file_cleanup_timeout": 0.1,
    "wal_file_bytes": 128 << 10,
    "insert_buffer_size": 2 << 20,
    "unindexed_rows_max": 5000,
    "search_threads": 2,
    "build_threads": 1,
}
SHARED = {"given": (32, 1, MetricType.L2), "auto": (16, 1, MetricType.L2)}
OWN = (8, 1, MetricType.IP)
ROWS_MAX = 7000  # of one thread in one collection; past it deletes come first
INDEXED_ROWS = 4500  # segments of fewer than 4096 get no index
_GOING = ".going"
RECENT = 60  # inserts among which deleted ids are looked for
INDEXES: tuple[tuple[IndexType, dict[str, int]], ...] = (
    (IndexType.IVF_FLAT, {"nlist": 16}),
    (IndexType.HNSW, {"M": 6, "efConstruction": 24}),
    (IndexType.IVF_SQ8, {"nlist": 8}),
    (IndexType.FLAT, {}),
)
WEIGHTS = {
    "insert": 36,
    "insert_large": 5,
    "insert_again": 8,
    "delete": 16,
    "look": 8,
    "flush": 5,
    "compact": 2,
    "index": 6,
    "partition": 6,
    "own": 3,
    "backup": 3,
}


def own_name(thread: int) -> str:
    return f"own{thread}"


def search_params(index_type: IndexType, k: int) -> dict[str, int]:
    """Parameters under which a search is exact, or, for a graph, thorough."""
    return {"ef": max(k, 64)} if index_type is IndexType.HNSW else {"nprobe": 64}


class Planner:
    """What one thread does next: any call that is legal now and touches nobody else's rows."""

    def __init__(self, seed: int, thread: int, history: History) -> None:
        self.random, self.thread, self.history = Random(f"{seed}/{thread}"), thread, history

    def next(self, number: int) -> Action:
        """The next action. A thread that has too many rows deletes some first."""
        for name in ("given", "auto"):
            if len(self._mine(name)) > ROWS_MAX:
                return self._delete(number, name, ROWS_MAX // 2)
        kind = self.random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        action: Action = getattr(self, f"_{kind}")(number)
        return action

    def _mine(self, name: str, tag: str = "") -> Any:
        return self.history.owned(self.thread, name, self.history.live_ids(name, tag))

    def _collection(self) -> str:
        names = ("given", "given", "auto", own_name(self.thread))
        return self.random.choice([name for name in names if self.history.model.has_collection(name)])

    def _tags(self, name: str) -> list[str]:
        return [tag for tag in self.history.model.partitions(name) if tag.startswith(f"t{self.thread}x")]

    def _action(self, number: int, kind: str, name: str = "", **rest: Any) -> Action:
        return Action(number, self.thread, kind, name, **rest)

    def _insert(self, number: int, rows: int = 0, name: str = "") -> Action:
        name = name or self._collection()
        rows = rows or int(self.random.lognormvariate(3, 1.5)) % 800 + 1
        tag = self.random.choice(["", "", *self._tags(name)])
        ids = None if name == "auto" else ((self.thread * OWNER_IDS + number * BATCH_IDS, rows),)
        return self._action(number, "insert", name, tag=tag, rows=rows, ids=ids)

    def _insert_large(self, number: int) -> Action:
        return self._insert(number, self.random.randint(1500, 6000), self.random.choice(["given", "given", "auto"]))

    def _insert_again(self, number: int) -> Action:
        """New vectors under ids that were deleted before: the old rows must not come back with them."""
        name = self.random.choice(["given", own_name(self.thread)])
        if not self.history.model.has_collection(name):
            return self._insert(number)
        gone = self.history.owned(self.thread, name, self.history.gone_ids(name, RECENT))
        gone = gone[-self.random.randint(1, 200) :]
        if not len(gone):
            return self._insert(number)
        return self._action(number, "insert", name, rows=len(gone), ids=runs_of(gone))

    def _delete(self, number: int, name: str = "", rows: int = 0) -> Action:
        name = name or self._collection()
        tag = "" if rows else self.random.choice(["", "", "_default", *self._tags(name)])
        mine = self._mine(name, tag)
        if not len(mine):
            return self._insert(number)
        rows = min(len(mine), rows or self.random.choice([1, 5, 50, 400]))
        first = self.random.randrange(len(mine) - rows + 1)
        chosen = mine[first : first + rows]
        if self.random.random() < 0.3:
            chosen = np.array(self.random.sample(mine.tolist(), rows))
        return self._action(number, "delete", name, tag=tag, ids=runs_of(np.sort(chosen)))

    def _look(self, number: int) -> Action:
        return self._action(number, "look", self._collection())

    def _backup(self, number: int) -> Action:
        return self._action(number, "backup", "given")

    def _flush(self, number: int) -> Action:
        return self._action(number, "flush", self.random.choice(["", "given", "auto"]))

    def _compact(self, number: int) -> Action:
        return self._action(number, "compact", self._collection())

    def _index(self, number: int) -> Action:
        """Thread 0 sets the indexes of the shared collections: then the last setting is known."""
        name = self.random.choice([*(SHARED if self.thread == 0 else ()), own_name(self.thread)])
        if not self.history.model.has_collection(name):
            return self._own(number)
        if self.random.random() < 0.2:
            return self._action(number, "drop_index", name)
        index_type, params = self.random.choice(INDEXES if name != "auto" else INDEXES[:1])
        return self._action(number, "create_index", name, setting=(int(index_type), json.dumps(params)))

    def _partition(self, number: int) -> Action:
        name = self._collection()
        tags = self._tags(name)
        if len(tags) > 3 or (tags and self.random.random() < 0.3):
            return self._action(number, "drop_partition", name, tag=self.random.choice(tags))
        return self._action(number, "create_partition", name, tag=f"t{self.thread}x{number}")

    def _own(self, number: int) -> Action:
        name = own_name(self.thread)
        if self.history.model.has_collection(name):
            return self._action(number, "drop_collection", name)
        return self._action(number, "create_collection", name, setting=tuple(int(value) for value in OWN))


class Workload:
    """Threads that plan, journal and call until the time or the number of actions is used up."""

    def __init__(
        self, db: Database, journal: Journal, history: History, seed: int, actions: int, seconds: float
    ) -> None:
        self.db, self.journal, self.history, self.seed = db, journal, history, seed
        self.folder = journal.file.with_suffix("")
        self._last = history.next_number + actions
        self._until = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._failed: list[BaseException] = []

    def run(self, threads: int) -> None:
        """Raises what the first failing thread raised."""
        self._prepare()
        running = [threading.Thread(target=self._thread, args=(n,), name=f"workload-{n}") for n in range(threads)]
        for one in running:
            one.start()
        for one in running:
            one.join()
        if self._failed:
            raise self._failed[0]

    def _prepare(self) -> None:
        """The shared collections, one of them with an index that has been built."""
        for name, shape in SHARED.items():
            if not self.history.model.has_collection(name):
                number = self.history.next_number
                self._make(Action(number, 0, "create_collection", name, setting=tuple(int(value) for value in shape)))
        if not self.history.model.count("given"):
            number = self.history.next_number
            self._make(
                Action(number, 0, "insert", "given", rows=INDEXED_ROWS, ids=((number * BATCH_IDS, INDEXED_ROWS),))
            )
            index_type, params = INDEXES[self.seed % 2]
            setting = (int(index_type), json.dumps(params))
            self._make(Action(number + 1, 0, "create_index", "given", setting=setting))

    def _thread(self, thread: int) -> None:
        planner = Planner(self.seed, thread, self.history)
        try:
            while not self._failed and time.monotonic() < self._until:
                with self._lock:
                    action = planner.next(self.history.next_number)
                    if action.number >= self._last:
                        return
                    self.history.next_number += 1
                if action.kind == "look":
                    self._look(action)
                elif action.kind == "backup":
                    self._back_up(action)
                else:
                    self._make(action)
        except BaseException as error:
            error.add_note(f"while doing {action}") if hasattr(error, "add_note") else None
            self._failed.append(error)

    def _make(self, action: Action) -> None:
        with self._lock:
            self.history.begin(action)
        self.journal.do(action)
        made = perform(self.db, action)
        self.journal.done(action, made)
        with self._lock:
            self.history.end(action, made=made)

    def _look(self, action: Action) -> None:
        """What this thread was told is there must be seen at once, and what it deleted must not."""
        name = action.collection
        with self._lock:
            mine = self.history.owned(action.thread, name, self.history.live_ids(name))[-300:]
            gone = self.history.owned(action.thread, name, self.history.gone_ids(name, RECENT))[-300:]
            _, expected = self.history.model.get(name, mine)
        found, vectors = lookup(self.db, name, np.concatenate([mine, gone]))
        assert found[: len(mine)].all(), f"{name}: acknowledged rows are missing: {mine[~found[: len(mine)]][:5]}"
        assert not found[len(mine) :].any(), f"{name}: deleted rows are back: {gone[found[len(mine) :]][:5]}"
        assert (vectors[: len(mine)] == expected).all(), f"{name}: rows have other vectors"
        if len(mine):
            params = search_params(self.db.collection(name).index.type, 5)
            hits = self.db.search(name, Query(expected[:3], 5, params))
            assert not np.isin(hits.ids, gone).any(), f"{name}: a deleted row was found"

    def _back_up(self, action: Action) -> None:
        """A backup holds what this thread was told is there, whatever the others do meanwhile."""
        place = backups_of(self.folder) / str(action.number)
        self.db.backup(place)
        with self._lock:
            mine = self.history.owned(action.thread, "given", self.history.live_ids("given"))
            gone = self.history.owned(action.thread, "given", self.history.gone_ids("given", RECENT))
            _, expected = self.history.model.get("given", mine)
        restored = place / "restored"
        restore(place, restored)
        with Database.open(restored, replace(self.db.settings, background=False, meta_uri=IN_FOLDER)) as db:
            found, vectors = lookup(db, "given", np.concatenate([mine, gone]))
        assert found[: len(mine)].all(), f"a backup lacks rows: {mine[~found[: len(mine)]][:5]}"
        assert not found[len(mine) :].any(), "a backup holds deleted rows"
        assert (vectors[: len(mine)] == expected).all(), "a backup holds other vectors"
        discard(place)


def settle_backups(folder: Path) -> None:
    """After a crash: whatever calls itself a backup can be restored. All are removed."""
    place = backups_of(folder)
    for each in sorted(place.glob("*")):
        if each.suffix != _GOING and backups(each):
            shutil.rmtree(each / "restored", ignore_errors=True)  # the crash may have come while it was compared
            restore(each, each / "restored")
    discard(place)


def discard(place: Path) -> None:
    """Remove a folder so that a kill in the middle leaves nothing that looks like a damaged backup."""
    going = place.with_name(place.name + _GOING)
    shutil.rmtree(going, ignore_errors=True)
    if place.exists():
        place.rename(going)
        shutil.rmtree(going)


def run(folder: Path, seed: int, actions: int, seconds: float, threads: int, settings: Settings) -> None:
    """One life of the database, from opening to closing."""
    journal_file = journal_of(folder)
    history = History.read(journal_file.read_bytes() if journal_file.exists() else b"")
    assert not history.under_way, "the journal has calls that nobody settled: run the checker first"
    settle_backups(folder)
    journal = Journal(journal_file)
    with Database.open(folder, settings) as db:
        print("ready", flush=True)
        Workload(db, journal, history, seed, actions, seconds).run(threads)
    journal.close()


def tiny_settings(overrides: dict[str, Any] | None = None) -> Settings:
    return Settings(**{**TINY, **(overrides or {})})


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m milvine.testing.crash.workload")
    parser.add_argument("folder", type=Path, help="the database; its journal is FOLDER.journal")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ops", type=int, default=10**9)
    parser.add_argument("--seconds", type=float, default=10**9)
    parser.add_argument("--threads", type=int, default=3)
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON object laid over the tiny settings")
    given = parser.parse_args(arguments)
    run(given.folder, given.seed, given.ops, given.seconds, given.threads, tiny_settings(given.settings))


def backups_of(folder: Path) -> Path:
    return folder.with_name(folder.name + ".backups")


def journal_of(folder: Path) -> Path:
    return folder.with_name(folder.name + ".journal")


if __name__ == "__main__":
    main()
