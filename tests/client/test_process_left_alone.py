"""An embedded database works in the process of somebody else, and leaves what is process-wide there
as it was.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LOOK = """
import faulthandler, gc, locale, logging, os, random, resource, signal, sys, threading, warnings
import multiprocessing
import numpy as np

folder = sys.argv[1]
multiprocessing.get_start_method()
random.seed(1)
np.random.seed(1)


def look():
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    mask = os.umask(0o22)
    os.umask(mask)
    return {
        "environment": dict(os.environ),
        "numpy's errors": np.geterr(),
        "numpy's printing": np.get_printoptions(),
        "filters": [
            each for each in warnings.filters if not each[2].__module__.startswith("ruamel")
        ],
        "signals": handlers,
        "locale": locale.setlocale(locale.LC_ALL),
        "logging": (
            logging.getLogger().handlers[:],
            logging.getLogger().level,
            logging.root.manager.disable,
        ),
        "drawn": random.getstate(),
        "drawn by numpy": str(np.random.get_state()),
        "umask": mask,
        "folder": os.getcwd(),
        "collector": (gc.get_threshold(), gc.isenabled(), gc.callbacks[:], gc.get_freeze_count()),
        "faults": faulthandler.is_enabled(),
        "path": sys.path[:],
        "hooks": (sys.excepthook, threading.excepthook, sys.unraisablehook),
        "recursion": sys.getrecursionlimit(),
        "switching": sys.getswitchinterval(),
        "start": multiprocessing.get_start_method(allow_none=True),
        "limits": [resource.getrlimit(number) for number in range(16)],
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "processors": os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None,
    }


before = look()
if sys.argv[2] == "first":
    import faiss

    faiss.omp_set_num_threads(3)
"""
WORK = """
from milvus import IndexType, MetricType, Milvus

client = Milvus(uri=f"file://{folder}")
if sys.argv[2] == "later":
    import faiss

    faiss.omp_set_num_threads(3)
rows = np.random.default_rng(0).random((5000, 16), dtype=np.float32)
for metric in (MetricType.L2, MetricType.HAMMING):
    name = metric.name
    client.create_collection({"collection_name": name, "dimension": 16, "metric_type": metric})
    data = rows
    if metric is not MetricType.L2:
        data = [row.tobytes() for row in (rows[:, :2] * 255).astype(np.uint8)]
    assert client.insert(name, data, ids=range(5000))[0].OK()
    for params in ({}, {"nprobe": 2}):
        for count in (1, 40):
            status, found = client.search(name, 3, data[:count], params=params)
            assert status.OK() and len(found) == count, status
        assert client.flush([name]).OK()
        assert client.create_index(name, IndexType.IVF_FLAT, {"nlist": 8}).OK()
        assert client.load_collection(name).OK()
assert faiss.omp_get_max_threads() == 3, faiss.omp_get_max_threads()
client.close()
assert faiss.omp_get_max_threads() == 3, faiss.omp_get_max_threads()
after = look()
changed = {key: (before[key], after[key]) for key in before if before[key] != after[key]}
assert not changed, changed
"""


@pytest.mark.skipif(sys.platform == "win32", reason="resource")
@pytest.mark.parametrize("faiss", ["first", "later"])
def test_an_embedded_database_leaves_the_process_as_it_was(tmp_path: Path, faiss: str) -> None:
    environment = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith(("OMP_", "GOMP_", "KMP_"))
    }
    command = [sys.executable, "-c", LOOK + WORK, str(tmp_path / "data"), faiss]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
