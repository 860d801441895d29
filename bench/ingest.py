"""Inserts through the gRPC client, acknowledged durable, beside writing the same bytes to a plain
file with fsync.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from pathlib import Path

import numpy as np

from bench import data as sets
from bench import doors
from bench.measure import MIB, alternate, warm_free_memory
from bench.report import Report
from milvine.bench.vectors import Dataset
from milvine.types import Floats

SETTLE_SECONDS = 1.0


def measure(options: argparse.Namespace) -> None:
    data = sets.load(options.sets[0], options.rows)
    size = data.train.nbytes + 8 * data.rows
    report = Report(
        "ingest", {"rows": data.rows, "MiB": round(size / MIB, 1), "rounds": options.rounds}
    )
    for batch_rows, in_flight in itertools.product(options.batches, options.in_flight):
        _measure_batches(report, data, batch_rows, in_flight, options)
    report.save()


def _measure_batches(
    report: Report, data: Dataset, batch_rows: int, in_flight: int, options: argparse.Namespace
) -> None:
    """Each round writes a file in two ways and fills a new collection, which is made outside the
    clock.
    """
    size = data.train.nbytes + 8 * data.rows
    with doors.opened("server", options.threads) as door, doors.scratch() as folder:
        fresh = iter(range(1_000_000))

        def whole() -> None:
            write_file(folder / f"whole-{next(fresh)}", data.train, data.rows)

        def synced_parts() -> None:
            write_file(folder / f"parts-{next(fresh)}", data.train, batch_rows)

        def ours() -> None:
            doors.insert(door.client, data.train, batch_rows, in_flight)

        def prepare() -> None:
            if doors.checked(door.client.has_collection(doors.COLLECTION)):
                doors.checked(door.client.drop_collection(doors.COLLECTION))
            doors.create(door.client, data)
            for path in folder.iterdir():
                path.unlink()
            os.sync()  # what the last action left to the disk must not slow the next
            time.sleep(SETTLE_SECONDS)
            warm_free_memory(4 * size)

        file_seconds, parts_seconds, seconds = alternate(
            options.rounds, whole, synced_parts, ours, before=prepare
        )
    mib = size / MIB
    report.add(
        **{
            "batch rows": batch_rows,
            "in flight": in_flight,
            "insert s": seconds,
            "rows/s": int(data.rows / seconds),
            "MiB/s": mib / seconds,
            "file MiB/s": mib / file_seconds,
            "of file": file_seconds / seconds,
            "of file synced per batch": parts_seconds / seconds,
        }
    )


def write_file(path: Path, vectors: Floats, batch_rows: int) -> None:
    """The bytes of an insert, ids and vectors, with an fsync after every `batch_rows` rows."""
    ids = np.arange(len(vectors), dtype=np.int64)
    with path.open("wb", buffering=0) as file:
        for at in range(0, len(vectors), batch_rows):
            for part in (ids[at : at + batch_rows], vectors[at : at + batch_rows]):
                file.write(part.data)
            os.fsync(file.fileno())
