"""Index builds beside raw faiss with the same threads on an idle server; and searches while one
runs.
"""

from __future__ import annotations

import argparse
import threading
import time
from typing import Any

import faiss
import numpy as np

from bench import raw
from bench.cases import Case, cases
from bench.deletes import filled_collection, served
from bench.measure import seconds
from bench.search import load, save
from milvine.bench.contenders.milvus_1x import Milvus1x
from milvine.bench.results import Results
from milvine.bench.vectors import Dataset

SETS = ["clustered"]
K = 10
BUILD_MAX, RATE_KEPT = 1.1, 0.5
CALM_SECONDS = 3.0


def measure(options: argparse.Namespace) -> None:
    results = Results({"threads": options.threads, "rounds": options.rounds})
    for data in load(options):
        for case in cases(data.dimension, options.types or ["IVF_FLAT", "HNSW"]):
            if case.build:
                _measure_case(results, data, case, options)
    save(results, "builds")


def _measure_case(results: Results, data: Dataset, case: Case, options: argparse.Namespace) -> None:
    """Raw and ours in turns, the server idle beside; then a build with searches on another
    collection.
    """
    with served(options.threads) as server:
        client = filled_collection(server.address, data, "built")
        other = filled_collection(server.address, data, "searched")
        try:
            other.build("HNSW", {"M": 16, "efConstruction": 200})
            other.tune("HNSW", {"ef": 64})
            client.build("exact", {})
            times: list[list[float]] = [[], []]
            for _ in range(options.rounds):
                times[0].append(seconds(lambda: _raw_alone(data, case, options.threads)))
                times[1].append(seconds(lambda: client.build(case.name, dict(case.build))))
                client.build("exact", {})
            theirs, ours = (float(np.median(each)) for each in times)
            add(
                results,
                data,
                case,
                "built",
                "index build on an idle server, times raw faiss",
                ours / theirs,
                BUILD_MAX,
            )
            calm = _rate(other, data, CALM_SECONDS)
            building = threading.Thread(target=client.build, args=(case.name, dict(case.build)))
            building.start()
            rate = _rate_while(other, data, building)
            building.join()
            add(
                results,
                data,
                case,
                "searched",
                "share of the rate kept during a build",
                rate / calm,
                RATE_KEPT,
            )
        finally:
            other.close()
            client.close()


def _raw_alone(data: Dataset, case: Case, threads: int) -> None:
    faiss.omp_set_num_threads(threads)
    raw.build(data, case)


def _rate(client: Milvus1x, data: Dataset, over: float) -> float:
    end, calls, began = time.perf_counter() + over, 0, time.perf_counter()
    while time.perf_counter() < end:
        number = calls % len(data.queries)
        client.search(data.queries[number : number + 1], K)
        calls += 1
    return calls / (time.perf_counter() - began)


def _rate_while(client: Milvus1x, data: Dataset, building: threading.Thread) -> float:
    began, calls = time.perf_counter(), 0
    while building.is_alive():
        number = calls % len(data.queries)
        client.search(data.queries[number : number + 1], K)
        calls += 1
    return calls / (time.perf_counter() - began)


def add(
    results: Results, data: Dataset, case: Case, what: str, name: str, value: float, goal: float
) -> None:
    row: dict[str, Any] = {
        "what": what,
        "data": data.name,
        "kind": case.name,
        "contender": "server",
    }
    most = {"at_most": True} if what == "built" else {}
    results.add(
        {**row, "name": f"{data.name} {case.name}: {name}", "value": value, "goal": goal, **most}
    )
