"""`kill -9` at random moments, over and over on one folder; of stopped and ending processes too."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from milvine.testing.crash.command import module_command
from milvine.testing.crash.journal import tried_in
from milvine.testing.crash.verify import CheckerProcess, Report
from milvine.testing.crash.workload import settle_backups
from milvine.testing.mix import EVERYTHING, Mix
from milvine.testing.place import data_of, has_log_elsewhere, journal_of, make_place, remove_place

CYCLES_PER_FOLDER = 10
"""The model is rebuilt from the whole journal each time, so a folder is given up before that takes
long.
"""
_FOLDER_CYCLES_MIN = 4
_FORKED = 0.3  # share of lives in which a child is forked
_ENDS = ("killed", "killed", "stopped", "asked to end")


@dataclass(frozen=True)
class Kills:
    """Where folders go, what is mixed; `settings` are laid over the tiny ones of the workload."""

    work: Path
    seed: int
    settings: dict[str, Any]
    mix: Mix = EVERYTHING

    def run(self, cycles: int) -> Report:
        """Starts the workload, kills it, checks; `cycles` times. Folders that went wrong stay."""
        random, total = Random(self.seed), Report()
        checker = CheckerProcess(self.settings)
        each = min(CYCLES_PER_FOLDER, max(_FOLDER_CYCLES_MIN, -(-cycles // 2)))
        for number, first in enumerate(range(0, cycles, each)):
            folder = self.work / f"kill{self.seed}-{first}"
            make_place(folder, self.mix.log(self.seed + number))
            total.add(self._cycles(folder, min(each, cycles - first), random, checker))
            if total.ok:
                settle_backups(folder)
                remove_place(folder)
        checker.close()
        return total

    def _cycles(self, folder: Path, cycles: int, random: Random, checker: CheckerProcess) -> Report:
        total = Report(tried={"folders": 1, "logs elsewhere": int(has_log_elsewhere(folder))})
        journal_of(folder).touch()
        for _ in range(cycles):
            self._cycle(folder, random, checker, total)
            if not total.ok:
                break
        total.count(tried_in(journal_of(folder).read_bytes()))
        return total

    def _cycle(self, folder: Path, random: Random, checker: CheckerProcess, total: Report) -> None:
        seed, before = random.randrange(10**6), total.acknowledged
        with _held_by_a_child(self.mix.forks and random.random() < _FORKED) as pipe:
            error = self._live_and_die(folder, seed, random, pipe, total)
            if error:
                total.note(
                    "failures", f"the workload failed in {data_of(folder)}, seed {seed}:\n{error}"
                )
                return
            report = checker.check(folder)
        report.notes = [f"{folder}, seed {seed}: {note}" for note in report.notes]
        report.acknowledged -= before  # the journal counts from the first cycle on
        total.add(report)

    def _live_and_die(
        self, folder: Path, seed: int, random: Random, pipe: int | None, total: Report
    ) -> str:
        """One life of the workload; what it complained of before it was killed, if it did."""
        arguments = [str(folder), "--seed", str(seed), "--settings", json.dumps(self.settings)]
        arguments += ["--mix", self.mix.to_json(), *(["--fork", str(pipe)] if pipe else [])]
        process = subprocess.Popen(
            module_command("milvine.testing.crash.workload", arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            pass_fds=(pipe,) if pipe else (),
            text=True,
        )
        assert process.stdout and process.stderr
        if random.random() < 0.15:
            time.sleep(random.uniform(0.3, 1.0))  # perhaps while it opens the database
        else:
            process.stdout.readline()
            time.sleep(random.uniform(0.2, 2.0))
        status = process.poll()
        if status is None:
            how = random.choice(_ENDS) if self.mix.signals else _ENDS[0]
            total.count({how: 1, "children forked": int(pipe is not None)})
            status = _end(process, how, random)
        error = (
            process.stderr.read() or f"it ended by itself, status {status}"
            if status is not None
            else ""
        )
        process.stdout.close()
        process.stderr.close()
        return error


@contextmanager
def _held_by_a_child(forked: bool) -> Iterator[int | None]:
    """The end of a pipe that a child is to wait at; it ends when the context does."""
    if not forked:
        yield None
        return
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)


def _end(process: subprocess.Popen[str], how: str, random: Random) -> int | None:
    """Kills it. The status of a process that was asked to end and could not do it in order."""
    # A build in another process may outlive it, and write on while the next life begins.
    alone = random.random() < 0.5
    if how == "stopped":
        os.killpg(process.pid, signal.SIGSTOP)
        time.sleep(random.uniform(0.05, 0.4))
        if alone:
            os.killpg(process.pid, signal.SIGCONT)
            time.sleep(random.uniform(0, 0.2))
    elif how == "asked to end":
        process.terminate()
        time.sleep(random.uniform(0, 0.4))
    status = process.poll()
    if status is None:
        process.kill() if alone else os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return status if how != "asked to end" or status not in (0, -signal.SIGTERM) else None
