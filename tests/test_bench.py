"""The benchmark counts right: its answers are checked on sets small enough to see through."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench import data as sets
from bench.cases import cases
from bench.ingest import write_file
from bench.measure import alternate, folder_bytes
from milvine.bench.vectors import Dataset
from milvine.types import IndexType, MetricType

NOBODY = np.empty(0, np.int64)


def line_of_points(rows: int = 200) -> Dataset:
    """Row i lies at i; the queries at -1, -2 and -3, so that the nearest rows are 0, 1, 2, ..."""
    train = np.arange(rows, dtype=np.float32)[:, None]
    queries = -np.arange(1, 4, dtype=np.float32)[:, None]
    return Dataset("line", MetricType.L2, train, queries, sets.nearest(train, queries, MetricType.L2))


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
    data = Dataset("same", MetricType.IP, train, train[:1], sets.nearest(train, train[:1], MetricType.IP))
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
        }
        assert dimension % found[IndexType.IVF_PQ].build["m"] == 0


def test_actions_take_turns() -> None:
    order: list[str] = []
    alternate(2, lambda: order.append("a"), lambda: order.append("b"), before=lambda: order.append("-"))
    assert "".join(order) == "-a-b-a-b"


def test_the_plain_file_holds_the_same_bytes(tmp_path: Path) -> None:
    vectors = np.ones((10, 4), np.float32)
    write_file(tmp_path / "plain", vectors, batch_rows=3)
    assert (tmp_path / "plain").stat().st_size == vectors.nbytes + 8 * len(vectors)
    assert folder_bytes(tmp_path) >= vectors.nbytes
