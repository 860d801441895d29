"""Searches that ask for a recall, in a database: chosen for each segment, held when rows go, exact
where nothing is known of an index.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from milvine.bench.vectors import Dataset, clustered
from milvine.cli import app
from milvine.config import Settings
from milvine.engine.database import Database
from milvine.errors import IllegalArgument
from milvine.index.recall import calibration
from milvine.types import IndexSetting, IndexType, MetricType

SETTINGS = Settings(background=False, search_threads=2, build_threads=1, build_in_subprocess=False)
IVF = IndexSetting.of(IndexType.IVF_FLAT, {"nlist": 64})
HNSW = IndexSetting.of(IndexType.HNSW, {"M": 12, "efConstruction": 80})
PQ = IndexSetting.of(IndexType.IVF_PQ, {"nlist": 64, "m": 8})
K = 10


@pytest.fixture(scope="module")
def data() -> Dataset:
    return clustered(9000, 500, 24)


def filled(folder: Path, data: Dataset, index: IndexSetting | None = IVF) -> Database:
    """One segment of 8,000 rows, and a tail of 1,000."""
    database = Database.open(folder, SETTINGS)
    database.create_collection("c", 24, 1024, MetricType.L2)
    collection = database.collection("c")
    collection.insert(data.train[:8000], np.arange(8000))
    database.flush()
    if index is not None:
        collection.create_index(index)
    collection.insert(data.train[8000:], np.arange(8000, 9000))
    return database


def share(database: Database, data: Dataset, params: object, k: int = K) -> float:
    collection = database.collection("c")
    exact = collection.prepare(k, {"recall": 1.0}).search_exactly(data.queries).ids
    found = collection.search(data.queries, k, params).ids
    return float(np.mean([np.isin(a, b).mean() for a, b in zip(exact, found, strict=True)]))


@pytest.mark.parametrize("index", [IVF, HNSW, PQ], ids=lambda index: index.type.name)
def test_a_search_finds_what_it_asks_for(tmp_path: Path, data: Dataset, index) -> None:
    with filled(tmp_path / "db", data, index) as database:
        for recall in (0.8, 0.95):
            assert recall - 0.01 <= share(database, data, {"recall": recall})
        assert share(database, data, {"recall": 1}) == 1
        collection = database.collection("c")
        collection.delete(np.arange(0, 8000, 2))
        assert share(database, data, {"recall": 0.95}) >= 0.94
        by_id = collection.search_by_id(np.arange(1, 50, 2), 1, {"recall": 0.95})
        assert by_id.ids[:, 0].tolist() == list(range(1, 50, 2))


def test_explain_tells_what_was_picked(tmp_path: Path, data: Dataset) -> None:
    with filled(tmp_path / "db", data) as database:
        collection = database.collection("c")

        def explained(params: object, k: int = K):
            return collection.explain(collection.prepare(k, params), data.queries[:2])

        steps = explained({"recall": 0.9})
        assert steps.params == {"recall": 0.9}
        segment, tail = steps.scans
        assert segment.kind == "IVF_FLAT" and set(segment.picked) == {"nprobe"}
        assert 1 <= segment.picked["nprobe"] <= 64
        assert [point.value for point in segment.curve[:3]] == [1, 2, 4]
        assert tail.kind == "tail" and tail.picked == {} and tail.curve == ()
        more = explained({"recall": 0.98}).scans[0].picked["nprobe"]
        assert more > segment.picked["nprobe"]
        exact = explained({"recall": 1.0}).scans[0]
        assert exact.kind == "exact" and exact.picked == {} and exact.curve == segment.curve
        plain = explained({"nprobe": 4}).scans[0]
        assert plain.kind == "IVF_FLAT" and plain.picked == {} and plain.curve == ()


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"recall": 0}, "Invalid recall: 0. Give a number above 0, up to 1"),
        ({"recall": 1.01}, "Invalid recall: 1.01"),
        ({"recall": 95}, "Invalid recall: 95"),
        ({"recall": float("nan")}, "Invalid recall: nan"),
        ({"recall": "0.9"}, "Invalid recall: '0.9'"),
        ({"recall": True}, "Invalid recall: True"),
        ({"recall": None}, "Invalid recall: None"),
        ({"recall": 0.9, "nprobe": 16}, "Give recall or nprobe, not both"),
    ],
)
def test_what_cannot_be_asked_for(tmp_path: Path, data: Dataset, params, text: str) -> None:
    with filled(tmp_path / "db", data, None) as database:
        collection = database.collection("c")
        if "nprobe" not in params:
            with pytest.raises(IllegalArgument, match=text.replace(".", r"\.")):
                collection.search(data.queries, K, params)
        collection.create_index(IVF)
        with pytest.raises(IllegalArgument, match=text.replace(".", r"\.")):
            collection.search(data.queries, K, params)
        with pytest.raises(IllegalArgument, match=text.replace(".", r"\.")):
            collection.search_by_id(np.arange(2), K, params)


def test_without_an_index_every_answer_is_exact(tmp_path: Path, data: Dataset) -> None:
    with filled(tmp_path / "db", data, None) as database:
        assert share(database, data, {"recall": 0.5}) == 1
        collection = database.collection("c")
        steps = collection.explain(collection.prepare(K, {"recall": 0.5}), data.queries[:1])
        assert [scan.picked for scan in steps.scans] == [{}, {}]
        told = collection.recall()
        assert (told.index_type, told.parameter, told.picked) == ("FLAT", "", None)


class Damaged:
    """A table in whose place a file has something else."""

    def as_json(self) -> object:
        return {"key": "nprobe", "curves": "torn"}


@pytest.mark.parametrize("table", [None, Damaged()], ids=["of an earlier release", "damaged"])
def test_an_index_of_which_nothing_is_known(tmp_path: Path, data, table, monkeypatch) -> None:
    monkeypatch.setattr(calibration, "calibrate", lambda *_: table)
    with filled(tmp_path / "db", data) as database:
        collection = database.collection("c")
        assert share(database, data, {"recall": 0.5}) == 1
        steps = collection.explain(collection.prepare(K, {"recall": 0.5}), data.queries[:1])
        assert [scan.kind for scan in steps.scans] == ["exact", "tail"]
        assert share(database, data, {"nprobe": 1}) < 1  # the index itself is in order
        (segment,) = collection.recall().segments
        assert (segment.kind, segment.samples, segment.picked) == ("IVF_FLAT", 0, None)
        monkeypatch.undo()
        collection.drop_index()
        collection.create_index(IVF)
        assert collection.recall().picked is not None


def test_the_curves_of_a_collection(tmp_path: Path, data: Dataset) -> None:
    with filled(tmp_path / "db", data) as database:
        told = database.collection("c").recall(0.9, 10)
        (segment,) = told.segments
        assert told.parameter == "nprobe" and told.picked == segment.picked
        assert (segment.rows, segment.live, segment.kind) == (8000, 8000, "IVF_FLAT")
        assert [curve.k for curve in segment.curves] == [1, 10, 100] and segment.samples == 250
        for curve in segment.curves:
            assert curve.points[-1].recall > 0.99 and curve.points[0].recall < 0.9
            assert all(point.seconds >= 0 and 0 <= point.error < 0.05 for point in curve.points)
        with pytest.raises(IllegalArgument, match="Invalid recall"):
            database.collection("c").recall(2.0)


def tuned(*arguments: object):
    return CliRunner().invoke(app, ["tune", *map(str, arguments)])


def test_tune_prints_and_draws(tmp_path: Path, data: Dataset) -> None:
    filled(tmp_path / "db", data).close()
    picture = tmp_path / "curve.svg"
    done = tuned("c", "--data", tmp_path / "db", "--recall", 0.9, "--svg", picture)
    assert done.exit_code == 0, done.output
    assert "recall 0.9 at 10 takes" in done.stdout and "recall@100" in done.stdout
    drawn = picture.read_text(encoding="utf-8")
    assert drawn.startswith("<svg") and "prefers-color-scheme:dark" in drawn
    assert "10 nearest" in drawn
    told = json.loads(tuned("c", "--data", tmp_path / "db", "--json").stdout)
    assert told["parameter"] == "nprobe" and told["segments"][0]["curves"][0]["points"][0]["value"]


def test_tune_says_what_it_cannot_do(tmp_path: Path, data: Dataset) -> None:
    filled(tmp_path / "db", data, None).close()
    assert "Every search of it is exact" in tuned("c", "--data", tmp_path / "db").stdout
    for arguments, text in (
        (("d", "--data", tmp_path / "db"), "Collection d does not exist"),
        (("c", "--data", tmp_path / "nowhere"), "There is no folder"),
        (("c", "--uri", "tcp://127.0.0.1:19530"), "is no address of a REST API"),
        (("c", "--uri", "http://127.0.0.1:9"), "Cannot reach http://127.0.0.1:9"),
        (("c",), "give either --data or --uri"),
        (("c", "--data", tmp_path / "db", "--k", 0), "Invalid topk: 0"),
    ):
        done = tuned(*arguments)
        assert done.exit_code and text in done.output
