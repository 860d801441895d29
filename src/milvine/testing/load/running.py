"""One run: server and clients started, watched until all have ended, everything checked, server
stopped.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from milvine.client.milvus import Milvus
from milvine.config import Settings
from milvine.config.values import parse_size
from milvine.testing.crash.command import module_command
from milvine.testing.load.checking import check_everything, check_reopened
from milvine.testing.load.clients import Wrong, check
from milvine.testing.load.figures import Outcome
from milvine.testing.load.plan import INDEX_FILE_SIZE_MB, TAGS, Plan
from milvine.testing.load.serving import MIB, ServerProcess
from milvine.types import MetricType

BASE_BYTES = 384 * MIB
"""What a server holds beside its three budgets: interpreter and libraries (about 110 MiB), threads,
and one merge.
"""
_LOOK_SECONDS = 0.5


def memory_bound(settings: dict[str, str]) -> int:
    """Most anonymous memory the server may hold, in bytes."""
    defaults, given = (
        Settings(),
        {name: parse_size(name, value) for name, value in settings.items() if "size" in name},
    )
    request = settings.get("network.request_bytes_max")
    return (
        given.get("cache.cache_size", defaults.cache_size)
        + given.get("cache.insert_buffer_size", defaults.insert_buffer_size)
        + (
            parse_size("network.request_bytes_max", request)
            if request
            else defaults.request_bytes_max
        )
        + BASE_BYTES
    )


def run(plan: Plan, work: Path) -> Outcome:
    """The whole of it in the folder `work`. Whatever was wrong is in the outcome's problems."""
    data = work / "data"
    server = ServerProcess(data, plan.settings, work / "server.err")
    outcome = Outcome(plan.seconds, server.usage, memory_bound(plan.settings))
    clients: list[subprocess.Popen[str]] = []
    ended = False
    try:
        _create(server.port, plan)
        np.full(len(plan.roles), time.time()).tofile(work / "beats")
        for number in range(plan.processes):
            clients.append(_start_clients(plan, work, server.port, number))
        _go(clients)
        began = time.monotonic()
        if plan.forks:
            server.fork_a_child()
        ended = _watch(plan, work, server, clients, outcome)
        outcome.seconds = time.monotonic() - began
        _collect(plan, work, outcome)
        if ended:
            _verify(server, plan, work, outcome)
    finally:
        for process in clients:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream:
                    stream.close()
        complaint = server.stop()
        if complaint:
            outcome.problems.append(complaint)
        elif ended:
            outcome.problems += check_reopened(data, _embedded(plan.settings), plan, work)
        server.let_go()
    if outcome.usage.anonymous and max(outcome.usage.anonymous) > outcome.memory_bound:
        outcome.problems.append("the server held more memory than its budget")
    return outcome


def _embedded(settings: Mapping[str, str]) -> Settings:
    """Those under which the server's folder opens here."""
    return Settings(background=False, wal_path=settings.get("wal.path", ""))


def _create(port: int, plan: Plan) -> None:
    milvus = Milvus(host="127.0.0.1", port=port)
    for number, name in enumerate(plan.collections):
        schema = {
            "collection_name": name,
            "dimension": plan.dimension(number),
            "index_file_size": INDEX_FILE_SIZE_MB,
        }
        check(milvus.create_collection(schema | {"metric_type": MetricType.L2}))
        for tag in TAGS[1:]:
            check(milvus.create_partition(name, tag))
    milvus.close()


def _start_clients(plan: Plan, work: Path, port: int, number: int) -> subprocess.Popen[str]:
    arguments = [plan.to_json(), str(work), str(port), str(number)]
    with (work / f"clients{number}.err").open("wb") as stderr:
        return subprocess.Popen(
            module_command("milvine.testing.load.client_process", arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )


def _go(clients: list[subprocess.Popen[str]]) -> None:
    """All at once, when all are ready."""
    for process in clients:
        assert process.stdout
        process.stdout.readline()
    for process in clients:
        assert process.stdin
        if process.poll() is None:
            process.stdin.write("go\n")
            process.stdin.flush()


def _watch(
    plan: Plan,
    work: Path,
    server: ServerProcess,
    clients: list[subprocess.Popen[str]],
    outcome: Outcome,
) -> bool:
    """Until all clients have ended. A client without an answer for too long, or a dead server, is
    the end as well.

    False then: clients are in the middle of calls, and what they were told is not all that was
    done.
    """
    beats = np.memmap(work / "beats", np.float64, "r+")
    beats[:] = time.time()
    while any(process.poll() is None for process in clients):
        time.sleep(_LOOK_SECONDS)
        silent = [
            role
            for role, beat in zip(plan.roles, beats, strict=True)
            if beat < time.time() - plan.patience(role)
        ]
        if not server.alive():
            outcome.problems.append("the server has died")
            return False
        if silent:
            outcome.problems.append(
                f"no answer for too long: {', '.join(silent)}; stacks are in *.err"
            )
            server.dump_stacks()
            for process in clients:
                process.send_signal(signal.SIGUSR1)
            time.sleep(1)
            return False
    return True


def _collect(plan: Plan, work: Path, outcome: Outcome) -> None:
    for number in range(plan.processes):
        path = work / f"clients{number}.json"
        if not path.exists():
            error = (work / f"clients{number}.err").read_text(encoding="utf-8")[-2000:]
            outcome.problems.append(f"client process {number} told nothing: {error}")
            continue
        for client in json.loads(path.read_text(encoding="utf-8")):
            if client["problem"]:
                outcome.problems.append(client["problem"])
            kind = client["role"].rstrip("0123456789") + "s"
            outcome.rows[kind] = outcome.rows.get(kind, 0) + client["rows"]
            for operation, seconds in client["seconds"].items():
                outcome.latencies.setdefault(operation, []).extend(seconds)


def _verify(server: ServerProcess, plan: Plan, work: Path, outcome: Outcome) -> None:
    try:
        outcome.live, outcome.gone, wrong = check_everything(server.port, plan, work)
    except Wrong as error:
        wrong = [f"checking: {error}"]
    outcome.problems += wrong
