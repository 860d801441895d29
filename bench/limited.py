"""A server under a control group whose memory limit is a third of the data: it answers, does not
die, and starts again.

The group is made below this process's own, which needs the right to do so (root, or a delegated
group); where that is missing the measurement says so and is left out.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from bench.deletes import BATCH, filled_collection, served
from bench.search import load, save
from milvine.bench.contenders.milvus_1x import Milvus1x, checked, connect
from milvine.bench.fleet import Serving
from milvine.bench.plan import KINDS, Kind
from milvine.bench.results import Results
from milvine.bench.vectors import Dataset

SETS = ["clustered:1000000"]
SHARE = 1 / 3
LEAST_BYTES = 200 << 20  # what an empty server with its libraries takes
GROUPS = Path("/sys/fs/cgroup")


class NoGroup(Exception):
    """A control group cannot be made here."""


def measure(options: argparse.Namespace) -> None:
    results = Results({"share": SHARE, "threads": options.threads})
    for data in load(options):
        limit = max(int(data.train.nbytes * SHARE), LEAST_BYTES)
        try:
            with group(limit) as folder, served(options.threads, *_entering(folder)) as server:
                Life(results, data, folder, limit, server).live(options)
        except NoGroup as error:
            print(f"left out: {error}", flush=True)
    save(results, "limited")


def _entering(folder: Path) -> tuple[str, ...]:
    return "sh", "-c", f'echo $$ > {folder}/cgroup.procs && exec "$@"', "sh"


class Life:
    """Of a server in the group `folder`: filled, searched with each kind of index, killed, started
    again.
    """

    def __init__(
        self, results: Results, data: Dataset, folder: Path, limit: int, server: Serving
    ) -> None:
        self._results, self._data, self._folder, self._limit, self._server = (
            results,
            data,
            folder,
            limit,
            server,
        )
        self._client: Milvus1x | None = None

    def live(self, options: argparse.Namespace) -> None:
        """A step that fails is a row with the value 0 and the reason; those after it are tried
        while it lives.
        """
        steps = [("fill", "ingest", self._fill)]
        steps += [
            (name, name, partial(self._searched, KINDS[name], options.seconds))
            for name in _kinds(options)
        ]
        steps += [("restart", "restart", self._restarted)]
        for name, kind, step in steps:
            reason, found = "", dict[str, float]()
            try:
                found = step()
            except (
                Exception
            ) as error:  # of the client, of the server, or of both: a figure all the same
                reason = self._why(error)
            self._add(name, kind, reason, found)
        if self._client:
            self._client.close()

    def _fill(self) -> dict[str, float]:
        began = time.perf_counter()
        self._client = filled_collection(self._server.address, self._data, "limited")
        return {"rate": self._data.rows / (time.perf_counter() - began)}

    def _searched(self, kind: Kind, seconds: float) -> dict[str, float]:
        client = self._filled()
        began = time.perf_counter()
        client.build(kind.name, dict(kind.build))
        built = time.perf_counter() - began
        client.tune(kind.name, dict(kind.search))
        return {"rate": _rate(client, self._data, seconds), "build_seconds": built}

    def _restarted(self) -> dict[str, float]:
        """With what was inserted last in the log only."""
        rows, client = self._data.train[:BATCH], self._filled()
        client.insert(np.arange(self._data.rows, self._data.rows + len(rows)), rows)
        client.loaded()
        self._client = None
        client.close()
        self._server.kill()
        began = time.perf_counter()
        self._server.start()
        self._client = connect(self._server.address, {"collection": "limited", "create": False})
        count = checked(self._client.client.count_entities("limited"))
        if count != self._data.rows + len(rows):
            raise RuntimeError(f"{count} rows after the restart")
        return {"seconds": time.perf_counter() - began}

    def _filled(self) -> Milvus1x:
        if self._client is None or self._server.process.poll() is not None:
            raise RuntimeError("there is no filled server")
        return self._client

    def _why(self, error: Exception) -> str:
        """In words; a killed server is seen a little later than the end of its connection."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            ended = self._server.process.wait(1.0)
            return f"the server ended with exit code {ended} (-9: killed, for want of memory)"
        return f"{type(error).__name__}: {error}"

    def _add(self, name: str, kind: str, reason: str, found: dict[str, float]) -> None:
        row = {
            "what": "limited",
            "data": self._data.name,
            "rows": self._data.rows,
            "kind": kind,
            "contender": "server",
            "limit_mib": self._limit >> 20,
            "data_mib": self._data.train.nbytes >> 20,
            "peak_mib": _peak(self._folder) >> 20,
            **found,
            "name": f"{self._data.name} {name}: alive with memory for a third of the data",
            "value": float(not reason),
            "goal": 1.0,
        }
        self._results.add({**row, "why": reason} if reason else row)


def _kinds(options: argparse.Namespace) -> Sequence[str]:
    return options.kinds or ("IVF_FLAT", "exact")


def _peak(folder: Path) -> int:
    """The most bytes that the group ever had, page cache included; 0 where the system does
    not say.
    """
    for name in ("memory.max_usage_in_bytes", "memory.peak"):
        with contextlib.suppress(OSError):
            return int((folder / name).read_text(encoding="ascii"))
    return 0


def _rate(client: Milvus1x, data: Dataset, seconds: float) -> float:
    """Searches a second, one client; at least three are made."""
    began, calls = time.perf_counter(), 0
    while calls < 3 or time.perf_counter() < began + seconds:
        number = calls % len(data.queries)
        client.search(data.queries[number : number + 1], 10)
        calls += 1
    return calls / (time.perf_counter() - began)


@contextlib.contextmanager
def group(limit: int) -> Iterator[Path]:
    """The folder of a control group with a memory limit in bytes, removed afterwards.

    Raises:
        NoGroup: the system has none, or not for this user.
    """
    parent, file = _own_group()
    folder = parent / f"milvine-bench-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / file).write_text(str(limit), encoding="ascii")
    except OSError as error:
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise NoGroup(f"no control group with a memory limit can be made here: {error}") from error
    try:
        yield folder
    finally:
        _remove(folder)


def _own_group() -> tuple[Path, str]:
    """Where this process is in the hierarchy that limits memory, and the file that takes
    the limit.
    """
    if sys.platform != "linux":
        raise NoGroup("control groups are Linux's")
    for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return GROUPS / "memory" / path.lstrip("/"), "memory.limit_in_bytes"
        if not controllers and "memory" in _controllers(GROUPS / path.lstrip("/")):
            return GROUPS / path.lstrip("/"), "memory.max"
    raise NoGroup("no hierarchy of control groups limits memory here")


def _controllers(folder: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return (folder / "cgroup.subtree_control").read_text(encoding="ascii").split()
    return []


def _remove(folder: Path) -> None:
    """A group can be removed when its last process is gone."""
    for _ in range(100):
        with contextlib.suppress(OSError):
            folder.rmdir()
            return
        time.sleep(0.1)
