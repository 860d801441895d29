"""One run at one door: callers started, backups made meanwhile, everything compared, before and
after a reopening.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from milvine.client.milvus import Milvus
from milvine.config import Settings
from milvine.offline.backup import backup
from milvine.offline.restore import restore
from milvine.offline.verify import verify
from milvine.testing.by_name import DatabaseByName
from milvine.testing.crash.command import module_command
from milvine.testing.load.clients import Wrong
from milvine.testing.load.serving import ServerProcess
from milvine.testing.races.checking import check_collections, check_rows

DOORS = ("native", "grpc", "http", "embedded")
_GRACE_SECONDS = 180.0
_BETWEEN_BACKUPS = 3.0


@dataclass(frozen=True)
class Plan:
    """What is run. `settings` are keys of the configuration, and hold where there is a server."""

    seconds: float = 600.0
    processes: int = 2
    names: int = 2
    threads: int = 3
    seed: int = 1
    settings: dict[str, str] = field(default_factory=dict)


@dataclass
class Outcome:
    calls: Counter[str] = field(default_factory=Counter)
    backups: int = 0
    rows: int = 0
    problems: list[str] = field(default_factory=list)


def run(door: str, plan: Plan, work: Path) -> Outcome:
    """The whole of it in the folder `work`. Whatever was wrong is in the outcome's problems."""
    outcome, data = Outcome(), work / "data"
    if door == "embedded":
        _race(plan, work, {"uri": f"file://{data}"}, 1, outcome, lambda: True)
    else:
        server = ServerProcess(data, _settings(door, plan), work / "server.err", sample=False)
        try:
            _race(plan, work, _client(door, server), plan.processes, outcome, server.alive)
            _compare(_client(door, server), work, outcome)
        finally:
            if complaint := server.stop():
                outcome.problems.append(complaint)
    if not outcome.problems:
        outcome.problems += [f"verify: {each}" for each in verify(data).findings if each.damage]
    _compare({"uri": f"file://{data}"}, work, outcome)
    return outcome


def _settings(door: str, plan: Plan) -> dict[str, str]:
    return {"network.door": "grpc" if door == "grpc" else "native"} | plan.settings


def _client(door: str, server: ServerProcess) -> dict[str, Any]:
    if door == "http":
        return {"host": "127.0.0.1", "port": server.http_port, "handler": "HTTP"}
    return {"host": "127.0.0.1", "port": server.port}


def _race(
    plan: Plan,
    work: Path,
    client: dict[str, Any],
    processes: int,
    outcome: Outcome,
    alive: Callable[[], bool],
) -> None:
    racers = [_start(plan, work, client, number) for number in range(processes)]
    for process in racers:  # until each has opened the database
        assert process.stdout
        process.stdout.readline()
        process.stdout.close()
    ended = threading.Event()
    copies = threading.Thread(target=_back_up, args=(work, ended, outcome))
    copies.start()
    until = time.monotonic() + plan.seconds + _GRACE_SECONDS
    try:
        while any(process.poll() is None for process in racers) and not outcome.problems:
            time.sleep(0.2)
            if not alive():
                outcome.problems.append("the server has died")
            elif time.monotonic() > until:
                outcome.problems.append("no end: the stacks of the callers are in *.err")
                for process in racers:
                    process.send_signal(signal.SIGUSR1)
                time.sleep(1)
    finally:
        ended.set()
        copies.join()
        for process in racers:
            process.kill()
            process.wait()
    _collect(work, racers, outcome)


def _start(plan: Plan, work: Path, client: dict[str, Any], number: int) -> subprocess.Popen[bytes]:
    numbers = (plan.seconds, plan.seed, plan.names, plan.threads)
    arguments = [str(work), str(number), json.dumps(client), *(str(each) for each in numbers)]
    with (work / f"racers{number}.err").open("wb") as stderr:
        return subprocess.Popen(
            module_command("milvine.testing.races.racer_process", arguments),
            stdout=subprocess.PIPE,
            stderr=stderr,
        )


def _collect(work: Path, racers: list[subprocess.Popen[bytes]], outcome: Outcome) -> None:
    for number, process in enumerate(racers):
        path = work / f"racers{number}.json"
        if outcome.problems and process.returncode == -signal.SIGKILL:
            continue  # the run was ended before its time
        if process.returncode or not path.exists():
            error = (work / f"racers{number}.err").read_text(encoding="utf-8")[-3000:]
            outcome.problems.append(f"callers {number} ended with {process.returncode}: {error}")
            continue
        results = json.loads(path.read_text(encoding="utf-8"))
        outcome.calls.update(results["calls"])
        outcome.problems += results["problems"]


def _back_up(work: Path, ended: threading.Event, outcome: Outcome) -> None:
    """What a backup holds must open, be sound, and have each row under its own id."""
    backup_folder = work / "backup"
    while not ended.wait(_BETWEEN_BACKUPS):
        try:
            backup(work / "data", backup_folder)
            restore(backup_folder, backup_folder / "restored")
            with DatabaseByName.open(
                backup_folder / "restored", Settings(background=False)
            ) as database:
                check_rows(database)
            outcome.backups += 1
        except Exception as error:
            outcome.problems.append(f"backup: {error!r}")
            return
        shutil.rmtree(backup_folder)


def _compare(client: dict[str, Any], work: Path, outcome: Outcome) -> None:
    """Every collection with what its callers know of it."""
    if outcome.problems:
        return
    with Milvus(**client) as milvus:
        for path in sorted(work.glob("racers*.json")):
            try:
                outcome.rows += check_collections(
                    milvus, json.loads(path.read_text(encoding="utf-8"))["collections"]
                )
            except Wrong as error:
                outcome.problems.append(f"at the end, {client}: {error}")
