"""Exact search agrees with float64 arithmetic: whatever the batch, the place of the data, the
deletes and the k.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milvine.index import direct, exact
from milvine.index.exact import search_exact
from milvine.index.native import faiss
from milvine.limits import FILLER_DISTANCE
from milvine.testing import oracle
from milvine.types import Floats, Ids, MetricType, RowMask

L2, IP = MetricType.L2, MetricType.IP
BOTH = pytest.mark.parametrize("metric", [L2, IP], ids=lambda m: m.name)
SIZES = pytest.mark.parametrize("nq", [1, 7, 8, 100])


@pytest.fixture(autouse=True, scope="module", params=["products", "as measured", "blocks"])
def way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Products from 8 queries on even where they do not pay; where the costs say so; few queries by
    small blocks.
    """
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "blocks":
            patch.setattr(direct, "SHARED_BYTES_MIN", 0)
            patch.setattr(direct, "BLOCK_BYTES", 4096)
        if request.param == "products":
            patch.setattr(exact, "products_pay", lambda nq, rows, dimension: nq > exact.FEW_QUERIES)
        yield


def points(
    rows: int, dimension: int, seed: int = 0, centre: float = 0.0, spread: float = 1.0
) -> Floats:
    return (
        centre + spread * np.random.default_rng(seed).standard_normal((rows, dimension))
    ).astype(np.float32)


def assert_exact(
    queries: Floats, vectors: Floats, metric: MetricType, k: int, live: Ids | None = None
) -> None:
    """Right distances, right order, each row once, only live ones, and no nearer row left out."""
    mask = None if live is None else RowMask.from_bool(live)
    distances, rows = search_exact(queries, vectors, metric, k, mask)
    assert distances.shape == rows.shape == (len(queries), k)
    truth, _ = oracle.nearest(queries, vectors, metric, k, live)
    width = truth.shape[1]
    assert (rows[:, :width] >= 0).all()
    assert (rows[:, width:] == -1).all() and (
        distances[:, width:] == np.float32(FILLER_DISTANCE)
    ).all()
    distances, rows = distances[:, :width], rows[:, :width]
    pairs = np.take_along_axis(
        oracle.pair_distances(queries, np.nan_to_num(vectors), metric), rows, axis=1
    )
    slack = _rounding(queries, vectors, metric, truth)
    assert (np.abs(distances - pairs) <= slack).all(), "distances"
    assert (np.abs(pairs - truth) <= slack).all(), "a nearer row was left out"
    assert all(len(np.unique(row)) == width for row in rows)
    assert live is None or live[rows].all()
    key = -distances if metric.larger_is_closer else distances
    ties = np.diff(key, axis=1)
    assert (ties >= 0).all() and (np.diff(rows, axis=1)[ties == 0] > 0).all(), "order"


def _rounding(
    queries: Floats, vectors: Floats, metric: MetricType, truth: np.ndarray
) -> np.ndarray:
    """What float32 may lose in one distance computed on its own."""
    g = 2.0**-23 * (queries.shape[1] + 4)
    if metric is L2:
        return g * truth + 1e-30
    lengths = np.linalg.norm(
        np.nan_to_num(vectors, posinf=0, neginf=0).astype(np.float64), axis=1
    ).max()
    return g * np.linalg.norm(queries.astype(np.float64), axis=1)[:, None] * lengths + 1e-30


