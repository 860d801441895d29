"""A server under a control group whose memory limit is a third of the data: it answers and does not die.

The group is made below this process's own, which needs the right to do so (root, or a delegated group); where that is
missing the measurement says so and is left out.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.deletes import filled_collection, served
from bench.search import load, save
from milvine.bench.contenders.milvus_1x import Milvus1x
from milvine.bench.plan import KINDS
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
            with group(limit) as folder:
                _measure_set(results, data, folder, limit, options)
        except NoGroup as error:
            print(f"left out: {error}", flush=True)
    save(results, "limited")


def _measure_set(results: Results, data: Dataset, folder: Path, limit: int, options: argparse.Namespace) -> None:
    entering = f'echo $$ > {folder}/cgroup.procs && exec "$@"'
    with served(options.threads, "sh", "-c", entering, "sh") as server:
        client = filled_collection(server.place, data, "limited")
        try:
            for kind in [KINDS[name] for name in options.kinds or ("IVF_FLAT", "exact")]:
                client.build(kind.name, dict(kind.build))
                client.tune(kind.name, dict(kind.search))
                rate = _rate(client, data, options.seconds)
                alive = server.process.poll() is None
                results.add(
                    {
                        "what": "limited",
                        "data": data.name,
                        "rows": data.rows,
                        "kind": kind.name,
                        "contender": "server",
                        "limit_mib": limit >> 20,
                        "data_mib": data.train.nbytes >> 20,
                        "rate": rate,
                        "name": f"{data.name} {kind.name}: alive with memory for a third of the data",
                        "value": float(alive),
                        "goal": 1.0,
                    }
                )
        finally:
            client.close()


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
    """Where this process is in the hierarchy that limits memory, and the file that takes the limit."""
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
