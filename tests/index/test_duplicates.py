"""Groups of rows that are equal or nearly so, and what searches make of hits that stand for one."""

from __future__ import annotations

import numpy as np
import pytest

from milvine.index.copies import members
from milvine.index.copies.chosen import Chosen
from milvine.index.copies.duplicates import alike
from milvine.index.copies.members import expanded
from milvine.index.graphs.hubs import hubs
from milvine.index.image import read_image
from milvine.index.registry import kernel
from milvine.index.score import nearest_of
from milvine.testing import oracle
from milvine.testing.index_contract import built, flat_image
from milvine.types import Floats, IndexType, MetricType, RowMask

RANDOM = np.random.default_rng(3).standard_normal((4000, 24)).astype(np.float32)
EVERY = np.arange(len(RANDOM))
UNIT = (RANDOM / np.linalg.norm(RANDOM, axis=1, keepdims=True)).astype(np.float32)
HNSW = {"M": 16, "efConstruction": 100}


def near(rows: Floats, apart: float) -> Floats:
    return (rows + apart * np.random.default_rng(4).standard_normal(rows.shape)).astype(np.float32)


def test_rows_that_differ_are_in_no_group() -> None:
    for scale in (1.0, 1e-20, 1e15):
        groups = alike((RANDOM * scale).astype(np.float32), EVERY)
        assert not len(groups.heads) and groups.starts.tolist() == [0]
        assert np.array_equal(groups.without_followers(EVERY), EVERY)


@pytest.mark.parametrize("share", [0.002, 0.5, 0.99])
def test_copies_are_one_group_with_the_first_at_its_head(share: float) -> None:
    rows = RANDOM.copy()
    copies = np.sort(
        np.random.default_rng(5).choice(len(rows), int(share * len(rows)), replace=False)
    )
    rows[copies] = rows[copies[0]]
    groups = alike(rows, EVERY)
    assert groups.heads.tolist() == [copies[0]] and groups.radii.tolist() == [0.0]
    assert np.array_equal(groups.members, copies)
    assert np.array_equal(groups.without_followers(EVERY), np.setdiff1d(EVERY, copies[1:]))


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_crowd_of_nearly_equal_rows_becomes_a_few_nodes(share: float) -> None:
    rows = UNIT.copy()
    rows[: int(share * len(rows))] = near(np.tile(UNIT[:1], (int(share * len(rows)), 1)), 1e-7)
    groups = alike(rows, EVERY)
    left = groups.without_followers(EVERY)
    assert len(left) <= (1 - share) * len(rows) + 8
    assert (groups.radii > 0).all() and groups.radii.max() < 1e-4


def test_two_zeros_are_equal_and_only_the_rows_given_are_looked_at() -> None:
    rows = RANDOM.copy()
    rows[[3, 5, 9]] = [[0.0], [-0.0], [0.0]]
    assert alike(rows, EVERY).members.tolist() == [3, 5, 9]
    assert alike(rows, np.delete(EVERY, 3)).members.tolist() == [5, 9]
    assert not len(alike(rows, EVERY[:1]).heads)


def test_the_largest_groups_are_told_by_their_heads() -> None:
    rows = RANDOM.copy()
    rows[100:200], rows[300:310], rows[400:402] = rows[100], rows[300], rows[400]
    groups = alike(rows, EVERY)
    assert groups.largest(5, 9).tolist() == [100, 300] and groups.largest(0, 1).tolist() == [100]


def test_a_row_of_zeros_among_rows_of_one_length_is_a_hub() -> None:
    rows = UNIT.copy()
    assert not len(hubs(rows, EVERY)) and not len(hubs(RANDOM, EVERY))
    rows[77] = 0
    assert hubs(rows, EVERY).tolist() == [77]
    assert Chosen.of(rows, MetricType.L2).beside.tolist() == [77]
    assert not len(Chosen.of(rows, MetricType.IP).beside), "under IP it is near to nothing"


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_in_few_dimensions_the_middle_is_no_hub(dimension: int) -> None:
    assert not len(hubs(np.ascontiguousarray(RANDOM[:, :dimension]), EVERY))


