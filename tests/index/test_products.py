"""The bound that makes candidates from matrix products trustworthy holds for every row they leave
out.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milvine.index.products import Frame, nominate
from milvine.testing import oracle
from milvine.types import MetricType, RowMask

L2, IP = MetricType.L2, MetricType.IP


@settings(max_examples=200)
@given(
    metric=st.sampled_from([L2, IP]),
    dimension=st.sampled_from([1, 4, 30, 200]),
    centre=st.sampled_from([0.0, 1.0, 300.0]),
    spread=st.sampled_from([1.0, 1e-3]),
    query_scale=st.sampled_from([1e-6, 1.0, 1e4]),
    centred=st.booleans(),
    dead=st.sampled_from([0.0, 0.2, 0.8]),
    seed=st.integers(0, 1 << 20),
)
def test_no_row_left_out_beats_the_bound(
    metric: MetricType,
    dimension: int,
    centre: float,
    spread: float,
    query_scale: float,
    centred: bool,
    dead: float,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    vectors = (centre + spread * rng.standard_normal((400, dimension))).astype(np.float32)
    vectors[::50] *= 100
    queries = (query_scale * (centre + spread * rng.standard_normal((9, dimension)))).astype(
        np.float32
    )
    live = rng.random(400) >= dead
    frame = Frame.around(vectors) if centred else Frame(None, 1.0)
    nominees = nominate(queries, vectors, metric, 12, RowMask.from_bool(live), frame)
    assert nominees is not None
    pairs = oracle.pair_distances(queries, vectors, metric)
    for i, kept in enumerate(nominees.rows):
        assert live[kept].all() and len(np.unique(kept)) == 12
        left_out = np.setdiff1d(np.flatnonzero(live), kept)
        best = pairs[i, left_out].max() if metric is IP else pairs[i, left_out].min()
        assert best <= nominees.bound[i] if metric is IP else best >= nominees.bound[i]


@pytest.mark.parametrize("metric", [L2, IP], ids=lambda m: m.name)
def test_the_bound_is_tight_enough_to_be_of_use(metric: MetricType) -> None:
    rng = np.random.default_rng(0)
    vectors = (100 + 0.1 * rng.standard_normal((2000, 64))).astype(np.float32)
    queries = (100 + 0.1 * rng.standard_normal((20, 64))).astype(np.float32)
    nominees = nominate(queries, vectors, metric, 30, None, Frame.around(vectors))
    assert nominees is not None
    truth, _ = oracle.nearest(queries, vectors, metric, 30)
    if metric is L2:
        assert (nominees.bound > truth[:, -1] - 1e-4).all()
    else:
        assert (nominees.bound < truth[:, -1] + 2e-2).all()


def test_fewer_rows_than_places_leave_nothing_out() -> None:
    vectors = np.eye(5, dtype=np.float32)
    nominees = nominate(
        np.ones((2, 5), dtype=np.float32), vectors, L2, 8, None, Frame.around(vectors)
    )
    assert nominees is not None
    assert (nominees.rows >= 0).sum() == 10 and (nominees.bound == np.inf).all()


def test_a_finite_row_too_long_for_products_is_reported() -> None:
    vectors = np.ones((10, 4), dtype=np.float32)
    vectors[3] = 1e25
    assert nominate(vectors[:2], vectors, IP, 3, None, Frame.around(vectors)) is None
    vectors[3] = np.nan
    assert nominate(vectors[:2], vectors, IP, 3, None, Frame.around(vectors)) is not None
