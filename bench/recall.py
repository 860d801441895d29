"""Recall@10 beside raw faiss with the same type and parameters: as built, after deletes, after a restart."""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass
from functools import partial
from typing import Any

import faiss
import numpy as np

from bench import data as sets
from bench import doors, raw
from bench.cases import Case, cases
from bench.data import Dataset
from bench.measure import alternate, each, seconds, timed
from bench.raw import RawIndex
from bench.report import Report
from milvine.types import Ids, IndexType

K = 10
DELETED_SHARE = 0.1
SINGLES = 100  # queries sent one at a time
NOBODY: Ids = np.empty(0, np.int64)


@dataclass(frozen=True)
class Reference:
    """What raw faiss reaches (mean of its seeds), and its last index to take times beside."""

    index: RawIndex
    recall: float
    recall_after_deletes: float
    build_seconds: float


def measure(options: argparse.Namespace) -> None:
    settings = {"threads": options.threads, "k": K, "deleted": DELETED_SHARE, "raw seeds": len(raw.SEEDS)}
    report = Report("recall", settings)
    faiss.omp_set_num_threads(options.threads)
    for data in sets.load_each(options, report):
        for case in cases(data.dimension, options.types):
            _measure_case(report, data, case, options)
    report.save()


def _measure_case(report: Report, data: Dataset, case: Case, options: argparse.Namespace) -> None:
    dead = _victims(data)
    reference = _reference(data, case, dead)
    for kind in options.doors:
        with doors.opened(kind, options.threads) as door:
            report.add(data=data.name, door=kind, **_run(door, data, case, dead, reference, options))


def _victims(data: Dataset) -> Ids:
    """A tenth of the rows, the same ones each time."""
    count = int(data.rows * DELETED_SHARE)
    return np.sort(np.random.default_rng(7).choice(data.rows, count, replace=False)).astype(np.int64)


def _reference(data: Dataset, case: Case, dead: Ids) -> Reference:
    before, after, times = [], [], []
    for seed in raw.seeds(case):
        index, build_seconds = timed(partial(raw.build, data, case, seed))
        times.append(build_seconds)
        before.append(sets.recall(data, index.search(data.queries, K), NOBODY))
        after.append(sets.recall(data, index.without(dead).search(data.queries, K), dead))
    return Reference(index, statistics.mean(before), statistics.mean(after), statistics.median(times))


def _run(
    door: Any, data: Dataset, case: Case, dead: Ids, reference: Reference, options: argparse.Namespace
) -> dict[str, Any]:
    """The whole life of one collection; the figures of it."""
    doors.create(door.client, data)
    insert = seconds(lambda: doors.insert(door.client, data.train, options.batch_rows))
    flush = seconds(lambda: doors.checked(door.client.flush([doors.COLLECTION])))
    build = seconds(lambda: doors.create_index(door.client, case))
    segments = doors.segments(door.client)
    found = _found(door, data, case)
    rates = _rates(door, data, case, reference.index)
    doors.checked(door.client.delete_entity_by_id(doors.COLLECTION, dead.tolist()))
    deleted = _found(door, data, case)
    restart = seconds(door.restart)
    again = _found(door, data, case)
    recall_deleted = sets.recall(data, deleted, dead)
    return {
        "index": case.name,
        "segments": segments,
        "recall": sets.recall(data, found, NOBODY),
        "raw": reference.recall,
        "deleted": recall_deleted,
        "raw deleted": reference.recall_after_deletes,
        "restarted": sets.recall(data, again, dead),
        "dead rows": int(np.isin(deleted, dead).sum() + np.isin(again, dead).sum()),
        "insert s": insert,
        "flush s": flush,
        "build x": None if case.type is IndexType.FLAT else build / reference.build_seconds,
        **rates,
        "restart s": restart,
    }


def _found(door: Any, data: Dataset, case: Case) -> Ids:
    result = doors.search(door.client, data.queries, K, case)
    return doors.found_rows(result, len(data.queries), K)


def _rates(door: Any, data: Dataset, case: Case, index: RawIndex) -> dict[str, float]:
    """Rate of searches as a share of raw faiss's, one query a call and all in one call."""
    queries = data.queries

    def ours(n: int) -> object:
        return doors.search(door.client, queries[n : n + 1], K, case)

    def theirs(n: int) -> object:
        return index.search(queries[n : n + 1], K)

    singles = min(SINGLES, len(queries))
    single_raw, single = alternate(3, each(theirs, singles), each(ours, singles))
    batch_raw, batch = alternate(
        3, lambda: index.search(queries, K), lambda: doors.search(door.client, queries, K, case)
    )
    return {"single ms": 1000 * single / singles, "single/raw": single_raw / single, "batch/raw": batch_raw / batch}
