"""The races command: what it shows in minutes must hold in seconds, and what it finds must
be told.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from milvine.client.milvus import Milvus
from milvine.testing.load.clients import Wrong
from milvine.testing.races.__main__ import main
from milvine.testing.races.checking import check_collections
from milvine.testing.races.lives import Life, Lives, Part, ids_of
from milvine.testing.races.racers import Racer
from milvine.testing.races.running import DOORS
from milvine.testing.races.shapes import SHAPES, distances, numbers_of, vectors_of
from milvine.types import MetricType, Vectors

PLAIN, WIDE = SHAPES[0], SHAPES[1]
FEW = ["--processes", "1", "--threads", "2", "--minutes", "0.06"]


@pytest.mark.parametrize("door", DOORS)
def test_some_seconds_of_changing_definitions(
    door: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main([*FEW, "--door", door, "--work", str(tmp_path / "races")])
    assert status == 0, capsys.readouterr().out


def test_rows_say_what_they_are() -> None:
    for shape in SHAPES:
        ids = np.arange(shape.first_id(5), shape.first_id(1005))
        vectors = vectors_of(ids, shape)
        assert vectors.shape == (1000, shape.width) and vectors.dtype == shape.metrics[0].dtype
        assert (numbers_of(ids) == shape.number).all()
        assert len(np.unique(vectors, axis=0)) > 200
        assert np.array_equal(vectors[7:9], vectors_of(ids[7:9], shape))
        assert distances(vectors[:1], vectors[:2], shape.metrics[0])[0] == 0


class Answers:
    """A client whose searches are answered as another one is: that of as many `rows` in the
    collection `name`.
    """

    def __init__(self, milvus: Milvus, name: str, rows: Vectors) -> None:
        self._milvus, self._name, self._rows = milvus, name, rows

    def search(self, name: str, k: int, queries: Vectors, *args: object, **named: object) -> object:
        return self._milvus.search(self._name, k, self._rows[: len(queries)])

    def close(self) -> None:
        pass


class Searcher(Racer):
    def _searcher(self) -> list[Callable[[], None]]:
        return [self._search]


def test_a_wrong_answer_is_told(tmp_path: Path) -> None:
    """A row of another shape in the hits; an unknown error; a refusal of what fits."""
    with Milvus(uri=f"file://{tmp_path}/db") as milvus:
        for shape, name in ((PLAIN, "plain"), (WIDE, "wide")):
            milvus.create_collection({"collection_name": name, "dimension": shape.dimension})
        ids = np.arange(WIDE.first_id(0), WIDE.first_id(20))
        rows = vectors_of(ids, WIDE)
        milvus.insert("wide", rows, ids.tolist())
        for name, said in (
            ("wide", "of another shape"),
            ("plain", "which fits"),
            ("nowhere", "which fits"),
        ):
            lives = Lives(["plain"], [PLAIN])
            lives.begins("plain", Life(PLAIN, MetricType.L2, {"_default": Part()}))
            racer = Searcher("searcher", 1, lives, Answers(milvus, name, rows))  # type: ignore[arg-type]
            racer.run(time.monotonic() + 60)
            assert said in racer.problem


def test_losses_and_returns_are_found(tmp_path: Path) -> None:
    with Milvus(uri=f"file://{tmp_path}/db") as milvus:
        milvus.create_collection({"collection_name": "plain", "dimension": 2})
        batch, never, other = ((PLAIN.first_id(n), 10) for n in (0, 100, 200))
        milvus.insert("plain", vectors_of(ids_of([batch]), PLAIN), ids_of([batch]).tolist())
        told = {"shape": 0, "stored": [batch], "deleted": [], "unsure": []}
        assert check_collections(milvus, {"plain": told}) == 10
        assert check_collections(milvus, {"plain": told | {"unsure": [never]}}) == 10
        for wrong, said in (
            ({"stored": [batch, never]}, "10 acknowledged rows are lost"),
            ({"stored": [], "deleted": [batch]}, "10 deleted rows are there"),
            ({"stored": []}, r"counts 10 rows, 0 \+ 0 are known"),
        ):
            with pytest.raises(Wrong, match=said):
                check_collections(milvus, {"plain": told | wrong})
        milvus.insert("plain", vectors_of(ids_of([other]), PLAIN), ids_of([never]).tolist())
        with pytest.raises(Wrong, match="other vectors"):
            check_collections(milvus, {"plain": told | {"stored": [batch, never]}})


def test_what_met_a_change_is_not_known() -> None:
    lives = Lives(["a"])
    first = Life(PLAIN, MetricType.L2, {"_default": Part()})
    lives.begins("a", first)
    before = lives.part("a", "_default")
    assert lives.stored("a", "_default", before, (0, 5))
    lives.ends("a")
    lives.begins("a", Life(PLAIN, MetricType.L2, {"_default": Part()}))
    assert not lives.stored("a", "_default", before, (5, 5))
    assert lives.expected() == {"a": {"shape": 0, "stored": [], "deleted": [], "unsure": [(5, 5)]}}
