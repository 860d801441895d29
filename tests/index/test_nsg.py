"""The k-NN graph under RNSG: right neighbours, never the row itself, and ways between clusters far
apart.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from milvine.index.graphs import nsg
from milvine.index.graphs.nsg import neighbour_graph
from milvine.index.registry import kernel
from milvine.testing import oracle
from milvine.testing.index_contract import built, flat_image
from milvine.types import Floats, IndexType, MetricType

PARAMS = {"search_length": 60, "out_degree": 24, "candidate_pool_size": 100, "knng": 40}


def islands(rows: int = 4800, size: int = 100) -> tuple[Floats, Floats]:
    """Clusters larger than the lists of neighbours and far apart; rows, and 100 queries
    among them.
    """
    rng = np.random.default_rng(3)
    centres = 3 * rng.standard_normal((rows // size, 24))
    points = centres[np.arange(rows + 100) % len(centres)] + 0.2 * rng.standard_normal(
        (rows + 100, 24)
    )
    return points[:rows].astype(np.float32), points[rows:].astype(np.float32)


@pytest.mark.parametrize("exact_rows", [nsg.EXACT_ROWS, 500])
def test_neighbours_and_bridges(monkeypatch: pytest.MonkeyPatch, exact_rows: int) -> None:
    monkeypatch.setattr(nsg, "EXACT_ROWS", exact_rows)
    points, _ = islands(1600)
    columns, samples = neighbour_graph(points, 10, 1)
    assert [len(sample) for sample in samples] == [400, 100, 25, 7]
    assert all(np.isin(few, many).all() for many, few in pairwise(samples))
    graph = np.concatenate(columns, axis=1)
    assert graph.min() >= 0 and graph.max() < 1600 and graph.shape[1] > 10
    assert not (graph == np.arange(1600)[:, None]).any()
    pairs = oracle.pair_distances(points[:50], points, MetricType.L2)
    truth = np.argsort(pairs, axis=1, kind="stable")[:, 1:11]
    assert (
        np.mean([np.isin(a, b).mean() for a, b in zip(graph[:50, :10], truth, strict=True)]) >= 0.98
    )


def test_twins_in_crowds_have_neighbours_too() -> None:
    points = np.repeat(islands(800)[0][:8], 100, axis=0)
    graph = np.concatenate(neighbour_graph(points, 20, 1)[0], axis=1)
    assert ((graph >= 0) & (graph < 800)).all()
    index = kernel(IndexType.RNSG).open(
        built(IndexType.RNSG, points, MetricType.L2, PARAMS),
        flat_image(points, MetricType.L2),
        MetricType.L2,
    )
    distances, rows = index.search(points[::100], 1, {"search_length": 20}, None)
    assert (rows >= 0).all() and np.mean(distances == 0) >= 0.5


@pytest.mark.parametrize("exact_rows", [nsg.EXACT_ROWS, 500])
def test_islands_are_reached(monkeypatch: pytest.MonkeyPatch, exact_rows: int) -> None:
    monkeypatch.setattr(nsg, "EXACT_ROWS", exact_rows)
    vectors, queries = islands()
    image = built(IndexType.RNSG, vectors, MetricType.L2, PARAMS)
    assert image.size < len(vectors) * (4 * 24 + 128)  # links, no vectors
    index = kernel(IndexType.RNSG).open(image, flat_image(vectors, MetricType.L2), MetricType.L2)
    _, rows = index.search(queries, 10, {"search_length": 100}, None)
    truth, _ = oracle.nearest(queries, vectors, MetricType.L2, 10)
    pairs = oracle.pair_distances(queries, vectors, MetricType.L2)
    assert oracle.recall(rows, pairs, truth, MetricType.L2) >= 0.95


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_a_segment_of_one_vector_alone_can_be_built(value: float) -> None:
    same = np.full((600, 8), value, dtype=np.float32)
    for metric in (MetricType.L2, MetricType.IP):
        assert built(IndexType.RNSG, same, metric, {**PARAMS, "out_degree": 5}).size


def test_rows_of_all_lengths_are_found_by_inner_product() -> None:
    rng = np.random.default_rng(4)
    points, queries = islands(4000)
    points = (points * np.exp(0.6 * rng.standard_normal((len(points), 1)))).astype(np.float32)
    image = built(IndexType.RNSG, points, MetricType.IP, PARAMS)
    index = kernel(IndexType.RNSG).open(image, flat_image(points, MetricType.IP), MetricType.IP)
    _, rows = index.search(queries, 10, {"search_length": 60}, None)
    truth, _ = oracle.nearest(queries, points, MetricType.IP, 10)
    pairs = oracle.pair_distances(queries, points, MetricType.IP)
    # 0.57 when all are brought to the greatest length.
    assert oracle.recall(rows, pairs, truth, MetricType.IP) >= 0.7
