"""Memory, disk and CPU of a server that was loaded and then left alone."""

from __future__ import annotations

import argparse

import faiss

from bench import data as sets
from bench import doors, raw
from bench.cases import Case, cases
from bench.measure import MIB, anonymous_bytes, cpu_share, folder_bytes, wait_until_quiet
from bench.report import Report
from milvine.bench.vectors import Dataset

IDLE_SECONDS = 10.0


def measure(options: argparse.Namespace) -> None:
    faiss.omp_set_num_threads(options.threads)
    data = sets.load(options.sets[0], options.rows)
    report = Report(
        "footprint", {"data": data.name, "rows": data.rows, "idle seconds": IDLE_SECONDS}
    )
    for case in cases(
        data.dimension, options.types or ["FLAT", "IVF_FLAT", "IVF_SQ8", "IVF_PQ", "HNSW"]
    ):
        _measure_case(report, data, case, options)
    report.save()


def _measure_case(report: Report, data: Dataset, case: Case, options: argparse.Namespace) -> None:
    with doors.opened("server", options.threads) as door:
        doors.create(door.client, data)
        doors.insert(door.client, data.train, options.batch_rows)
        doors.checked(door.client.flush([doors.COLLECTION]))
        doors.create_index(door.client, case)
        doors.search(door.client, data.queries[:100], 10, case)
        wait_until_quiet(door.folder)
        disk = folder_bytes(door.folder)
        memory = anonymous_bytes(door.process.pid)
        cpu = cpu_share(door.process.pid, IDLE_SECONDS)
    rows = data.train.nbytes + 8 * data.rows
    index = raw.build(data, case)
    report.add(
        **{
            "index": case.name,
            "disk MiB": disk / MIB,
            "rows MiB": rows / MIB,
            "raw index MiB": index.file_bytes() / MIB,
            "disk x": disk / (rows + index.file_bytes()),
            "disk x, no vector twice": disk / (rows + index.file_bytes() - index.repeated_bytes()),
            "anonymous MiB": memory / MIB,
            "idle CPU %": 100 * cpu,
        }
    )