@pytest.mark.parametrize(
    "kind", [IndexType.HNSW, IndexType.HNSW_SQ8, IndexType.RNSG], ids=lambda t: t.name
)
def test_one_row_of_zeros_hides_no_other(kind: IndexType) -> None:
    rows = UNIT.copy()
    rows[1] = 0
    params = {**HNSW, "search_length": 40, "out_degree": 24, "candidate_pool_size": 60, "knng": 24}
    image = built(kind, rows, MetricType.L2, params)
    assert read_image(image, len(rows)).indexed == len(rows) - 1
    index = kernel(kind).open(image, flat_image(rows, MetricType.L2), MetricType.L2)
    found = index.search(rows, 1, {"ef": 64, "search_length": 64}, None)[1][:, 0]
    assert np.mean(found == EVERY) >= 0.995
    without = RowMask.all_live(len(rows)).without(np.array([1]))
    assert 1 not in index.search(rows[1:2], 50, {"ef": 64, "search_length": 64}, without)[1]


@pytest.mark.parametrize("metric", [MetricType.L2, MetricType.IP], ids=lambda m: m.name)
@pytest.mark.parametrize("apart", [0.0, 1e-6])
@pytest.mark.parametrize("candidates_max", [members.CANDIDATES_MAX, 3000])
def test_groups_are_searched_as_if_all_rows_were_compared(
    metric: MetricType, apart: float, candidates_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "CANDIDATES_MAX", candidates_max)
    rows = np.ascontiguousarray(near(UNIT[EVERY % 700], apart))
    groups = alike(rows, EVERY)
    heads = groups.without_followers(EVERY)
    queries = np.ascontiguousarray(near(UNIT[:40], 0.1))
    for k in (1, 10, 60):
        every = np.tile(heads, (len(queries), 1))
        found = expanded(
            queries, rows, metric, k, nearest_of(queries, rows, every, metric, k), groups
        )
        truth = nearest_of(queries, rows, np.tile(EVERY, (len(queries), 1)), metric, k)
        if apart:  # the k nearest heads are not quite those of the k nearest rows
            assert np.allclose(found[0], truth[0], atol=2e-5)
        else:
            assert np.array_equal(found[0], truth[0]) and np.array_equal(found[1], truth[1])


def test_of_a_large_group_only_so_many_rows_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "COMPARED_MAX", 50)
    rows = near(np.tile(UNIT[:1], (4000, 1)), 1e-7)
    rows[2000:] = UNIT[2000:]
    groups = alike(rows, EVERY)
    head = np.array([[groups.largest(900, 1)[0]]])
    asked = []
    real = members.nearest_of
    monkeypatch.setattr(
        members, "nearest_of", lambda *a: asked.append(np.count_nonzero(a[2] >= 0)) or real(*a)
    )
    for k in (1, 60):
        heads = nearest_of(
            rows[:1], rows, np.pad(head, ((0, 0), (0, k - 1)), constant_values=-1), MetricType.L2, k
        )
        assert (expanded(rows[:1], rows, MetricType.L2, k, heads, groups)[1] >= 0).all()
    assert asked == [50, 60]


def test_an_image_of_before_is_opened() -> None:
    """Version 1 knew neither groups nor rows beside the index; its header had zeros in
    their place.
    """
    image = built(IndexType.HNSW, RANDOM, MetricType.L2, HNSW, codes=False).copy()
    assert image[8] == 2 and not image[32:64].any()
    image[8] = 1
    index = kernel(IndexType.HNSW).open(image, flat_image(RANDOM, MetricType.L2), MetricType.L2)
    found = index.search(RANDOM[:50], 1, {"ef": 64}, None)[1][:, 0]
    assert np.array_equal(found, EVERY[:50])


def test_vectors_are_not_stored_again_where_rows_are_left_out() -> None:
    rows = UNIT.copy()
    rows[:2000] = rows[0]
    rows[2500, 3] = np.nan
    live = RowMask.all_live(len(rows)).without(np.arange(3000, 3500))
    for kind in (IndexType.HNSW, IndexType.RNSG):
        params = {
            **HNSW,
            "search_length": 40,
            "out_degree": 24,
            "candidate_pool_size": 60,
            "knng": 24,
        }
        image = built(kind, rows, MetricType.L2, params, live)
        assert read_image(image, len(rows)).row_map is None and image.size < len(rows) * (
            4 * 48 + 32
        )
        index = kernel(kind).open(image, flat_image(rows, MetricType.L2), MetricType.L2)
        _, found = index.search(rows[3600:3700], 10, {"ef": 100, "search_length": 100}, live)
        sound = np.nan_to_num(rows)
        pairs = oracle.pair_distances(rows[3600:3700], sound, MetricType.L2)
        pairs[:, 2500] = np.inf
        pairs[:, 3000:3500] = np.inf
        truth = np.sort(pairs, axis=1)[:, :10]
        assert (
            live.contains(found).all() and oracle.recall(found, pairs, truth, MetricType.L2) > 0.97
        )
