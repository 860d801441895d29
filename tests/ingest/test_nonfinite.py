"""Rows that no search finds are stored, as in 1.x, and counted wherever somebody would look."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.errors import IllegalRowRecord
from milvine.events import Event, Events, NonfiniteStored
from milvine.index.finite import NonfiniteRows, nonfinite_rows
from milvine.offline.verify import verify
from milvine.segment.layout import ComponentWriter
from milvine.server.operations.collections import stats_json
from milvine.types import MetricType

QUIET = Settings(background=False)
ROWS = np.random.default_rng(9).random((100, 8), dtype=np.float32)
ODD = {3: np.nan, 10: np.inf, 11: -np.inf, 40: 2e19, 41: -3e38}
"""Rows and what one of their numbers is; the last two are finite, their squares are not."""


def odd_rows() -> Any:
    rows = ROWS.copy()
    for row, value in ODD.items():
        rows[row, row % 8] = value
    return rows


@pytest.fixture
def told() -> list[Event]:
    return []


@pytest.fixture
def database(tmp_path: Path, told: list[Event]) -> Iterator[Database]:
    with Database.open(tmp_path / "data", QUIET, Events(told.append)) as opened:
        opened.create_collection("c", 8, 1024, MetricType.L2)
        yield opened


def counted(database: Database, name: str = "c") -> int:
    """By statistics and for metrics, which agree."""
    (facts,) = [each for each in database.inspect().collections if each.name == name]
    stats = database.collection(name).stats()
    assert facts.nonfinite_rows == stats.nonfinite_rows
    assert ('"nonfinite_rows":' in stats_json(stats)) == bool(stats.nonfinite_rows)
    return stats.nonfinite_rows


def warned(told: list[Event]) -> list[Event]:
    return [event for event in told if isinstance(event, NonfiniteStored)]


def test_which_rows_these_are() -> None:
    assert nonfinite_rows(odd_rows()).tolist() == sorted(ODD)
    assert nonfinite_rows(ROWS).tolist() == [] == nonfinite_rows(ROWS[:0]).tolist()
    assert nonfinite_rows(np.full((4, 2), 255, np.uint8)).tolist() == []
    # each row is short enough, all together are not
    assert nonfinite_rows(np.full((100, 8), 5e18, np.float32)).tolist() == []
    assert nonfinite_rows(odd_rows()[:, :1]).tolist() == [40]


def test_rows_that_are_added_are_looked_at_once() -> None:
    seen, rows = NonfiniteRows(), odd_rows()
    assert seen.of(rows[:11]).tolist() == [3, 10]
    rows[3] = 0
    assert seen.of(rows).tolist() == [3, 10, 11, 40, 41]
    assert seen.of(rows[:10]).tolist() == [3] and seen.of(rows[:0]).tolist() == []


def test_the_count_follows_the_rows(database: Database, tmp_path: Path, told: list[Event]) -> None:
    assert counted(database) == 0
    database.collection("c").insert(odd_rows(), np.arange(100))
    assert counted(database) == 5 and not warned(told)
    database.collection("c").delete(np.array([3, 4]))
    assert counted(database) == 4
    database.flush()
    assert counted(database) == 4 and warned(told) == [NonfiniteStored("c", 4)]
    database.collection("c").delete(np.array([10, 5, 6]))
    assert counted(database) == 3
    database.collection("c").insert(odd_rows()[:12], np.arange(200, 212))
    assert counted(database) == 6
    database.flush()
    assert counted(database) == 6 and len(warned(told)) == 1  # told once
    database.collection("c").compact()
    assert counted(database) == 6
    database.collection("c").delete(np.arange(50))
    database.collection("c").compact()
    assert counted(database) == 3
    database.close()
    assert verify(tmp_path / "data").nonfinite_rows == 3
    with Database.open(tmp_path / "data", QUIET) as again:
        assert counted(again) == 3 and again.collection("c").count() == 62
        again.collection("c").delete(np.arange(200, 212))
        assert counted(again) == 0


def test_a_log_is_counted_when_it_is_read_back(tmp_path: Path) -> None:
    script = (
        "import os, sys, numpy as np\n"
        "from milvine.config import Settings\n"
        "from milvine.engine.database import Database\n"
        "from milvine.types import MetricType\n"
        "db = Database.open(sys.argv[1], Settings(background=False))\n"
        "db.create_collection('c', 8, 1024, MetricType.L2)\n"
        "rows = np.array([[np.nan] * 8, [1] * 8], np.float32)\n"
        "db.collection('c').insert(rows, np.array([1, 2]))\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "data")], check=True, timeout=60)
    with Database.open(tmp_path / "data", QUIET) as again:
        assert counted(again) == 1


def test_verify_names_the_segment(database: Database, tmp_path: Path) -> None:
    database.collection("c").insert(odd_rows(), None)
    database.create_collection("bits", 8, 1024, MetricType.HAMMING)
    database.collection("bits").insert(np.full((9, 1), 255, np.uint8), None)
    assert counted(database, "bits") == 0
    database.flush()
    report = verify(tmp_path / "data")
    assert report.clean and report.nonfinite_rows == 5
    (note,) = [finding for finding in report.findings if "no search finds them" in finding.what]
    assert (
        "5 rows of segment" in note.what
        and " of c " in note.what
        and note.file.startswith("segments/rows-")
    )


def test_they_are_kept_and_never_found(database: Database) -> None:
    database.collection("c").insert(odd_rows(), np.arange(100))
    for _ in range(2):
        hits = database.collection("c").search(ROWS[:2].copy(), 100)
        assert (
            not set(ODD) & set(hits.ids[0].tolist()) and np.isfinite(hits.distances[:, :95]).all()
        )
        found, vectors = database.collection("c").get(np.array([3, 41]))
        assert found.all() and np.isnan(vectors[0, 3]) and vectors[1, 1] == np.float32(-3e38)
        database.flush()


def test_they_are_refused_where_that_is_wanted(database: Database) -> None:
    database.configure("insert.refuse_nonfinite", "true")
    with pytest.raises(
        IllegalRowRecord, match=r"Vector 3 of 100, counted from 0, .*\(5 such vectors in all\)"
    ):
        database.collection("c").insert(odd_rows(), None)
    assert database.collection("c").count() == 0
    database.collection("c").insert(ROWS.copy(), None)
    database.configure("insert.refuse_nonfinite", "false")
    database.collection("c").insert(odd_rows(), None)
    assert counted(database) == 5


def test_a_file_of_before_does_not_say(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    finish = ComponentWriter.finish

    def of_before(self: ComponentWriter, kind: str, entries: list[Any]) -> None:
        finish(
            self, kind, [{key: each[key] for key in each if key != "nonfinite"} for each in entries]
        )

    monkeypatch.setattr(ComponentWriter, "finish", of_before)
    database.collection("c").insert(odd_rows(), np.arange(100))
    database.flush()
    assert counted(database) == 0
    monkeypatch.undo()
    database.collection("c").delete(np.arange(50, 80))
    database.collection("c").compact()
    assert counted(database) == 5
