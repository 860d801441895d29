"""1,000 queries in one call through gRPC beside raw faiss in this process, with the same number of
threads.
"""

from __future__ import annotations

import argparse

import faiss

from bench import data as sets
from bench import doors, raw
from bench.cases import Case, cases
from bench.measure import alternate
from bench.report import Report
from milvine.bench.vectors import Dataset

K = 10


def measure(options: argparse.Namespace) -> None:
    faiss.omp_set_num_threads(options.threads)
    settings = {
        "queries": options.queries,
        "threads": options.threads,
        "k": K,
        "rounds": options.rounds,
    }
    report = Report("batch", settings)
    for data in sets.load_each(options, report):
        for kind in options.doors:
            _measure_door(report, data, kind, options)
    report.save()


def _measure_door(report: Report, data: Dataset, kind: str, options: argparse.Namespace) -> None:
    with doors.opened(kind, options.threads) as door:
        doors.create(door.client, data)
        doors.insert(door.client, data.train, options.batch_rows)
        doors.checked(door.client.flush([doors.COLLECTION]))
        for case in cases(data.dimension, options.types or ["FLAT", "IVF_FLAT"]):
            doors.create_index(door.client, case)
            _measure_case(report, data, case, door, options)


def _measure_case(
    report: Report, data: Dataset, case: Case, door: doors.Door, options: argparse.Namespace
) -> None:
    index = raw.build(data, case)

    def theirs() -> object:
        return index.search(data.queries, K)

    def ours() -> object:
        return doors.search(door.client, data.queries, K, case)

    alternate(1, theirs, ours)  # once outside the clock: files are mapped and verified on first use
    raw_seconds, seconds = alternate(options.rounds, theirs, ours)
    report.add(
        **{
            "data": data.name,
            "door": door.name,
            "index": case.name,
            "ms": 1000 * seconds,
            "raw ms": 1000 * raw_seconds,
            "queries/s": len(data.queries) / seconds,
            "of raw": raw_seconds / seconds,
        }
    )
