"""Inserts that go on while flushes and merges work: until all is acknowledged, and until everything
has come to rest.

Rows are eight times the insert buffer, so that writing goes at the pace of flushes. The same bytes
in a plain file with an `fsync` per call stand beside it, in turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from contextlib import closing

from bench.deletes import BATCH, insert_all
from bench.doors import scratch
from bench.ingest import write_file
from bench.measure import MIB, timed, wait_until_quiet, warm_free_memory
from bench.search import load, save
from milvine.bench.contenders.milvus_1x import checked, connect
from milvine.bench.results import Results
from milvine.bench.vectors import Dataset

SETS = ["clustered:1000000"]
BUFFERS = 8  # insert buffers that the rows fill
SHARE = 0.2
STILL_SECONDS, STILL_SECONDS_MAX, LOOK_SECONDS = 3.0, 300.0, 0.05


def measure(options: argparse.Namespace) -> None:
    results = Results({"rounds": options.rounds, "buffers": BUFFERS})
    for data in load(options):
        rounds = [ingested(data) for _ in range(min(options.rounds, 3))]
        plain, acknowledged, at_rest = (
            statistics.median(each) for each in zip(*rounds, strict=True)
        )
        results.add(
            {
                "what": "sustained",
                "data": data.name,
                "rows": data.rows,
                "contender": "embedded",
                "plain_rows_a_second": data.rows / plain,
                "acknowledged_rows_a_second": data.rows / acknowledged,
                "at_rest_rows_a_second": data.rows / at_rest,
                "acknowledged_share": plain / acknowledged,
                "name": (
                    f"{data.name}: sustained ingest until flushes and merges rest, share of write"
                    " and fsync"
                ),
                "value": plain / at_rest,
                "goal": SHARE,
            }
        )
    save(results, "sustained")


def ingested(data: Dataset) -> tuple[float, float, float]:
    """Seconds of the plain file, of all acknowledgements, and until nothing is written any more."""
    with scratch() as folder:
        warm_free_memory(2 * data.train.nbytes)
        _, plain = timed(lambda: write_file(folder / "plain", data.train, BATCH))
    with scratch() as folder:
        warm_free_memory(2 * data.train.nbytes)
        setup = {
            "collection": "sustained",
            "create": True,
            "dimension": data.dimension,
            "metric": data.metric.name,
        }
        with closing(connect(f"file://{folder / 'data'}", setup)) as client:
            buffer = max(1, data.train.nbytes // BUFFERS // MIB)
            checked(client.client.set_config("cache", "insert_buffer_size", f"{buffer}MB"))
            began = time.monotonic()
            insert_all(client, data)
            acknowledged = time.monotonic() - began
            checked(client.client.flush(["sustained"]))
            at_rest = (
                wait_until_quiet(folder, STILL_SECONDS, STILL_SECONDS_MAX, LOOK_SECONDS) - began
            )
    return plain, acknowledged, at_rest
