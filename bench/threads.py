"""Single searches from 1, 2 and 8 threads of one process beside raw faiss, and how often a search
waits for anything.

A wait is a voluntary context switch: of an index search nearly all are for the interpreter lock.
One figure is the median over rounds in which the two take turns.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path

import faiss
import numpy as np

from bench import data as sets
from bench import doors, raw
from bench.cases import Case, cases
from bench.report import Report
from milvine.bench.vectors import Dataset
from milvine.types import Vectors

SETS = ["clustered"]
THREADS = (1, 2, 8)
TYPES = ["FLAT", "IVF_FLAT", "HNSW"]
K = 10

Search = Callable[[Vectors], object]


@dataclass(frozen=True)
class Figures:
    """Of one search: how many a second, latency and CPU time in microseconds, waits."""

    rate: float
    p50: float
    p99: float
    cpu: float
    waits: float


def measure(options: argparse.Namespace) -> None:
    settings = {"rounds": options.rounds, "seconds": options.seconds, "k": K}
    report = Report("threads", settings)
    for data in sets.load_each(options, report):
        with doors.opened("embedded", options.threads) as door:
            doors.create(door.client, data)
            doors.insert(door.client, data.train, options.batch_rows)
            doors.checked(door.client.flush([doors.COLLECTION]))
            for case in cases(data.dimension, options.types or TYPES):
                doors.create_index(door.client, case)
                faiss.omp_set_num_threads(options.threads)
                pair = _search(door, case), partial(raw.build(data, case).search, k=K)
                for count in THREADS:
                    _compare(report, data, case.name, pair, count, options)
    report.save()


def _search(door: doors.Door, case: Case) -> Search:
    return lambda query: doors.search(door.client, query, K, case)


def _compare(
    report: Report,
    data: Dataset,
    name: str,
    pair: tuple[Search, Search],
    count: int,
    options: argparse.Namespace,
) -> None:
    rounds = [
        [_crowd(search, data.queries, count, options.seconds) for search in pair]
        for _ in range(options.rounds)
    ]
    ours, theirs = (
        Figures(*np.median([astuple(both[at]) for both in rounds], axis=0).tolist())
        for at in (0, 1)
    )
    report.add(
        **{
            "data": data.name,
            "index": name,
            "threads": count,
            "queries/s": ours.rate,
            "of raw": ours.rate / theirs.rate,
            "p50 us": ours.p50,
            "p99 us": ours.p99,
            "raw p99": theirs.p99,
            "cpu us": ours.cpu,
            "raw cpu": theirs.cpu,
            "waits": ours.waits,
            "raw waits": theirs.waits,
        }
    )


def _crowd(search: Search, queries: Vectors, count: int, seconds: float) -> Figures:
    """Threads that search one query after the other, each from another place in `queries`."""
    ended, times = threading.Event(), [list[float]() for _ in range(count)]
    ready, over = threading.Barrier(count + 1), threading.Barrier(count + 1)

    def work(own: list[float], at: int) -> None:
        faiss.omp_set_num_threads(1)
        search(queries[:1])
        ready.wait()
        while not ended.is_set():
            at = (at + 1) % len(queries)
            began = time.perf_counter()
            search(queries[at : at + 1])
            own.append(time.perf_counter() - began)
        over.wait()  # an ended thread takes its count of waits along

    threads = [
        threading.Thread(target=work, args=(own, 37 * at), daemon=True)
        for at, own in enumerate(times)
    ]
    for thread in threads:
        thread.start()
    ready.wait()
    began, cpu, waits = time.perf_counter(), time.process_time(), _waits()
    time.sleep(seconds)
    ended.set()
    took, cpu, waits = time.perf_counter() - began, time.process_time() - cpu, _waits() - waits
    over.wait()
    every = 1e6 * np.concatenate(times)
    median, most = np.percentile(every, (50, 99)).tolist()
    return Figures(len(every) / took, median, most, 1e6 * cpu / len(every), waits / len(every))


def _waits() -> int:
    """Voluntary context switches of all threads of this process so far (Linux)."""
    own = [path.read_text(encoding="utf-8") for path in Path("/proc/self/task").glob("*/status")]
    return sum(int(text.split("\nvoluntary_ctxt_switches:")[1].split()[0]) for text in own)
