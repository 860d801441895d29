"""The load command: what it proves in minutes must hold in seconds, and what it finds must
be told.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from milvine.client.milvus import Milvus
from milvine.testing.load.__main__ import BUDGET, main
from milvine.testing.load.checking import check_everything
from milvine.testing.load.figures import Outcome, lines
from milvine.testing.load.journal import Journal, live_ids, read, vectors_of
from milvine.testing.load.plan import Plan
from milvine.testing.load.running import memory_bound, run
from milvine.testing.load.serving import MIB, ServerProcess, Usage

FEW = [
    "--writers",
    "4",
    "--readers",
    "4",
    "--deleters",
    "1",
    "--processes",
    "2",
    "--batch",
    "100",
    "--pause",
    "0.02",
]
LINUX = os.path.exists("/proc/self/status")


def test_some_seconds_of_load_lose_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["--minutes", "0.06", *FEW, "--work", str(tmp_path / "load")])
    told = capsys.readouterr().out
    assert status == 0, told
    assert re.search(r"rows compared [1-9]\d*, deleted rows found gone \d+, wrong 0", told)
    for operation in (
        "insert",
        "search, nq 1",
        "search, nq 16",
        "get",
        "delete",
        "create_index",
        "flush",
        "compact",
    ):
        assert re.search(rf"^{operation} +[1-9]", told, re.MULTILINE), told
    assert ("memory, anonymous" in told) == LINUX
    assert not (tmp_path / "load").exists()


def test_a_silent_server_is_a_deadlock(tmp_path: Path) -> None:
    plan = Plan(5, 1, 0, 0, 0, 1, batch=10, stall=-1.0, settings=BUDGET)
    outcome = run(plan, tmp_path)
    assert "no answer for" in outcome.problems[0]
    if LINUX:
        assert "Current thread" in (tmp_path / "server.err").read_text(encoding="utf-8")


def test_losses_and_returns_are_found(tmp_path: Path) -> None:
    plan = Plan(dimensions=(4,))
    server = ServerProcess(tmp_path / "data", {}, tmp_path / "server.err", sample=False)
    milvus = Milvus(host="127.0.0.1", port=server.port)
    try:
        for name in plan.collections:
            milvus.create_collection({"collection_name": name, "dimension": 4})
        journal, deleted = (
            Journal(tmp_path / "writer0.journal"),
            Journal(tmp_path / "deleter0.journal"),
        )
        journal.add(0, 0, 100, 10, 7)
        assert check_everything(server.port, plan, tmp_path)[2] == [
            "given4 counts 0 rows, 10 were acknowledged and not deleted",
            "given4: 10 acknowledged rows of batch 100 are lost",
        ]
        (batch,) = read(tmp_path, "writer")
        milvus.insert("given4", vectors_of(batch, plan), list(range(100, 110)))
        assert check_everything(server.port, plan, tmp_path) == (10, 0, [])
        deleted.add(0, 2, 100, 5, 0)
        assert check_everything(server.port, plan, tmp_path)[2] == [
            "given4 counts 10 rows, 7 were acknowledged and not deleted",
            "given4: 3 deleted rows of batch 100 are there",
        ]
        milvus.delete_entity_by_id("given4", [102, 103, 104])
        assert check_everything(server.port, plan, tmp_path) == (7, 3, [])
        journal.close(), deleted.close()
    finally:
        milvus.close()
        assert server.stop() == ""


def test_a_journal_ends_at_its_last_whole_entry(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "writer1.journal")
    journal.add(1, 2, 30, 4, 5)
    journal.close()
    with (tmp_path / "writer1.journal").open("ab") as file:
        file.write(b"half")
    assert read(tmp_path, "writer").tolist() == [[1, 2, 30, 4, 5]]
    ((batch, alive),) = live_ids(read(tmp_path, "writer"), np.array([[1, 1, 30, 3, 0]]), 1)
    assert (batch.tolist(), alive.tolist()) == ([1, 2, 30, 4, 5], [30, 33])


def test_the_bound_is_the_sum_of_the_budgets() -> None:
    assert memory_bound(BUDGET) - memory_bound(BUDGET | {"cache.cache_size": "1MB"}) == 255 * MIB
    assert (
        memory_bound(BUDGET) - memory_bound(BUDGET | {"network.request_bytes_max": "1MB"})
        == 127 * MIB
    )


def test_a_plan_travels_and_figures_are_lines() -> None:
    plan = Plan(settings={"a.b": "c"})
    assert Plan.from_json(json.dumps(json.loads(plan.to_json()))) == plan
    outcome = Outcome(
        2.0, Usage([MIB], [2 * MIB], [0], 2.0), 9 * MIB, {"get": [0.001] * 4}, {"readers": 8}
    )
    told = list(lines(outcome, 2))
    assert told[1].split() == ["get", "4", "2.0", "1.0", "1.0", "1.0", "1.0"]
    assert "50% of 2 cores" in "\n".join(told) and "rows a second: readers 4" in told
