"""Hits of faiss's own searches are told as they are only where a second look would not change a
bit.
"""

from __future__ import annotations

import numpy as np
import pytest

from milvine.index import agreement
from milvine.index.agreement import graph_agrees, lists_agree
from milvine.index.base import OpenIndex
from milvine.index.graphs import opened as graphs
from milvine.index.inverted import ivf
from milvine.index.registry import kernel
from milvine.index.score import exact_distances
from milvine.testing.index_contract import built, flat_image
from milvine.types import Floats, IndexType, MetricType, RowMask

METRICS = (MetricType.L2, MetricType.IP)
ROWS = 3000
CASES = {
    IndexType.IVF_FLAT: ({"nlist": 16}, {"nprobe": 5}, ivf, "lists_agree"),
    IndexType.HNSW: ({"M": 8, "efConstruction": 40}, {"ef": 20}, graphs, "graph_agrees"),
}


def drawn(dimension: int) -> Floats:
    """Rows of all lengths, some far from the origin, some twice."""
    rng = np.random.default_rng(dimension)
    rows = rng.standard_normal((ROWS, dimension)) * rng.choice([1e-3, 1.0, 100.0], (ROWS, 1))
    rows[::3] += 1000.0
    rows[1:200:2] = rows[0:199:2]
    return rows.astype(np.float32)


@pytest.mark.parametrize("dimension", [1, 3, 8, 31, 100, 128, 300])
@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
@pytest.mark.parametrize("index_type", CASES, ids=lambda t: t.name)
def test_a_second_look_changes_nothing(
    index_type: IndexType, metric: MetricType, dimension: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, search, module, asked = CASES[index_type]
    vectors = drawn(dimension)
    image, flat = (
        built(index_type, vectors, metric, build, codes=False),
        flat_image(vectors, metric),
    )

    def opened() -> OpenIndex:
        return kernel(index_type).open(image, flat, metric)

    as_found = opened()
    monkeypatch.setattr(module, asked, lambda dimension, metric: False)
    looked_at_again = opened()
    queries = vectors[:40] + np.float32(0.25)
    queries[:10] = vectors[:10]
    mask = RowMask.from_bool(np.random.default_rng(1).random(ROWS) > 0.3)
    for live in (None, mask):
        for some in (queries, queries[:1], queries[:5]):
            distances, rows = as_found.search(some, 13, search, live)
            again, rows_again = looked_at_again.search(some, 13, search, live)
            assert np.array_equal(distances, again) and np.array_equal(rows, rows_again)


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
def test_another_order_of_additions_is_noticed(
    metric: MetricType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def backwards(queries: Floats, vectors: Floats, rows: np.ndarray, metric: MetricType) -> Floats:
        turned = np.ascontiguousarray(queries[:, ::-1]), np.ascontiguousarray(vectors[:, ::-1])
        return exact_distances(*turned, rows, metric)

    lists_agree.cache_clear()
    graph_agrees.cache_clear()
    monkeypatch.setattr(agreement, "exact_distances", backwards)
    try:
        assert not lists_agree(129, metric) and not graph_agrees(129, metric)
    finally:
        lists_agree.cache_clear()
        graph_agrees.cache_clear()


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
def test_lists_agree_here(metric: MetricType) -> None:
    """The saving is real: faiss compares rows of lists one by one, on every processor known."""
    assert lists_agree(128, metric) and lists_agree(100, metric)
