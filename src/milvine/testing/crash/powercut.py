"""Power cuts: a workload is recorded, its folder is rebuilt as it may have been left at many
points, and opened.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, takewhile
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from milvine.testing.crash.command import module_command
from milvine.testing.crash.journal import tried_in
from milvine.testing.crash.simulate import Disk, Mode, acknowledged, crash_points
from milvine.testing.crash.trace import Record, Untraceable, read_trace, under_tracer
from milvine.testing.crash.verify import CHECKER, CheckerProcess, Report
from milvine.testing.mix import EVERYTHING, Mix
from milvine.testing.place import has_log_elsewhere, journal_of, make_place, readdress

STATES_PER_TRACE = 20
ACTIONS_PER_TRACE = 150
_MODES = (Mode.TORN, Mode.FORGET, Mode.PREFIX, Mode.REORDER, Mode.TORN, Mode.KEEP)


@dataclass(frozen=True)
class PowerCuts:
    """How to record and what to simulate. The two storage options are those of `Disk`."""

    work: Path
    tracer: Path
    seed: int = 0
    settings: dict[str, Any] | None = None
    actions: int = ACTIONS_PER_TRACE
    names_follow_sync: bool = False
    lies: str | None = None
    checkers: int = 2
    mix: Mix = EVERYTHING

    def run(self, states: int) -> Report:
        """Checks `states` crash states, a few of each trace.

        Every second trace starts from a crash state of the one before, so that recovery itself is
        cut off too. States where something was wrong stay in `work`.
        """
        total, base = Report(), None
        with _Pool(self.checkers, self.settings or {}) as pool:
            for trace, first in enumerate(range(0, states, STATES_PER_TRACE)):
                life = _Life(self, trace, base)
                error = life.record()
                if error:
                    total.note("failures", f"the workload failed in {life.folder}:\n{error}")
                    break
                total.count(life.tried())
                base = life.check(min(STATES_PER_TRACE, states - first), pool, total)
                life.remove()
                base = base if trace % 2 == 0 and total.ok else None
        return total


class _Pool:
    """Checking processes, each busy with one folder at a time."""

    def __init__(self, count: int, settings: dict[str, Any]) -> None:
        self._free: SimpleQueue[CheckerProcess] = SimpleQueue()
        self._all = [CheckerProcess(settings) for _ in range(count)]
        for checker in self._all:
            self._free.put(checker)
        self._threads = ThreadPoolExecutor(count)

    def check(self, folder: Path) -> Future[Report]:
        return self._threads.submit(self._check, folder)

    def _check(self, folder: Path) -> Report:
        checker = self._free.get()
        try:
            return checker.check(folder)
        finally:
            self._free.put(checker)

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown()
        for checker in self._all:
            checker.close()


class _Life:
    """One recorded run of the workload, and the crashes in it."""

    def __init__(self, cuts: PowerCuts, number: int, base: Path | None) -> None:
        self.cuts, self.number = cuts, number
        self.home = cuts.work / f"trace{cuts.seed}-{number}"
        self.folder = self.home / "db"
        self._start = self.home / "start"
        self.home.mkdir(parents=True)
        if base is None:
            make_place(self._start, cuts.mix.log(cuts.seed + number // 2))
            self._before = b""
        else:
            base.rename(self._start)
            readdress(self._start, base, self.folder)
            self._before = journal_of(base).read_bytes()
        shutil.copytree(self._start, self.folder)
        journal_of(self.folder).write_bytes(self._before)
        self._records: list[Record] = []

    def record(self) -> str:
        """Runs the workload to its end; what it complained of. Raises Untraceable when the trace
        misses something.
        """
        seed, trace = f"{self.cuts.seed * 1000 + self.number}", self.home / "trace"
        arguments = [str(self.folder), "--seed", seed, "--ops", str(self.cuts.actions)]
        arguments += [
            "--settings",
            json.dumps(self.cuts.settings or {}),
            "--mix",
            self.cuts.mix.to_json(),
        ]
        command = module_command("milvine.testing.crash.workload", arguments)
        traced = under_tracer(
            self.cuts.tracer, self.folder, trace, journal_of(self.folder), command
        )
        done = subprocess.run(traced, capture_output=True, text=True, check=False)
        if done.returncode:
            return done.stderr[-6000:] or f"status {done.returncode}"
        self._records = read_trace(trace)
        self._compare()
        return ""

    def tried(self) -> dict[str, int]:
        """What this life did under what."""
        figures = {"traces": 1, "logs elsewhere": int(has_log_elsewhere(self.folder))}
        return figures | tried_in(journal_of(self.folder).read_bytes()[len(self._before) :])

    def _disk(self) -> Disk:
        return Disk.load(self._start, self.cuts.names_follow_sync, self.cuts.lies)

    def _compare(self) -> None:
        disk = self._disk()
        for record in self._records:
            disk.apply(record)
        simulated, real = disk.files(), dict(_files(self.folder))
        differing = [
            name for name in simulated.keys() | real.keys() if simulated.get(name) != real.get(name)
        ]
        if differing:
            raise Untraceable(f"the trace does not tell what became of {sorted(differing)}")

    def check(self, states: int, pool: _Pool, total: Report) -> Path | None:
        """Checks crash states and adds what was found to `total`; one more state to start the next
        trace from.
        """
        random = np.random.default_rng([self.cuts.seed, self.number])
        points = crash_points(self._records, states + 1, random)
        chosen = int(random.integers(len(points)))
        base, running = None, []
        for state, folder in enumerate(self._crashes(points, random)):
            if state == chosen:
                base = folder.with_name("base")
                shutil.copytree(folder, base)
                readdress(base, folder, base)
            running.append((folder, pool.check(folder)))
        for state, (folder, report) in enumerate(running):
            found = report.result()
            found.notes = [
                f"{folder.parent.name} (record {points[state]}): {note}" for note in found.notes
            ]
            total.add(found)
            if state == chosen and base is not None:
                journal_of(base).write_bytes(_settled_part(journal_of(folder)))
            if found.ok and state != chosen:
                shutil.rmtree(folder.parent)
        return base

    def _crashes(self, points: list[int], random: np.random.Generator) -> Iterator[Path]:
        disk, at, modes = self._disk(), 0, cycle(_MODES)
        journal = self._before
        for state, point in enumerate(points):
            for record in self._records[at:point]:
                disk.apply(record)
            journal += acknowledged(self._records[at:point])
            at, mode = point, next(modes)
            folder = (
                self.cuts.work / f"state{self.cuts.seed}-{self.number}-{state}-{mode.value}" / "db"
            )
            folder.parent.mkdir()
            disk.crash(folder, mode, random)
            readdress(folder, self.folder, folder)
            journal_of(folder).write_bytes(journal)
            yield folder

    def remove(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)


def _settled_part(journal: Path) -> bytes:
    """The journal of a checked state without what the checker itself went on to do."""
    own = f'"thread":{CHECKER},'.encode()
    lines: list[bytes] = journal.read_bytes().splitlines(keepends=True)
    return b"".join(takewhile(lambda line: own not in bytes(line), lines))


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.endswith("-shm"):
            yield str(path.relative_to(folder)), path.read_bytes()
