"""Random writes from several threads, journalled: what the crash harness kills.

    python -m milvine.testing.crash.workload FOLDER --seed N (--ops M | --seconds S)

Threads share two collections (one with given, one with generated ids) so that their commits are
grouped, and each has one of its own that it drops and makes again with another dimension and
metric. Rows are plain, copies, zeros, or such that no search finds. The calls of the main thread
are interrupted now and then, and made again. A thread deletes only rows and drops only partitions
that it made itself: whatever the interleaving, the journal then says exactly what must be there.
Settings are tiny, so that flushes, merges, builds and new log files come all the time. Prints
`ready` once the database is open. Ends in order upon SIGTERM.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from milvine.catalog.place import IN_FOLDER
from milvine.config import Settings
from milvine.offline.manifest import backups
from milvine.offline.restore import restore
from milvine.testing.by_name import DatabaseByName
from milvine.testing.crash.interrupting import Interrupter, fork_soon
from milvine.testing.crash.journal import BATCH_IDS, Action, History, Journal, perform
from milvine.testing.crash.planning import (
    INDEXED_ROWS,
    INDEXES,
    RECENT,
    SHARED,
    Planner,
    search_params,
    shared_shape,
)
from milvine.testing.mix import EVERYTHING, Mix
from milvine.testing.model import lookup
from milvine.testing.place import backups_of, data_of, journal_of, settings_in
from milvine.testing.sample_rows import findable, same_rows
from milvine.types import Ids, Query

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
_GOING = ".going"


class Workload:
    """Threads that plan, journal and call until the time or the number of actions is used up."""

    def __init__(
        self,
        db: DatabaseByName,
        journal: Journal,
        history: History,
        seed: int,
        actions: int,
        seconds: float,
        mix: Mix,
    ) -> None:
        self.db, self.journal, self.history, self.seed, self.mix = db, journal, history, seed, mix
        self.folder = journal.file.with_suffix("")
        self._interrupter = Interrupter(seed) if mix.signals else None
        self._last = history.next_number + actions
        self._until = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._failed: list[BaseException] = []

    def run(self, threads: int) -> None:
        """The main thread is one of them. Raises what the first failing thread raised."""
        self._prepare()
        running = [
            threading.Thread(target=self._thread, args=(n,), name=f"workload-{n}")
            for n in range(1, threads)
        ]
        for one in running:
            one.start()
        self._thread(0)
        for one in running:
            one.join()
        if self._failed:
            raise self._failed[0]

    def stop(self, *_: object) -> None:
        """Have all threads end after the call they are in. A handler for signals."""
        self._until = 0

    def _prepare(self) -> None:
        """The shared collections, one of them with an index that has been built."""
        for name in SHARED:
            if not self.history.model.has_collection(name):
                shape = shared_shape(self.seed, name, self.mix)
                self._make(
                    Action(self.history.next_number, 0, "create_collection", name, setting=shape)
                )
        if not self.history.model.count("given"):
            number = self.history.next_number
            self._make(
                Action(
                    number,
                    0,
                    "insert",
                    "given",
                    rows=INDEXED_ROWS,
                    ids=((number * BATCH_IDS, INDEXED_ROWS),),
                )
            )
            index_type, params = INDEXES[self.seed % 2]
            setting = (int(index_type), json.dumps(params))
            self._make(Action(number + 1, 0, "create_index", "given", setting=setting))

    def _thread(self, thread: int) -> None:
        planner = Planner(self.seed, thread, self.history, self.mix)
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
        made = self._call(action)
        self.journal.done(action, made)
        with self._lock:
            self.history.end(action, made=made)

    def _call(self, action: Action) -> Ids | None:
        if self._interrupter and threading.current_thread() is threading.main_thread():
            return self._interrupter.call(
                action, partial(perform, self.db, action), self.journal.interrupted
            )
        return perform(self.db, action)

    def _look(self, action: Action) -> None:
        """What this thread was told is there must be seen at once, and what it deleted must not."""
        name = action.collection
        with self._lock:
            mine = self.history.owned(action.thread, name, self.history.live_ids(name))[-300:]
            gone = self.history.owned(action.thread, name, self.history.gone_ids(name, RECENT))[
                -300:
            ]
            _, expected = self.history.model.get(name, mine)
        found, vectors = lookup(self.db, name, np.concatenate([mine, gone]))
        assert found[: len(mine)].all(), (
            f"{name}: acknowledged rows are missing: {mine[~found[: len(mine)]][:5]}"
        )
        assert not found[len(mine) :].any(), (
            f"{name}: deleted rows are back: {gone[found[len(mine) :]][:5]}"
        )
        assert same_rows(vectors[: len(mine)], expected).all(), f"{name}: rows have other vectors"
        queries = expected[findable(expected)][:3]
        if len(queries):
            params = search_params(self.db.definition(name).index.type, 5)
            hits = self.db.search(name, Query(queries, 5, params))
            assert not np.isin(hits.ids, gone).any(), f"{name}: a deleted row was found"

    def _back_up(self, action: Action) -> None:
        """A backup holds what this thread was told is there, whatever the others do meanwhile."""
        place = backups_of(self.folder) / str(action.number)
        self.db.backup(place)
        with self._lock:
            mine = self.history.owned(action.thread, "given", self.history.live_ids("given"))
            gone = self.history.owned(
                action.thread, "given", self.history.gone_ids("given", RECENT)
            )
            _, expected = self.history.model.get("given", mine)
        restored = place / "restored"
        restore(place, restored)
        settings = replace(self.db.settings, background=False, meta_uri=IN_FOLDER, wal_path="")
        with DatabaseByName.open(restored, settings) as db:
            found, vectors = lookup(db, "given", np.concatenate([mine, gone]))
        assert found[: len(mine)].all(), f"a backup lacks rows: {mine[~found[: len(mine)]][:5]}"
        assert not found[len(mine) :].any(), "a backup holds deleted rows"
        assert same_rows(vectors[: len(mine)], expected).all(), "a backup holds other vectors"
        discard(place)


def settle_backups(folder: Path) -> None:
    """After a crash: whatever calls itself a backup can be restored. All are removed."""
    place = backups_of(folder)
    for each in sorted(place.glob("*")):
        if each.suffix != _GOING and backups(each):
            # The crash may have come while it was compared.
            shutil.rmtree(each / "restored", ignore_errors=True)
            restore(each, each / "restored")
    discard(place)


def discard(place: Path) -> None:
    """Remove a folder so that a kill in the middle leaves nothing that looks like a
    damaged backup.
    """
    going = place.with_name(place.name + _GOING)
    shutil.rmtree(going, ignore_errors=True)
    if place.exists():
        place.rename(going)
        shutil.rmtree(going)


def run(given: argparse.Namespace) -> None:
    """One life of the database, from opening to closing."""
    folder, settings = given.folder, settings_in(given.folder, tiny_settings(given.settings))
    journal_file = journal_of(folder)
    history = History.read(journal_file.read_bytes() if journal_file.exists() else b"")
    assert not history.under_way, "the journal has calls that nobody settled: run the checker first"
    settle_backups(folder)
    journal = Journal(journal_file)
    with DatabaseByName.open(data_of(folder), settings) as db:
        workload = Workload(db, journal, history, given.seed, given.ops, given.seconds, given.mix)
        signal.signal(signal.SIGTERM, workload.stop)
        if given.fork is not None:
            fork_soon(given.fork, given.seed)
        print("ready", flush=True)
        workload.run(given.threads)
    journal.close()


def tiny_settings(overrides: dict[str, Any] | None = None) -> Settings:
    return Settings(**{**TINY, **(overrides or {})})


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m milvine.testing.crash.workload")
    parser.add_argument("folder", type=Path, help="see milvine.testing.place")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ops", type=int, default=10**9)
    parser.add_argument("--seconds", type=float, default=10**9)
    parser.add_argument("--threads", type=int, default=3)
    parser.add_argument(
        "--settings", type=json.loads, default={}, help="JSON object laid over the tiny settings"
    )
    parser.add_argument(
        "--mix", type=Mix.from_json, default=EVERYTHING, help="JSON object: what is mixed"
    )
    parser.add_argument(
        "--fork", type=int, metavar="FD", help="fork a child that lives until this pipe is closed"
    )
    run(parser.parse_args(arguments))


if __name__ == "__main__":
    main()
