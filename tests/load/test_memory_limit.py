"""A server with its defaults in a control group with less memory than it is given rows: it lives,
and starts again.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bench.limited import NoGroup, group
from milvine.bench.contenders.milvus_1x import checked, connect
from milvine.bench.fleet import Serving
from milvine.limits import TOPK_MAX

LIMIT = 130 << 20
ROWS, DIMENSION, BATCH = 160_000, 128, 2_000  # 82 MB beside a program of 73 MB


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="control groups are Linux's")
def test_more_rows_than_memory(tmp_path: Path) -> None:
    try:
        with group(LIMIT) as folder:
            live(tmp_path, folder)
    except NoGroup as error:
        pytest.skip(str(error))


def live(tmp_path: Path, folder: Path) -> None:
    rows = np.random.default_rng(1).random((ROWS, DIMENSION), dtype=np.float32)
    server = Serving(
        tmp_path / "data", 1, ("sh", "-c", f'echo $$ > {folder}/cgroup.procs && exec "$@"', "sh")
    )
    try:
        client = connect(
            server.address,
            {"collection": "c", "create": True, "dimension": DIMENSION, "metric": "L2"},
        )
        for start in range(0, ROWS, BATCH):
            client.insert(np.arange(start, start + BATCH), rows[start : start + BATCH])
        client.loaded()
        wanted = np.array([0, 77_777, ROWS - 1])
        assert [hits[0] for hits in client.search_many(rows[wanted], 1)] == wanted.tolist()
        answer_many_hits(server.address, rows)
        client.close()
        server.kill()
        server.start()
        client = connect(server.address, {"collection": "c", "create": False})
        assert checked(client.client.count_entities("c")) == ROWS
        found = checked(client.client.get_entity_by_id("c", wanted.tolist()))
        assert (np.asarray(found, np.float32) == rows[wanted]).all()
        assert checked(client.client.get_config("cache", "insert_buffer_size")) == "5MB"
        client.close()
    finally:
        server.stop()


def answer_many_hits(address: str, rows: np.ndarray) -> None:
    """Searches whose partial hits do not fit into memory together, and one whose answer alone does
    not.
    """

    def ask(caller: int) -> None:
        some = np.arange(caller, ROWS, ROWS // 8)[:8]
        other = connect(address, {"collection": "c", "create": False})
        assert [hits[0] for hits in other.search_many(rows[some], TOPK_MAX)] == some.tolist()
        other.close()

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(ask, range(6))) == [None] * 6
    other = connect(address, {"collection": "c", "create": False})
    with pytest.raises(Exception, match="with 16384 hits each would take 12 MB; the limit is 1 MB"):
        other.search_many(rows[:64], TOPK_MAX)
    other.close()
