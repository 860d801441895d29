"""What short calls gain by lanes: single searches of our client by every way into a server that it
has, from 1 and from 8 processes.

All servers and clients are up at once and take turns; `ratio` columns are medians over the turns of
a round, against the port for lanes. Processor time is that of client and server for one search, the
least of all rounds, which other work on the machine disturbs least.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from bench.doors import COLLECTION, Embedded, Server, checked, scratch
from bench.report import Report
from milvine.bench.vectors import clustered
from milvine.client.transports import remote
from milvine.interpreter import running_module
from milvine.types import Floats
from milvus import IndexType, MetricType, Milvus

ROWS, DIMENSION, QUERIES, K = 50_000, 128, 1000, 10
PROCESSES = (1, 8)
LANE = "port for lanes"
WAYS = {
    LANE: ("auto", "auto", "lane"),
    "lane at native": ("native", "off", "lane"),
    "lane at grpcio": ("grpc", "off", "lane"),
    "grpcio at native": ("native", "off", "grpcio"),
    "grpcio at grpcio": ("grpc", "off", "grpcio"),
}
"""Way -> `network.door`, `network.lane_port`, and whether the client has lanes."""
FILE, FILLED = "queries.npy", "filled"
Turn = tuple[float, float, float]
"""Searches a second; microseconds of the processor for one, of the clients and of the server."""


class Way:
    """A server and its clients, which wait for their turn."""

    def __init__(self, name: str, folder: Path, threads: int, stack: contextlib.ExitStack) -> None:
        door, lane_port, client = WAYS[name]
        flags = ("--door", door, "--set", f"network.lane_port={lane_port}")
        own = shutil.copytree(folder / FILLED, folder / name.replace(" ", "-"))
        self.server = Server(own, threads, *flags)
        stack.callback(self.server.close)
        command = running_module("bench.lanes", str(self.server.port), client, str(folder / FILE))
        self.clients = [stack.enter_context(_worker(command)) for _ in range(max(PROCESSES))]
        for each in self.clients:
            _said(each)  # it has searched

    def turn(self, processes: int, seconds: float) -> Turn:
        clients, began = self.clients[:processes], _cpu_seconds(self.server.process.pid)
        for each in clients:
            assert each.stdin is not None
            each.stdin.write(f"{seconds}\n")
            each.stdin.flush()
        told = [tuple(map(float, _said(each).split())) for each in clients]
        count = sum(searches for searches, _ in told)
        used = _cpu_seconds(self.server.process.pid) - began
        return count / seconds, sum(cpu for _, cpu in told) / count * 1e6, used / count * 1e6


def measure(options: argparse.Namespace) -> None:
    """Rates and processor time of single searches of an IVF_FLAT index, by every way."""
    data = clustered(options.rows or ROWS, QUERIES, DIMENSION)
    report = Report("lanes", {"rows": data.rows, "dimension": DIMENSION, "topk": K})
    with scratch() as folder, contextlib.ExitStack() as stack:
        np.save(folder / FILE, data.queries)
        with contextlib.closing(Embedded(folder / FILLED, options.threads)) as embedded:
            _fill(embedded.client, data.train)
        ways: dict[str, Way] = {}
        for name in WAYS:
            ways[name] = Way(name, folder, options.threads, stack)
        for processes in PROCESSES:
            turns: dict[str, list[Turn]] = {name: [] for name in WAYS}
            for _ in range(options.rounds):
                for name, way in ways.items():
                    turns[name].append(way.turn(processes, options.seconds))
            for name, own in turns.items():
                _tell(report, name, processes, own, turns[LANE])
    report.save()


def _tell(report: Report, name: str, processes: int, own: list[Turn], lane: list[Turn]) -> None:
    def ratio(column: int) -> float:
        return statistics.median(a[column] / b[column] for a, b in zip(own, lane, strict=True))

    report.add(
        way=f"{name:<16}",
        clients=processes,
        rate=statistics.median(turn[0] for turn in own),
        rate_ratio=ratio(0),
        client_us=min(turn[1] for turn in own),
        client_ratio=ratio(1),
        server_us=min(turn[2] for turn in own),
        server_ratio=ratio(2),
    )


def _fill(client: Milvus, rows: Floats) -> None:
    param = {
        "collection_name": COLLECTION,
        "dimension": DIMENSION,
        "metric_type": MetricType.L2,
    }
    checked(client.create_collection(param))
    checked(client.insert(COLLECTION, rows, ids=list(range(len(rows)))))
    checked(client.flush([COLLECTION]))
    checked(client.create_index(COLLECTION, IndexType.IVF_FLAT, {"nlist": 1024}))


def _worker(command: list[str]) -> subprocess.Popen[str]:
    """A client process, which ends with its input: as a context, when that is left."""
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _said(worker: subprocess.Popen[str]) -> str:
    line = worker.stdout.readline() if worker.stdout else ""
    if not line:
        raise RuntimeError(f"a client ended with exit code {worker.wait()}")
    return line


def _cpu_seconds(pid: int) -> float:
    """Of all threads of a process that are there."""
    files = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(file.read_text().split()[0]) for file in files) / 1e9


def _search(port: str, client: str, queries_file: str) -> None:
    """The body of a client process: searches for as many seconds as each line says."""
    if client == "grpcio":  # our client without lanes, for which it has no switch
        mock.patch.object(remote, "CALLS", frozenset()).start()
    queries = np.load(queries_file)
    milvus, numbers = Milvus(host="127.0.0.1", port=port), _numbers()
    _timed(milvus, queries, numbers, 0.2)
    print("ready", flush=True)
    for line in sys.stdin:
        print(*_timed(milvus, queries, numbers, float(line)), flush=True)


def _numbers() -> Iterator[int]:
    number = os.getpid()  # each process begins with another query
    while True:
        yield number % QUERIES
        number += 1


def _timed(
    milvus: Milvus, queries: Floats, numbers: Iterator[int], seconds: float
) -> tuple[int, float]:
    """Searches, and seconds of the processor."""
    count, cpu, end = 0, time.process_time(), time.perf_counter() + seconds
    params: dict[str, Any] = {"nprobe": 16}
    while time.perf_counter() < end:
        number = next(numbers)
        checked(milvus.search(COLLECTION, K, queries[number : number + 1], params=params))
        count += 1
    return count, time.process_time() - cpu


if __name__ == "__main__":
    _search(*sys.argv[1:])