@settings(max_examples=150)
@given(
    metric=st.sampled_from([L2, IP]),
    rows=st.integers(1, 700),
    dimension=st.sampled_from([1, 2, 3, 8, 16, 33, 100]),
    nq=st.integers(1, 24),
    k=st.integers(1, 40) | st.sampled_from([200, 1000]),
    centre=st.sampled_from([0.0, 1.0, 100.0, -3e4]),
    spread=st.sampled_from([1.0, 0.1, 1e-6, 1e6]),
    copies=st.sampled_from([1, 1, 2, 50]),
    live_share=st.sampled_from([None, 0.95, 0.8, 0.5, 0.1, 0.02]),
    seed=st.integers(0, 1 << 20),
)
def test_agrees_with_float64(
    metric: MetricType,
    rows: int,
    dimension: int,
    nq: int,
    k: int,
    centre: float,
    spread: float,
    copies: int,
    live_share: float | None,
    seed: int,
) -> None:
    vectors = np.repeat(
        points(-(-rows // copies), dimension, seed, centre, spread), copies, axis=0
    )[:rows]
    rng = np.random.default_rng(seed)
    queries = points(nq, dimension, seed + 1, centre, spread)
    queries[::3] = vectors[rng.integers(0, rows, len(queries[::3]))]
    live = None if live_share is None else rng.random(rows) < live_share
    assert_exact(queries, vectors, metric, k, live)


@settings(max_examples=60)
@given(
    metric=st.sampled_from([L2, IP]),
    nq=st.sampled_from([1, 9, 20]),
    lengths=st.lists(
        st.sampled_from([0.0, 1e-25, 1e-12, 1.0, 1e3, 1e9, 1e15]), min_size=2, max_size=6
    ),
    seed=st.integers(0, 1 << 20),
)
def test_lengths_of_all_sizes_side_by_side(
    metric: MetricType, nq: int, lengths: list[float], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors = (rng.choice(lengths, 300)[:, None] * rng.standard_normal((300, 12))).astype(
        np.float32
    )
    queries = (rng.choice(lengths, nq)[:, None] * rng.standard_normal((nq, 12))).astype(np.float32)
    assert_exact(queries, vectors, metric, 5)


@pytest.mark.parametrize("nq", [1, 9])
@pytest.mark.parametrize("live_share", [None, 0.9, 0.6, 0.1])
def test_products_too_large_for_float32_hide_no_others(nq: int, live_share: float | None) -> None:
    """Rows whose inner product overflows are never found, and the next are found instead."""
    rng = np.random.default_rng(7)
    vectors = (1e15 * rng.standard_normal((200, 16))).astype(np.float32)
    vectors[::9] = np.float32(1e10) * np.abs(vectors[::9])  # infinity, not NaN
    queries = (1e19 * np.abs(rng.standard_normal((nq, 16)))).astype(np.float32)
    mask = None if live_share is None else RowMask.from_bool(rng.random(200) < live_share)
    live = np.flatnonzero(np.ones(200, bool) if mask is None else mask.to_bool())
    distances, rows = search_exact(queries, vectors, IP, 10, mask)
    for query, far, found in zip(queries, distances, rows, strict=True):
        finite = [row for row in live if abs(vectors[row] @ query.astype(float)) < 3e38]
        truth = sorted(finite, key=lambda row: -(vectors[row] @ query.astype(float)))[:10]
        assert found[: len(truth)].tolist() == truth and (found[len(truth) :] == -1).all()
        assert np.isfinite(far).all()


@BOTH
@SIZES
def test_far_from_the_origin(metric: MetricType, nq: int) -> None:
    vectors, queries = points(5000, 128, 1, 100.0, 0.1), points(nq, 128, 2, 100.0, 0.1)
    assert_exact(queries, vectors, metric, 10)


def test_far_from_the_origin_needs_no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products stay sharp there because the data is centred first; comparing pairs would be right,
    but slow.
    """
    monkeypatch.setattr(direct, "scan", None)
    vectors, queries = points(5000, 128, 1, 100.0, 0.1), points(100, 128, 2, 100.0, 0.1)
    for metric in (L2, IP):
        search_exact(queries, vectors, metric, 10)


def test_one_enormous_row_spoils_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "scan", None)
    vectors, queries = points(5000, 32, 1), points(100, 32, 2)
    vectors[77] *= 1e8
    search_exact(queries, vectors, L2, 10)


@BOTH
def test_near_ties_beyond_the_candidates_are_looked_at_again(metric: MetricType) -> None:
    """5,000 rows that products cannot tell apart: only comparing pairs finds the nearest."""
    vectors = np.ones((5000, 64), dtype=np.float32)
    vectors[:, 0] += np.random.default_rng(0).permutation(5000).astype(np.float32) * np.float32(
        2**-23
    )
    assert_exact(np.ones((20, 64), dtype=np.float32), vectors, metric, 10)


@SIZES
def test_identical_vectors_are_at_exactly_zero(nq: int) -> None:
    for centre in (0.0, 1000.0):
        vectors = points(3000, 50, 4, centre)
        distances, rows = search_exact(vectors[:nq], vectors, L2, 3)
        assert (distances[:, 0] == 0.0).all() and (rows[:, 0] == np.arange(nq)).all()


@BOTH
def test_batch_size_changes_no_bit(metric: MetricType) -> None:
    vectors, queries = points(4000, 96, 5, 3.0), points(50, 96, 6, 3.0)
    distances, rows = search_exact(queries, vectors, metric, 20)
    for size in (1, 5, 8, 13):
        for start in range(0, 50, size):
            part = search_exact(queries[start : start + size], vectors, metric, 20)
            assert (part[0] == distances[start : start + size]).all()
            assert (part[1] == rows[start : start + size]).all()


@BOTH
@SIZES
def test_portions_of_large_batches_and_large_k(
    metric: MetricType, nq: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact, "CANDIDATES_MAX", 20_000)
    assert_exact(points(nq, 16, 1), points(1500, 16, 2), metric, 1200)


@BOTH
@SIZES
@pytest.mark.parametrize("live_share", [1.0, 0.9, 0.3, 0.05])
def test_rows_that_are_no_numbers(metric: MetricType, nq: int, live_share: float) -> None:
    vectors, rng = points(900, 24, 7), np.random.default_rng(8)
    vectors[rng.integers(0, 900, 60), rng.integers(0, 24, 60)] = rng.choice(
        [np.nan, np.inf, -np.inf], 60
    )
    live = None if live_share == 1.0 else rng.random(900) < live_share
    assert_exact(points(nq, 24, 9), vectors, metric, 10, live)
    assert_exact(points(nq, 24, 9), vectors, metric, 1000, live)


@SIZES
def test_queries_that_are_no_numbers_find_nothing(nq: int) -> None:
    vectors, queries = points(900, 24, 7), points(nq, 24, 9)
    queries[0, 3] = np.nan
    distances, rows = search_exact(queries, vectors, L2, 4)
    assert (
        (rows[0] == -1).all()
        and (distances[0] == np.float32(FILLER_DISTANCE)).all()
        and (rows[1:] >= 0).all()
    )


@BOTH
@SIZES
def test_rows_too_long_for_float32(metric: MetricType, nq: int) -> None:
    """Finite rows whose squares overflow: found where the distance can be told, never a crash or a
    NaN.
    """
    vectors, queries = points(900, 24, 7), points(nq, 24, 9)
    vectors[5] = 1e25
    distances, rows = search_exact(queries, vectors, metric, 3)
    assert np.isfinite(distances).all() and (rows >= 0).all()
    if metric is IP:
        assert ((rows[:, 0] == 5) == (queries.sum(axis=1) > 0)).all()
    else:
        assert not (rows == 5).any()
        distances, rows = search_exact(np.repeat(vectors[5:6], nq, axis=0), vectors, metric, 1)
        assert (rows == 5).all() and (distances == 0.0).all()


@SIZES
def test_ties_come_by_row_number(nq: int) -> None:
    vectors = np.tile(points(20, 8, 3), (30, 1))
    _, rows = search_exact(np.tile(vectors[4], (nq, 1)), vectors, L2, 600)
    assert (rows[:, :30] == np.arange(4, 600, 20)).all()


@BOTH
def test_nothing_to_find_and_nothing_asked(metric: MetricType) -> None:
    empty = np.empty((0, 8), dtype=np.float32)
    distances, rows = search_exact(points(3, 8), empty, metric, 2)
    assert (rows == -1).all() and (distances == np.float32(FILLER_DISTANCE)).all()
    assert search_exact(empty, points(3, 8), metric, 2)[1].shape == (0, 2)


def test_unaligned_rows() -> None:
    """Rows behind a header of 45 bytes are searched where they lie."""
    vectors, queries = points(700, 20, 1), points(30, 20, 2)
    held = np.frombuffer(b"x" * 45 + vectors.tobytes(), dtype=np.uint8)
    view = np.frombuffer(held[45:], dtype=np.float32).reshape(700, 20)
    for nq in (1, 30):
        assert (
            search_exact(queries[:nq], view, L2, 5)[1]
            == search_exact(queries[:nq], vectors, L2, 5)[1]
        ).all()


def test_the_thresholds_of_the_process_are_left_alone() -> None:
    def thresholds() -> tuple[int, ...]:
        cvar = faiss.cvar
        return (
            cvar.distance_compute_blas_threshold,
            cvar.distance_compute_blas_query_bs,
            cvar.distance_compute_blas_database_bs,
        )

    before = thresholds()
    search_exact(points(50, 8, 1), points(500, 8, 2), L2, 5, threads=2)
    assert thresholds() == before
