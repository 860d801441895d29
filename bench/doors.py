"""The two ways into Milvine: a server in a process of its own behind our gRPC client, and the
database in this one.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from bench.cases import Case
from bench.data import ROOT
from milvine.bench.vectors import Dataset
from milvine.interpreter import running_module
from milvine.types import Floats, Ids
from milvus import IndexType, MetricType, Milvus

WORK_FOLDER = ROOT / "bench" / "out" / "work"
COLLECTION = "bench"
START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 120.0


class Door(Protocol):
    """Something that holds a data folder and gives out a client."""

    name: str
    client: Milvus

    def restart(self) -> None:
        """Close the folder as an operator would, and open it again."""

    def close(self) -> None: ...


class Embedded:
    """The database in this process."""

    name = "embedded"

    def __init__(self, folder: Path, threads: int) -> None:
        self.folder = folder
        self.client = Milvus(uri=f"file://{folder}")

    def restart(self) -> None:
        self.client.close()
        self.client = Milvus(uri=f"file://{self.folder}")

    def close(self) -> None:
        self.client.close()


class Server:
    """`milvine serve` in a process of its own, and our client on its port."""

    name = "server"

    def __init__(self, folder: Path, threads: int, *flags: str) -> None:
        self.folder, self.threads, self.flags = folder, threads, flags
        self.port, self.http_port = free_port(), free_port()
        self.started_in = self._start()

    def _start(self) -> float:
        """Seconds from starting the process to a connected client."""
        config = self.folder.with_suffix(".yaml")
        config.write_text(
            f"version: 0.5\nengine_config:\n  omp_thread_num: {self.threads}\n", encoding="utf-8"
        )
        began = time.perf_counter()
        options = [
            "--data",
            self.folder,
            "--port",
            self.port,
            "--http-port",
            self.http_port,
            "--config",
            config,
        ]
        command = running_module("milvine", "serve", *map(str, options), *self.flags)
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._await_ready()
        self.client = Milvus(host="127.0.0.1", port=str(self.port))
        return time.perf_counter() - began

    def _await_ready(self) -> None:
        """The server prints one line when it serves; it ends its output when it fails."""
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise RuntimeError(f"the server ended with exit code {self.process.wait()}")

    def restart(self) -> None:
        self.close()
        self.started_in = self._start()

    def close(self) -> None:
        self.client.close()
        self.process.terminate()
        self.process.wait(STOP_SECONDS_MAX)
        if self.process.stdout:
            self.process.stdout.close()


DOORS: dict[str, Callable[[Path, int], Door]] = {"server": Server, "embedded": Embedded}


@contextlib.contextmanager
def opened(kind: str, threads: int) -> Iterator[Any]:
    """A door onto an empty folder, which is removed afterwards."""
    with scratch() as folder:
        door = DOORS[kind](folder / "data", threads)
        try:
            yield door
        finally:
            door.close()


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder beside the results, on the same disk for everything that is compared."""
    WORK_FOLDER.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=WORK_FOLDER))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# One call each; all raise when the answer is not OK.


def checked(answer: Any) -> Any:
    """What a call returned beside its status, or the status alone."""
    status, value = answer if isinstance(answer, tuple) else (answer, None)
    if not status.OK():
        raise RuntimeError(f"code {status.code}: {status.message}")
    return value


def create(client: Milvus, data: Dataset) -> None:
    param = {
        "collection_name": COLLECTION,
        "dimension": data.dimension,
        "index_file_size": 4096,  # everything in one segment, as raw faiss has it
        "metric_type": MetricType(int(data.metric)),
    }
    checked(client.create_collection(param))


def insert(client: Milvus, vectors: Floats, batch_rows: int, in_flight: int = 1) -> None:
    """All rows with their row numbers as ids, in calls of `batch_rows`, at most `in_flight` of them
    unanswered.

    Returns when every call is acknowledged.
    """
    ids = np.arange(len(vectors), dtype=np.int64)
    waiting: deque[Any] = deque()
    for at in range(0, len(vectors), batch_rows):
        rows = slice(at, at + batch_rows)
        if in_flight == 1:
            checked(client.insert(COLLECTION, vectors[rows], ids=ids[rows]))
            continue
        if len(waiting) == in_flight:
            checked(waiting.popleft().result())
        waiting.append(client.insert(COLLECTION, vectors[rows], ids=ids[rows], _async=True))
    for call in waiting:
        checked(call.result())


def create_index(client: Milvus, case: Case) -> None:
    checked(client.create_index(COLLECTION, IndexType(int(case.type)), dict(case.build)))


def search(client: Milvus, queries: Floats, k: int, case: Case) -> Any:
    """The client's result object, as a user gets it."""
    return checked(
        client.search(COLLECTION, top_k=k, query_records=queries, params=dict(case.search))
    )


def found_rows(result: Any, queries: int, k: int) -> Ids:
    """Row numbers (queries, k) of a result; -1 where there were fewer hits."""
    rows = np.full((queries, k), -1, np.int64)
    for row, ids in zip(rows, result.id_array, strict=True):
        row[: len(ids)] = ids[:k]
    return rows


def segments(client: Milvus) -> int:
    """Segments of the collection, all partitions together."""
    stats = checked(client.get_collection_stats(COLLECTION))
    return sum(len(partition["segments"] or ()) for partition in stats["partitions"])
