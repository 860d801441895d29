"""What a tenth of deleted rows costs each index type, and how long deletes and gets by id take on a
server.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench import data as sets
from bench.cases import Case, cases
from bench.doors import scratch
from bench.measure import alternate, each, seconds
from bench.search import load, save
from milvine.bench.contenders.milvus_1x import Milvus1x, connect
from milvine.bench.fleet import Serving
from milvine.bench.results import Results
from milvine.bench.vectors import Dataset
from milvine.bench.worker import filled
from milvine.types import Ids

SETS = ["clustered"]
K = 10
SHARE, RATE_KEPT, RECALL_LOST = 0.1, 0.8, 0.01
DELETED, GOT, HELD = 10_000, 1_000, 300_000
DELETE_SECONDS_MAX, GET_SECONDS_MAX = 0.1, 0.005
BATCH = 10_000
SINGLES = 200  # queries of one timing


def measure(options: argparse.Namespace) -> None:
    results = Results({"rounds": options.rounds, "deleted": SHARE, "threads": options.threads})
    for data in load(options):
        for case in cases(data.dimension, options.types):
            with scratch() as folder:
                results.add(_kept(folder, data, case, options.rounds))
    _by_id(results, options)
    save(results, "deletes")


def _kept(folder: Path, data: Dataset, case: Case, rounds: int) -> dict[str, Any]:
    """Two collections of the same rows in one database; a tenth is deleted from one. They are timed
    in turns.
    """
    address = f"file://{folder / 'data'}"
    whole, thinned = (filled_collection(address, data, name) for name in ("whole", "thinned"))
    try:
        for each_one in (whole, thinned):
            each_one.build(case.name, dict(case.build))
            each_one.tune(case.name, dict(case.search))
        dead = np.sort(
            np.random.default_rng(7).choice(data.rows, int(data.rows * SHARE), replace=False)
        )
        before = _recall(thinned, data, dead[:0])
        delete = seconds(lambda: thinned.delete(dead))
        after = _recall(thinned, data, dead)
        times = alternate(rounds + 1, _singles(whole, data), _singles(thinned, data))
    finally:
        thinned.close()
        whole.close()
    kept = times[0] / times[1]
    return {
        "what": "deleted",
        "data": data.name,
        "kind": case.name,
        "contender": "embedded",
        "recall": before,
        "recall_after": after,
        "recall_kept": after >= before - RECALL_LOST,
        "delete_seconds": delete,
        "name": f"{data.name} {case.name}: rate kept with a tenth deleted",
        "value": kept,
        "goal": RATE_KEPT,
    }


def filled_collection(address: str, data: Dataset, name: str) -> Milvus1x:
    """A new collection with every row under its row number."""
    setup = {
        "collection": name,
        "create": True,
        "dimension": data.dimension,
        "metric": data.metric.name,
    }
    client = connect(address, setup)
    insert_all(client, data)
    return client


def insert_all(client: Milvus1x, data: Dataset) -> None:
    """Every row under its row number, `BATCH` in a call; all are acknowledged on return."""
    ids = np.arange(data.rows, dtype=np.int64)
    for at in range(0, data.rows, BATCH):
        client.insert(ids[at : at + BATCH], data.train[at : at + BATCH])
    client.loaded()


def _recall(client: Milvus1x, data: Dataset, dead: Ids) -> float:
    found = filled(list(client.search_many(data.queries, K)), K)
    return sets.recall(data, found, dead)


def _singles(client: Milvus1x, data: Dataset) -> Callable[[], None]:
    def one(number: int) -> object:
        return client.search(data.queries[number : number + 1], K)

    return each(one, min(SINGLES, len(data.queries)))


def _by_id(results: Results, options: argparse.Namespace) -> None:
    """On a server with an index, rows in the segment: medians of several calls, each with other
    ids.
    """
    data = sets.load(f"clustered:{options.rows or HELD}", queries=10)
    with served(options.threads) as server:
        client = filled_collection(server.address, data, "by_id")
        try:
            client.build("IVF_FLAT", {"nlist": 1024})
            order = np.random.default_rng(3).permutation(data.rows)
            got, deleted = (
                min(GOT, data.rows // 10),
                min(DELETED, data.rows // (4 * options.rounds)),
            )
            parts = [order[number * got : (number + 1) * got] for number in range(options.rounds)]
            gets = [seconds(partial(client.get, ids)) for ids in parts]
            order = order[: deleted * options.rounds].reshape(options.rounds, deleted)
            deletes = [seconds(partial(client.delete, ids)) for ids in order]
        finally:
            client.close()
    _add_by_id(results, data, "get", got, gets, GET_SECONDS_MAX)
    _add_by_id(results, data, "delete", deleted, deletes, DELETE_SECONDS_MAX)


def _add_by_id(
    results: Results, data: Dataset, what: str, count: int, times: list[float], goal: float
) -> None:
    results.add(
        {
            "what": what,
            "data": data.name,
            "rows": data.rows,
            "contender": "server",
            "most": max(times),
            "name": f"seconds to {what} {count:,} ids out of {data.rows:,} on the server",
            "value": statistics.median(times),
            "goal": goal,
            "at_most": True,
        }
    )


@contextmanager
def served(threads: int, *wrapping: str) -> Iterator[Serving]:
    """A server on an empty folder, which is removed afterwards."""
    with scratch() as folder:
        server = Serving(folder / "data", threads, wrapping)
        try:
            yield server
        finally:
            server.stop()
