"""What one small request costs at every door: one at a time, on a connection that stays open.

A door that waits for anything but its work (a delayed acknowledgement is 40 ms) is seen here and in
no figure of throughput, for which connections are made anew or many requests are under way.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.doors import COLLECTION, Embedded, Server, checked, scratch
from bench.report import Report
from milvine.types import Floats
from milvus import MetricType, Milvus

ROWS, DIMENSION, K = 1_000, 16, 10
SAMPLES, WARM_UP = 300, 20
HOST = "127.0.0.1"
LANES = {
    "gRPC (grpcio)": ("grpc", "off"),
    "gRPC (native)": ("native", "off"),
    "lane": ("auto", "auto"),
}
"""Door -> `network.door` and `network.lane_port`, by which our client comes in there."""
Request = Callable[[], object]


def measure(options: argparse.Namespace) -> None:
    """Milliseconds of a count and of a search of one query, at each door."""
    report = Report(
        "latency", {"rows": ROWS, "dimension": DIMENSION, "topk": K, "requests": SAMPLES}
    )
    with scratch() as folder:
        for name, (door, lane) in LANES.items():
            flags = ("--door", door, "--set", f"network.lane_port={lane}")
            with contextlib.closing(
                Server(folder / name.replace(" ", "-"), options.threads, *flags)
            ) as server:
                _add(report, name, server.client)
                if name == "gRPC (grpcio)":
                    _add_rest(report, server)
        with contextlib.closing(Embedded(folder / "embedded", options.threads)) as embedded:
            _add(report, "embedded", embedded.client)
    report.save()


def _add(report: Report, name: str, client: Milvus) -> None:
    """A row for a client's calls."""
    query = _filled(client)
    count = _milliseconds(lambda: checked(client.count_entities(COLLECTION)))
    found = _milliseconds(
        lambda: checked(client.search(COLLECTION, K, query, params={"nprobe": 1}))
    )
    _tell(report, name, count, found)


def _add_rest(report: Report, server: Server) -> None:
    """Rows for REST, by our client and by any other, and for what probes and Prometheus ask."""
    with contextlib.closing(
        Milvus(host=HOST, port=str(server.http_port), handler="HTTP")
    ) as client:
        _add(report, "REST, our client", client)
    with contextlib.closing(http.client.HTTPConnection(HOST, server.http_port)) as plain:
        ask = {"search": {"topk": K, "params": {"nprobe": 1}, "vectors": [[0.5] * DIMENSION]}}
        path = f"/collections/{COLLECTION}"
        found = _milliseconds(lambda: _asked(plain, "PUT", f"{path}/vectors", json.dumps(ask)))
        _tell(report, "REST, http.client", _milliseconds(lambda: _asked(plain, "GET", path)), found)
        for probe in ("/healthz", "/readyz", "/metrics"):
            _tell(report, f"GET {probe}", _milliseconds(_probing(plain, probe)), None)


def _probing(connection: http.client.HTTPConnection, path: str) -> Request:
    return lambda: _asked(connection, "GET", path)


def _asked(
    connection: http.client.HTTPConnection, verb: str, path: str, body: str | None = None
) -> None:
    connection.request(verb, path, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{verb} {path}: {answer.status} {text[:200]!r}")


def _filled(client: Milvus) -> Floats:
    """A query, once the collection is there."""
    rows = np.random.default_rng(1).random((ROWS, DIMENSION), np.float32)
    if not checked(client.has_collection(COLLECTION)):
        param = {
            "collection_name": COLLECTION,
            "dimension": DIMENSION,
            "metric_type": MetricType.L2,
        }
        checked(client.create_collection(param))
        checked(client.insert(COLLECTION, rows, ids=list(range(ROWS))))
        checked(client.flush([COLLECTION]))
    return rows[:1]


def _milliseconds(request: Request) -> NDArray[np.float64]:
    """How long each of the requests took, (SAMPLES,)."""
    return np.fromiter(_taken(request), np.float64)[WARM_UP:] * 1e3


def _taken(request: Request) -> Iterator[float]:
    for _ in range(WARM_UP + SAMPLES):
        began = time.perf_counter()
        request()
        yield time.perf_counter() - began


def _tell(
    report: Report, door: str, small: NDArray[np.float64], found: NDArray[np.float64] | None
) -> None:
    row: dict[str, Any] = {"door": f"{door:<18}", "count_ms": float(np.median(small))}
    row["count_p99"] = float(np.percentile(small, 99))
    row["search_ms"] = None if found is None else float(np.median(found))
    row["search_p99"] = None if found is None else float(np.percentile(found, 99))
    report.add(**row)
