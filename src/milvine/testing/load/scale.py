"""Searches a second with one, two, four and eight client processes, at each door.

    python -m milvine.testing.load.scale --seconds 5

One server, one collection with an index, clients that search in a closed loop. What counts is the
ratio to one client: it must grow with the clients until the processor has no more to give, and must
not fall after that.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from milvine.client.milvus import Milvus
from milvine.testing.crash.command import module_command
from milvine.testing.load.clients import check
from milvine.testing.load.serving import ServerProcess
from milvine.types import IndexType, MetricType

CLIENTS = (1, 2, 4, 8)
INDEXES = {
    "IVF_FLAT": (IndexType.IVF_FLAT, {"nlist": 128}, {"nprobe": 8}),
    "HNSW": (IndexType.HNSW, {"M": 16, "efConstruction": 100}, {"ef": 64}),
}
_DIMENSION = 128
_NAME = "scale"
_CALL_SECONDS = 60.0


def measured(
    door: str, index: str, rows: int, seconds: float, clients: Sequence[int], work: Path
) -> list[float]:
    """Searches a second (nq 1, top 10) for each number of client processes."""
    kind, build, search = INDEXES[index]
    server = ServerProcess(
        work / f"{door}-{index}", {"network.door": door}, work / "server.err", sample=False
    )
    milvus = Milvus(host="127.0.0.1", port=server.port)
    try:
        check(milvus.create_collection(
            {"collection_name": _NAME, "dimension": _DIMENSION, "metric_type": MetricType.L2}
        ))  # fmt: skip
        random = np.random.default_rng(1)
        for _ in range(0, rows, 5000):
            check(milvus.insert(_NAME, random.random((5000, _DIMENSION), dtype=np.float32))[0])
        check(milvus.flush([_NAME]))
        check(milvus.create_index(_NAME, kind, build))
        return [_rate(server.port, count, seconds, search) for count in clients]
    finally:
        milvus.close()
        server.stop()


def _rate(port: int, count: int, seconds: float, params: dict[str, int]) -> float:
    arguments = [
        "--client",
        str(port),
        "--seconds",
        str(seconds),
        "--params",
        *(f"{k}={v}" for k, v in params.items()),
    ]
    command = module_command("milvine.testing.load.scale", arguments)
    clients = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    for client in clients:  # all are connected before the first begins
        assert client.stdout
        client.stdout.readline()
    for client in clients:
        assert client.stdin
        client.stdin.write("go\n")
        client.stdin.flush()
    done = sum(float(client.communicate()[0]) for client in clients)
    if any(client.returncode for client in clients):
        raise RuntimeError("a client failed")
    return done


def search_for(port: int, seconds: float, params: dict[str, int]) -> float:
    """Searches a second of this process alone, after a word on standard input."""
    milvus = Milvus(host="127.0.0.1", port=port)
    queries = np.random.default_rng(os.getpid()).random((256, 1, _DIMENSION), dtype=np.float32)
    check(milvus.search(_NAME, 10, queries[0], params=params, timeout=_CALL_SECONDS)[0])
    print("ready", flush=True)
    sys.stdin.readline()
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        check(
            milvus.search(
                _NAME, 10, queries[count % len(queries)], params=params, timeout=_CALL_SECONDS
            )[0]
        )
        count += 1
    taken = time.perf_counter() - began
    milvus.close()
    return count / taken


def lines(rates: Sequence[float], what: str) -> Iterator[str]:
    ratios = "".join(f"{rate:>9,.0f} ({rate / rates[0]:.2f})" for rate in rates)
    yield f"{what:<18}{ratios}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m milvine.testing.load.scale", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--clients", type=int, nargs="+", default=list(CLIENTS))
    parser.add_argument("--client", type=int, metavar="PORT", help=argparse.SUPPRESS)
    parser.add_argument("--params", nargs="*", default=[], help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.client:
        pairs = (pair.split("=") for pair in given.params)
        print(
            search_for(given.client, given.seconds, {name: int(value) for name, value in pairs}),
            flush=True,
        )
        return 0
    print(
        f"searches a second (and ratio to the first) with {given.clients} clients, {os.cpu_count()}"
        " cores"
    )
    doors = ["grpc", "native"] if importlib.util.find_spec("pygrpc_native") else ["grpc"]
    with tempfile.TemporaryDirectory(prefix="milvine-scale-") as work:
        for door in doors:
            for index in INDEXES:
                rates = measured(door, index, given.rows, given.seconds, given.clients, Path(work))
                print(*lines(rates, f"{door}, {index}"), sep="\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
