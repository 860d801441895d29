"""`kill -9` at random moments, over and over on one folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from random import Random
from typing import Any

from milvine.testing.crash.command import module_command
from milvine.testing.crash.verify import CheckerProcess, Report
from milvine.testing.crash.workload import journal_of, settle_backups

CYCLES_PER_FOLDER = 10
"""The model is rebuilt from the whole journal each time, so a folder is given up before that takes long."""


def kill_cycles(cycles: int, seed: int, work: Path, settings: dict[str, Any]) -> Report:
    """Starts the workload, kills it, checks; `cycles` times. Folders where something was wrong stay in `work`."""
    random, total = Random(seed), Report()
    checker = CheckerProcess(settings)
    for first in range(0, cycles, CYCLES_PER_FOLDER):
        folder = work / f"kill{seed}-{first}"
        total.add(_cycles(folder, min(CYCLES_PER_FOLDER, cycles - first), random, checker, settings))
        if total.ok:
            settle_backups(folder)
            shutil.rmtree(folder)
            journal_of(folder).unlink()
    checker.close()
    return total


def _cycles(folder: Path, cycles: int, random: Random, checker: CheckerProcess, settings: dict[str, Any]) -> Report:
    total = Report()
    journal_of(folder).touch()
    for _ in range(cycles):
        seed = random.randrange(10**6)
        before = total.acknowledged
        error = _live_and_die(folder, seed, random, settings)
        if error:
            total.note("failures", f"the workload failed in {folder}, seed {seed}:\n{error}")
            return total
        report = checker.check(folder)
        report.notes = [f"{folder}, seed {seed}: {note}" for note in report.notes]
        report.acknowledged -= before  # the journal counts from the first cycle on
        total.add(report)
        if not total.ok:
            return total
    return total


def _live_and_die(folder: Path, seed: int, random: Random, settings: dict[str, Any]) -> str:
    """One life of the workload; what it complained of before it was killed, if it did."""
    arguments = [str(folder), "--seed", str(seed), "--settings", json.dumps(settings)]
    process = subprocess.Popen(
        module_command("milvine.testing.crash.workload", arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    assert process.stdout and process.stderr
    if random.random() < 0.15:
        time.sleep(random.uniform(0.3, 1.0))  # perhaps while it opens the database
    else:
        process.stdout.readline()
        time.sleep(random.uniform(0.2, 2.0))
    status = process.poll()
    alone = random.random() < 0.5  # a build in another process may outlive it, and write on while the next life begins
    if status is None:
        process.kill() if alone else os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    error = process.stderr.read() or f"it ended by itself, status {status}" if status is not None else ""
    process.stdout.close()
    process.stderr.close()
    return error
