"""How long a database of 300,000 rows takes to open, and from the start of a process to its first
answer.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench import data as sets
from bench import doors
from bench.cases import Case, cases
from bench.measure import forget_pages
from bench.report import Report
from milvine.bench.vectors import Dataset, clustered
from milvine.interpreter import running_module

ROWS = 300_000
K = 10


def measure(options: argparse.Namespace) -> None:
    data = _rows(options.rows or ROWS)
    report = Report(
        "reopen", {"rows": data.rows, "dimension": data.dimension, "rounds": options.rounds}
    )
    for case in cases(data.dimension, options.types or ["FLAT", "IVF_FLAT"]):
        with doors.scratch() as folder:
            _fill(folder / "data", data, case, options)
            for cached in (True, False):
                report.add(
                    index=case.name,
                    cached=cached,
                    **_rounds(folder / "data", data, case, cached, options),
                )
    report.save()


def _rows(count: int) -> Dataset:
    """GloVe where it is here, else clusters at random: opening does not look at the values."""
    try:
        full = sets.load("glove")
    except sets.DataMissing:
        full = clustered(count)
    return Dataset(
        full.name, full.metric, np.ascontiguousarray(full.train[:count]), full.queries, full.nearest
    )


def _fill(folder: Path, data: Dataset, case: Case, options: argparse.Namespace) -> None:
    door = doors.Server(folder, options.threads)
    try:
        doors.create(door.client, data)
        doors.insert(door.client, data.train, options.batch_rows)
        doors.checked(door.client.flush([doors.COLLECTION]))
        doors.create_index(door.client, case)
    finally:
        door.close()


def _rounds(
    folder: Path, data: Dataset, case: Case, cached: bool, options: argparse.Namespace
) -> dict[str, float]:
    query = folder.with_suffix(".npy")
    np.save(query, data.queries[:1])
    records: dict[str, list[float]] = {
        "open s": [],
        "embedded first answer s": [],
        "server first answer s": [],
    }
    for _ in range(options.rounds):
        for record, value in zip(
            records.values(), _round(folder, query, data, case, cached), strict=True
        ):
            record.append(value)
    return {name: statistics.median(record) for name, record in records.items()}


def _round(
    folder: Path, query: Path, data: Dataset, case: Case, cached: bool
) -> tuple[float, float, float]:
    if not cached:
        forget_pages(folder)
    began = time.perf_counter()
    child = _child(folder, query, case)
    embedded = time.perf_counter() - began
    if not cached:
        forget_pages(folder)
    began = time.perf_counter()
    server = doors.Server(folder, threads=0)
    try:
        doors.search(server.client, data.queries[:1], K, case)
        return child["open"], embedded, time.perf_counter() - began
    finally:
        server.close()


def _child(folder: Path, query: Path, case: Case) -> dict[str, Any]:
    """A Python process that opens the folder, searches once, prints what it found, and is waited
    for until then.
    """
    command = running_module("bench.first_answer", str(folder), str(query), json.dumps(case.search))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline() if process.stdout else ""
    answer: dict[str, Any] = json.loads(line)
    if answer["hits"] != K:
        raise RuntimeError(f"the first answer had {answer['hits']} hits")
    return answer
