"""One query at a time goes ways of its own: they must end where many queries end."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from milvine.index import native
from milvine.index.base import BuildJob, OpenIndex
from milvine.index.exact import search_exact
from milvine.index.flat import flat_header
from milvine.index.registry import kernel
from milvine.index.score import rises
from milvine.types import IndexType, MetricType, RowMask

_RNG = np.random.default_rng(17)
ROWS = _RNG.standard_normal((4200, 12)).astype(np.float32)
ROWS[1000:1040] = ROWS[0]  # ties
ROWS[7, 3], ROWS[8, 3] = np.nan, np.inf
QUERIES = np.concatenate([ROWS[:3], _RNG.standard_normal((5, 12)).astype(np.float32)])
QUERIES[4, 0], QUERIES[5, 0] = np.nan, np.inf
PARAMS = {
    IndexType.IVF_FLAT: ({"nlist": 16}, {"nprobe": 16}),
    IndexType.HNSW: ({"M": 16, "efConstruction": 100}, {"ef": 100}),
    IndexType.HNSW_SQ8: ({"M": 16, "efConstruction": 100}, {"ef": 100}),
    IndexType.IVF_SQ8: ({"nlist": 16}, {"nprobe": 16}),
}


@pytest.fixture(
    scope="module",
    params=[(kind, metric) for kind in PARAMS for metric in (MetricType.L2, MetricType.IP)],
)
def opened(request: pytest.FixtureRequest) -> tuple[OpenIndex, IndexType]:
    kind, metric = request.param
    image = flat_header(ROWS.shape[1], len(ROWS), metric) + ROWS.tobytes()
    pieces: list[bytes] = []
    kernel(kind, False).build(
        BuildJob(ROWS, metric, PARAMS[kind][0], lambda piece: pieces.append(bytes(piece)))
    )
    data, flat = (np.frombuffer(each, np.uint8) for each in (b"".join(pieces), image))
    return kernel(kind, False).open(data, flat, metric), kind


def masks() -> list[RowMask | None]:
    live = np.ones(len(ROWS), bool)
    live[:2] = False
    half = _RNG.random(len(ROWS)) < 0.5
    return [None, RowMask.from_bool(live), RowMask.from_bool(half)]


@pytest.mark.parametrize("k", [1, 10, 64, 65, 300])
def test_one_query_finds_what_it_finds_among_many(
    opened: tuple[OpenIndex, IndexType], k: int
) -> None:
    index, kind = opened
    for mask in masks():
        distances, rows = index.search(QUERIES, k, PARAMS[kind][1], mask)
        for number in range(len(QUERIES)):
            one = index.search(QUERIES[number : number + 1], k, PARAMS[kind][1], mask)
            assert np.array_equal(one[1], rows[number : number + 1])
            assert np.array_equal(one[0], distances[number : number + 1])


@pytest.mark.parametrize("metric", [MetricType.L2, MetricType.IP])
@pytest.mark.parametrize("k", [1, 10, 64, 65, 300])
def test_one_query_is_compared_exactly_as_many_are(metric: MetricType, k: int) -> None:
    for mask in masks():
        distances, rows = search_exact(QUERIES, ROWS, metric, k, mask)
        for number in range(len(QUERIES)):
            one = search_exact(QUERIES[number : number + 1], ROWS, metric, k, mask)
            assert np.array_equal(one[1], rows[number : number + 1])
            assert np.array_equal(one[0], distances[number : number + 1])


def test_every_mask_has_parameters_of_its_own(opened: tuple[OpenIndex, IndexType]) -> None:
    index, kind = opened
    mask = RowMask.all_live(len(ROWS))
    for _ in range(4):
        (nearest,) = index.search(QUERIES[2:3], 1, PARAMS[kind][1], mask)[1].ravel().tolist()
        assert nearest == index.search(QUERIES[2:3], 1, PARAMS[kind][1], mask)[1].item()
        mask = mask.without(np.array([nearest]))
        assert index.search(QUERIES[2:3], 1, PARAMS[kind][1], mask)[1].item() != nearest


def test_few_parameters_are_kept_with_a_mask() -> None:
    mask = RowMask.from_bool(np.arange(100) > 3)
    for value in range(1, 200):
        made = native.parameters("IVF", "nprobe", value, mask)
        assert made.nprobe == value and made is native.parameters("IVF", "nprobe", value, mask)
        assert len(mask.kept) <= native.KEPT_MAX
    assert native.parameters("IVF", "nprobe", 3, RowMask.all_live(100)).sel is None


@given(
    arrays.arrays(
        np.float32, st.tuples(st.just(1), st.integers(0, 6)), elements=st.floats(width=32)
    ),
    st.booleans(),
)
def test_rises(distances: np.ndarray, falling: bool) -> None:
    numbers = distances[0].tolist()
    farther = all(b < a if falling else b > a for a, b in pairwise(numbers))
    assert rises(numbers, falling) == (farther and all(map(math.isfinite, numbers)))
