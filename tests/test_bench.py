"""The benchmark counts right: its answers are checked on sets small enough to see through."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner

from bench import builds, guard, limited, peers, search, sustained
from bench import data as sets
from bench.__main__ import options_of
from bench.cases import cases
from bench.ingest import write_file
from bench.measure import alternate, folder_bytes
from bench.scale import add_growth
from milvine.bench.fleet import ContenderFailed, Worker
from milvine.bench.picture import draw
from milvine.bench.plan import KINDS, OWN_ENTRIES, RAW, Entry, Plan
from milvine.bench.race import Race
from milvine.bench.results import Results
from milvine.bench.tables import markdown
from milvine.bench.targets import judge
from milvine.bench.vectors import Dataset, clustered, from_file, recall
from milvine.cli import app
from milvine.types import IndexType, MetricType

NOBODY = np.empty(0, np.int64)


def line_of_points(rows: int = 200) -> Dataset:
    """Row i lies at i; the queries at -1, -2 and -3, so that the nearest rows are 0, 1, 2, ..."""
    train = np.arange(rows, dtype=np.float32)[:, None]
    queries = -np.arange(1, 4, dtype=np.float32)[:, None]
    return Dataset(
        "line", MetricType.L2, train, queries, sets.nearest(train, queries, MetricType.L2)
    )


def test_the_truth_has_recall_one() -> None:
    data = line_of_points()
    assert sets.recall(data, data.nearest, NOBODY) == 1.0


def test_misses_repeats_and_fillers_count_as_missed() -> None:
    data = line_of_points()
    found = np.tile([0, 1, 2, 3, 4, 4, 4, -1, -1, 150], (3, 1))
    assert sets.recall(data, found, NOBODY) == pytest.approx(0.5)


def test_dead_rows_are_no_answer_and_their_successors_are() -> None:
    data, dead = line_of_points(), np.arange(5)
    assert sets.recall(data, np.tile(np.arange(10), (3, 1)), dead) == pytest.approx(0.5)
    assert sets.recall(data, np.tile(np.arange(5, 15), (3, 1)), dead) == 1.0


def test_a_row_as_near_as_the_last_neighbour_counts() -> None:
    train = np.zeros((300, 4), np.float32)
    data = Dataset(
        "same", MetricType.IP, train, train[:1], sets.nearest(train, train[:1], MetricType.IP)
    )
    assert sets.recall(data, np.arange(200, 210)[None, :], NOBODY) == 1.0


def test_too_many_deletes_are_noticed() -> None:
    data = line_of_points()
    with pytest.raises(ValueError, match="delete fewer"):
        sets.recall(data, data.nearest, np.arange(95))


def test_every_type_is_measured_with_parameters_that_fit() -> None:
    for dimension in (100, 128, 384):
        found = {case.type: case for case in cases(dimension)}
        assert set(found) == {
            IndexType.FLAT,
            IndexType.IVF_FLAT,
            IndexType.IVF_SQ8,
            IndexType.IVF_SQ8H,
            IndexType.IVF_PQ,
            IndexType.HNSW,
            IndexType.RNSG,
            IndexType.ANNOY,
            IndexType.IVF_PQFS,
            IndexType.IVF_RABITQ,
            IndexType.HNSW_SQ8,
        }
        assert dimension % found[IndexType.IVF_PQ].build["m"] == 0


def test_actions_take_turns() -> None:
    order: list[str] = []
    alternate(
        2, lambda: order.append("a"), lambda: order.append("b"), before=lambda: order.append("-")
    )
    assert "".join(order) == "-a-b-a-b"


def test_the_plain_file_holds_the_same_bytes(tmp_path: Path) -> None:
    vectors = np.ones((10, 4), np.float32)
    write_file(tmp_path / "plain", vectors, batch_rows=3)
    assert (tmp_path / "plain").stat().st_size == vectors.nbytes + 8 * len(vectors)
    assert folder_bytes(tmp_path) >= vectors.nbytes


# The race


def test_clustered_vectors_are_the_same_each_time() -> None:
    first, second = clustered(500, 20), clustered(500, 20)
    assert np.array_equal(first.train, second.train) and np.array_equal(
        first.queries, second.queries
    )
    assert (first.rows, first.dimension, len(first.queries), first.nearest.shape) == (
        500,
        128,
        20,
        (20, 100),
    )
    assert recall(first, first.nearest) == 1.0


def test_own_vectors_come_from_a_file(tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", np.random.default_rng(1).random((400, 8)))
    data = from_file(tmp_path / "mine.npy", MetricType.IP, rows=200, queries=50)
    assert (data.name, data.rows, data.dimension, len(data.queries)) == ("mine", 200, 8, 50)
    with pytest.raises(ValueError, match="more than 600 rows"):
        from_file(tmp_path / "mine.npy", MetricType.L2, None, queries=500)


TOY = '''
import numpy as np

class Toy:
    """Finds row 0 always, breaks when asked for an index it does not have."""
    def __init__(self, address, setup):
        self.address, self.rows = address, 0
        if setup["dimension"] == 7:
            raise RuntimeError("no sevens")
    def insert(self, ids, vectors): self.rows += len(ids)
    def loaded(self): print("noise on standard output")
    def build(self, kind, params):
        if kind == "HNSW": raise RuntimeError("no graphs")
    def tune(self, kind, params): pass
    def search(self, query, k): return [0]
    def close(self): pass

def connect(address, setup): return Toy(address, setup)
'''


def toy(folder: Path) -> Entry:
    (folder / "toy.py").write_text(TOY, encoding="utf-8")
    return Entry("toy", folder / "toy.py", Path(sys.executable), served=True, batch=100)


def test_the_part_builds_has_a_table_too() -> None:
    results = Results({})
    case = next(case for case in cases(4, ["IVF_FLAT"]) if case.build)
    builds.add(results, clustered(50, queries=2), case, "built", "index build", 1.2, 1.1)
    builds.add(results, clustered(50, queries=2), case, "searched", "share of the rate", 0.9, 0.5)
    markdown(results.rows)
    assert [target.met for target in judge(results.rows)] == [False, True]


def test_contenders_take_turns_and_one_that_fails_drops_out(tmp_path: Path) -> None:
    data = clustered(300, 20)
    plan = Plan(
        1,
        rounds=1,
        seconds=0.02,
        clients=(1, 2),
        many=(5,),
        entries=(*OWN_ENTRIES[:2], toy(tmp_path)),
    )
    rows: list[dict[str, Any]] = []
    (tmp_path / "work").mkdir()
    Race(data, plan, tmp_path / "work", rows.append).run([KINDS["exact"], KINDS["HNSW"]])
    searches = {
        (row["kind"], row["contender"], row["clients"]): row
        for row in rows
        if row["what"] == "search"
    }
    assert searches["exact", RAW, 2]["recall"] == searches["exact", "embedded", 1]["recall"] == 1.0
    assert searches["exact", "toy", 2]["recall"] < 0.2
    assert (
        searches["exact", "embedded", 1]["of_raw"] > 0 and searches["HNSW", RAW, 1]["of_raw"] == 1.0
    )
    assert ("HNSW", "toy", 1) not in searches
    assert [(row["contender"], row["why"]) for row in rows if row["what"] == "failed"] == [
        ("toy", "RuntimeError: no graphs")
    ]
    assert {(row["contender"], row["nq"]) for row in rows if row["what"] == "many"} == {
        (RAW, 5),
        ("embedded", 5),
    }
    assert {row["contender"] for row in rows if row["what"] == "cold start"} == {"embedded"}
    assert [row["rate"] > 0 for row in rows if row["what"] == "ingest"] == [True] * 3


def test_a_worker_tells_why_it_fails(tmp_path: Path) -> None:
    worker = Worker(toy(tmp_path).adapter)
    try:
        with pytest.raises(ContenderFailed, match="no sevens"):
            worker.ask("open", address="", setup={"dimension": 7})
    finally:
        worker.close()
    with pytest.raises(ContenderFailed, match="ended"):
        worker.ask("wake")


def test_a_worker_that_says_nothing_is_ended(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time; time.sleep(60)", encoding="utf-8")
    worker = Worker(tmp_path / "slow.py")
    with pytest.raises(ContenderFailed, match="too long"):
        worker.ask("wake", within=0.2)
    worker.end()


# What is made of it


def measured(contender: str, rate: float, clients: int = 1, **more: Any) -> dict[str, Any]:
    row = {
        "what": "search",
        "data": "d",
        "rows": 1,
        "kind": "HNSW",
        "contender": contender,
        "clients": clients,
    }
    return {
        **row,
        "recall": 0.9,
        "rate": rate,
        "of_raw": rate / 10_000,
        "over_raw_us": 1e6 / rate - 100,
        "client_cpu": 100.0,
        **more,
    }


def test_targets_are_met_or_missed() -> None:
    rows = [
        measured(RAW, 10_000),
        measured("embedded", 8_000),
        measured("server", 2_500, server_cpu=250.0),
        measured("pgvector", 1_000),
        {
            "what": "get",
            "contender": "server",
            "name": "get",
            "value": 0.01,
            "goal": 0.005,
            "at_most": True,
        },
    ]
    found = {target.name.split(": ")[-1]: target for target in judge(rows)}
    assert found["microseconds of an embedded search over raw faiss"].met
    assert found["times the best server peer, 1 clients"].value == 2.5
    assert found["microseconds of server CPU over raw faiss, 1 clients"].value == pytest.approx(150)
    assert not found["microseconds of server CPU over raw faiss, 1 clients"].met
    assert not found["get"].met and "MISSED get" in found["get"].text()


def test_results_are_written_with_a_picture(tmp_path: Path) -> None:
    results = Results({"rounds": 1})
    for contender, rate in ((RAW, 10_000.0), ("a <b> & c", 1.5)):
        results.add(
            measured(contender, rate, p50=1.0, p99=2.0, least=rate, most=rate, server_cpu=None)
        )
        results.add(
            {**measured(contender, 2 * rate), "what": "curve", "breadth": 16, "recall": 0.8}
        )
    paths = results.save(tmp_path, "search")
    assert [path.name for path in paths] == ["search.json", "search.md", "search.svg"]
    content = json.loads(paths[0].read_text(encoding="utf-8"))
    assert len(content["rows"]) == 4 and content["machine"]["cores"] >= 1
    assert "| d | HNSW | raw faiss | 1 | 0.900 | 10,000 (10,000 to 10,000) |" in paths[1].read_text(
        encoding="utf-8"
    )
    assert "recall 0.95" not in paths[1].read_text(encoding="utf-8")
    picture = ElementTree.fromstring(paths[2].read_text(encoding="utf-8"))
    assert len([line for line in picture.iter() if line.tag.endswith("polyline")]) == 2


def test_a_table_says_who_is_quickest_at_a_recall() -> None:
    def curve(contender: str, kind: str, breadth: int, recall: float, rate: float) -> dict:
        row = measured(contender, rate)
        return {**row, "what": "curve", "kind": kind, "breadth": breadth, "recall": recall}

    rows = [
        curve(RAW, "HNSW", 32, 0.94, 9_000),
        curve(RAW, "HNSW", 64, 0.96, 5_000),
        curve(RAW, "IVF_FLAT", 128, 0.991, 6_000),
        {**curve("embedded", "HNSW", 64, 0.95, 4_000), "what": "search", "clients": 1},
        {**curve("embedded", "HNSW", 64, 0.95, 9_000), "what": "search", "clients": 8},
        {**curve("embedded", "exact", 0, 1.0, 700), "breadth": None},
    ]
    for row in rows:
        row.update(p50=1.0, p99=2.0, least=1.0, most=1.0, server_cpu=None)
    lines = markdown(rows).splitlines()
    head = "| data | contender | queries/s at recall 0.95 | queries/s at recall 0.99 |"
    assert lines[lines.index(head) + 2 :][:2] == [
        "| d | raw faiss | 6,000 (IVF_FLAT 128, 0.991) | 6,000 (IVF_FLAT 128, 0.991) |",
        "| d | embedded | 4,000 (HNSW 64, 0.950) | 700 (exact, 1.000) |",
    ]


def test_nothing_measured_is_no_picture(tmp_path: Path) -> None:
    assert [path.name for path in Results({}).save(tmp_path, "empty")] == ["empty.json", "empty.md"]
    ElementTree.fromstring(draw([]))


def test_the_guard_sees_what_fell() -> None:
    rows = [
        measured(RAW, 10_000),
        measured("embedded", 8_000),
        {**measured("server", 4_000), "clients": 8},
    ]
    recorded = guard.ratios(rows)
    assert recorded["search: HNSW, embedded, 1 clients"] == 0.8
    assert guard.fallen(recorded, recorded, guard.TOLERANCES) == []
    slower = guard.ratios([measured(RAW, 10_000), measured("embedded", 5_000)])
    assert [line.split(":")[1] for line in guard.fallen(recorded, slower, guard.TOLERANCES)] == [
        " HNSW, embedded, 1 clients",
        " HNSW, server, 8 clients",
        " HNSW, server, 8 clients",
    ]


def test_growth_is_put_beside_that_of_raw() -> None:
    results = Results({})
    for rows, slower in ((100, 1.0), (1000, 4.0)):
        for contender, rate in ((RAW, 1000.0), ("server", 100.0)):
            results.rows.append({**measured(contender, rate / slower), "rows": rows})
    add_growth(results)
    assert [
        (row["contender"], row["value"]) for row in results.rows if row["what"] == "growth"
    ] == [("server", 1.0)]


def test_every_peer_has_an_adapter() -> None:
    assert {peer.module for peer in peers.PEERS} == {
        path.stem for path in peers.ADAPTERS.glob("[a-z]*.py")
    }
    for peer in peers.PEERS:
        source = (peers.ADAPTERS / f"{peer.module}.py").read_text(encoding="utf-8")
        defined = {
            node.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)
        }
        assert {"connect", "insert", "loaded", "build", "tune", "search", "close"} <= defined
        assert "milvine" not in source and "from bench" not in source


def test_a_memory_limit_is_made_or_refused_with_a_reason() -> None:
    try:
        with limited.group(1 << 30) as folder:
            assert (folder / "cgroup.procs").read_text(encoding="ascii") == ""
        assert not folder.exists()
    except limited.NoGroup as error:
        assert str(error)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import os; os.kill(os.getpid(), 9)", "exit code -9 (-9: killed"),
        ("input()", "ConnectionError: gone"),
    ],
)
def test_a_server_that_died_under_its_limit_is_a_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, why: str
) -> None:
    def fails(*_: Any) -> None:
        raise ConnectionError("gone")

    monkeypatch.setattr(limited, "filled_collection", fails)
    (tmp_path / "memory.peak").write_text(f"{7 << 20}\n", encoding="ascii")
    results = Results({})
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process:
        server: Any = SimpleNamespace(process=process, address="127.0.0.1:1")
        limited.Life(results, line_of_points(), tmp_path, 200 << 20, server).live(
            options_of(["limited"])
        )
    assert [(row["kind"], row["value"]) for row in results.rows] == [
        ("ingest", 0.0),
        ("IVF_FLAT", 0.0),
        ("exact", 0.0),
        ("restart", 0.0),
    ]
    assert why in results.rows[0]["why"] and results.rows[0]["peak_mib"] == 7
    assert not any(target.met for target in judge(results.rows))


def test_the_command_line_makes_parts() -> None:
    options = options_of(
        ["search", "--rows", "2000", "--kinds", "exact", "--contenders", "server", "--rounds", "2"]
    )
    chosen = search.plan(options, OWN_ENTRIES)
    assert (chosen.rounds, chosen.kinds) == (2, ("exact",))
    assert [entry.name for entry in chosen.entries] == [RAW, "server"]


def test_milvine_bench_refuses_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "no.npy").write_bytes(b"nothing")
    answer = CliRunner().invoke(app, ["bench", "--vectors", str(tmp_path / "no.npy")])
    assert answer.exit_code == 1


@pytest.mark.parametrize("name", ["OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"])
def test_milvine_bench_leaves_its_caller_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def replaced(*_: Any) -> None:
        raise AssertionError("this process was to be replaced")

    for call in ("execv", "execve"):
        monkeypatch.setattr(os, call, replaced)
    seen: list[str | None] = []
    monkeypatch.setattr(
        "milvine.bench.vectors.from_file", lambda *_: seen.append(os.environ.get(name)) or 1 / 0
    )
    monkeypatch.setenv(name, "512")
    before = signal.getsignal(signal.SIGTERM)
    answer = CliRunner().invoke(app, ["bench", "--vectors", str(tmp_path / "no.npy")])
    assert isinstance(answer.exception, ZeroDivisionError) and seen == [None]
    assert os.environ[name] == "512" and signal.getsignal(signal.SIGTERM) is before


def test_sustained_ingest_waits_for_flushes_and_merges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sustained, "STILL_SECONDS", 0.5)
    plain, acknowledged, at_rest = sustained.ingested(clustered(12_000, 10))
    assert plain > 0 and 0 < acknowledged <= at_rest
