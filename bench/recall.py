"""Recall@10 beside the raw library with the same type and parameters: as built, after deletes,
after a restart.

The raw library is faiss, or annoy; RNSG is put beside faiss's HNSW of the same degree and breadth,
and its NSG. Where there is none (faiss has no Tanimoto) the columns stay empty.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import faiss
import numpy as np

from bench import data as sets
from bench import doors, raw
from bench.cases import Case, binary_cases, cases
from bench.measure import alternate, each, seconds, timed
from bench.raw import RawIndex
from bench.report import Report
from milvine.bench.vectors import Dataset
from milvine.types import Ids

K = 10
DELETED_SHARE = 0.1
SINGLES = 100  # queries sent one at a time
NOBODY: Ids = np.empty(0, np.int64)


@dataclass(frozen=True)
class Reference:
    """What the raw library reaches (mean of its seeds), and its last index to take times beside;
    None where it cannot.

    `others` holds the recall of further raw indexes by name.
    """

    index: RawIndex | None = None
    recall: float | None = None
    recall_after_deletes: float | None = None
    build_seconds: float | None = None
    others: Mapping[str, float] = field(default_factory=dict)


def measure(options: argparse.Namespace) -> None:
    settings = {
        "threads": options.threads,
        "k": K,
        "deleted": DELETED_SHARE,
        "raw seeds": len(raw.SEEDS),
    }
    report = Report("recall", settings)
    faiss.omp_set_num_threads(options.threads)
    for data in sets.load_each(options, report):
        fitting = (
            binary_cases(options.types)
            if data.metric.is_binary
            else cases(data.dimension, options.types)
        )
        for case in fitting:
            _measure_case(report, data, case, options)
    report.save()


def _measure_case(report: Report, data: Dataset, case: Case, options: argparse.Namespace) -> None:
    dead = _victims(data)
    reference = _reference(data, case, dead)
    for kind in options.doors:
        with doors.opened(kind, options.threads) as door:
            report.add(
                data=data.name, door=kind, **_run(door, data, case, dead, reference, options)
            )


def _victims(data: Dataset) -> Ids:
    """A tenth of the rows, the same ones each time."""
    count = int(data.rows * DELETED_SHARE)
    return np.sort(np.random.default_rng(7).choice(data.rows, count, replace=False)).astype(
        np.int64
    )


def _reference(data: Dataset, case: Case, dead: Ids) -> Reference:
    if not raw.has(data, case):
        return Reference()
    before, after, times = [], [], []
    for seed in raw.seeds(case):
        index, build_seconds = timed(partial(raw.build, data, case, seed))
        times.append(build_seconds)
        before.append(sets.recall(data, index.search(data.queries, K), NOBODY))
        if index.deletes:
            after.append(sets.recall(data, index.without(dead).search(data.queries, K), dead))
    others = {
        name: sets.recall(data, other.search(data.queries, K), NOBODY)
        for name, other in raw.others(data, case)
    }
    later = statistics.mean(after) if after else None
    return Reference(index, statistics.mean(before), later, statistics.median(times), others)


def _run(
    door: Any,
    data: Dataset,
    case: Case,
    dead: Ids,
    reference: Reference,
    options: argparse.Namespace,
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
        **reference.others,
        "restarted": sets.recall(data, again, dead),
        "dead rows": int(np.isin(deleted, dead).sum() + np.isin(again, dead).sum()),
        "insert s": insert,
        "flush s": flush,
        "build x": build / reference.build_seconds
        if reference.build_seconds and case.build
        else None,
        **rates,
        "restart s": restart,
    }


def _found(door: Any, data: Dataset, case: Case) -> Ids:
    result = doors.search(door.client, data.queries, K, case)
    return doors.found_rows(result, len(data.queries), K)


def _rates(door: Any, data: Dataset, case: Case, index: RawIndex | None) -> dict[str, float | None]:
    """Rate of searches as a share of raw faiss's, one query a call and all in one call."""
    queries = data.queries

    def ours(n: int) -> object:
        return doors.search(door.client, queries[n : n + 1], K, case)

    singles = min(SINGLES, len(queries))
    if index is None:
        alone = seconds(each(ours, singles))
        return {"single ms": 1000 * alone / singles, "single/raw": None, "batch/raw": None}

    def theirs(n: int) -> object:
        return index.search(queries[n : n + 1], K)

    single_raw, single = alternate(3, each(theirs, singles), each(ours, singles))
    batch_raw, batch = alternate(
        3, lambda: index.search(queries, K), lambda: doors.search(door.client, queries, K, case)
    )
    return {
        "single ms": 1000 * single / singles,
        "single/raw": single_raw / single,
        "batch/raw": batch_raw / batch,
    }
