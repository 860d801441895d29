"""Searches by codes find exactly what comparing every row finds, to the last bit, and need few rows
for it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from milvine.errors import CorruptFile, UnsupportedFormat
from milvine.index.base import BuildJob
from milvine.index.codes import build, search
from milvine.index.codes.image import Coded, read_codes, write_codes
from milvine.index.codes.quantizer import learn, pays
from milvine.index.codes.search import OpenCodes, needed_for
from milvine.index.exact import search_exact
from milvine.index.registry import kernel
from milvine.index.score import exact_distances
from milvine.testing.index_contract import clustered, flat_image
from milvine.types import Bytes, Floats, IndexType, MetricType, RowMask

L2, IP = MetricType.L2, MetricType.IP
BOTH = pytest.mark.parametrize("metric", [L2, IP], ids=lambda m: m.name)


def coded(vectors: Floats, metric: MetricType, needed: tuple[int, int, int]) -> OpenCodes | None:
    """The codes of rows, whether they pay or not, with so few candidates that proofs are put to the
    test; None where there can be none.
    """
    learnt = learn(vectors)
    if learnt is None:
        return None
    known = replace(build.lengths(vectors, learnt), needed=needed)
    out = io.BytesIO()
    job = BuildJob(vectors, metric, {}, out.write)
    write_codes(out.write, known, metric, len(vectors), build.encoded(job, learnt))
    image = np.frombuffer(out.getvalue(), dtype=np.uint8)
    opened = read_codes(image, vectors.shape, metric)
    assert opened is not None
    return OpenCodes(image, vectors, metric, *opened)


@pytest.fixture(autouse=True)
def small_segments_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MOST_CANDIDATES", 1.0)
    monkeypatch.setattr(search, "MANY_QUERIES", 1 << 20)


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Of how many queries every row was compared, in each call."""
    calls: list[int] = []

    def counting(queries: Floats, *rest: object) -> object:
        calls.append(len(queries))
        return search_exact(queries, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(search, "search_exact", counting)
    yield calls


def assert_same(
    index: OpenCodes,
    queries: Floats,
    vectors: Floats,
    metric: MetricType,
    k: int,
    mask: RowMask | None = None,
) -> None:
    distances, rows = index.search(queries, k, {}, mask)
    expected = search_exact(queries, vectors, metric, k, mask)
    assert np.array_equal(distances, expected[0])
    # Of rows that are as far as the last hit, those that take part are not promised.
    last = distances[:, min(k, len(vectors) if mask is None else max(mask.live, 1)) - 1]
    decided = distances != last[:, None]
    assert np.array_equal(rows[decided], expected[1][decided])
    assert all(len(set(row[row >= 0].tolist())) == np.count_nonzero(row >= 0) for row in rows)
    assert np.array_equal(
        exact_distances(queries, vectors, rows, metric)[rows >= 0], distances[rows >= 0]
    )
    assert mask is None or mask.contains(rows[rows >= 0]).all()


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    metric=st.sampled_from([L2, IP]),
    rows=st.integers(60, 900),
    dimension=st.sampled_from([3, 16, 33, 100]),
    nq=st.sampled_from([1, 2, 9]),
    k=st.sampled_from([1, 3, 10, 50, 300]),
    centre=st.sampled_from([0.0, 1.0, 100.0, -3e4]),
    spread=st.sampled_from([1.0, 0.1, 1e-6, 1e6, 1e-20, 1e15]),
    uneven=st.sampled_from([0.0, 1.0, 4.0]),
    constant=st.booleans(),
    copies=st.sampled_from([1, 1, 2, 50]),
    far=st.sampled_from([0, 0, 3]),
    nowhere=st.sampled_from([0, 0, 4]),
    away=st.sampled_from([0.0, 0.0, 3.0, 100.0]),
    live_share=st.sampled_from([None, 0.95, 0.6, 0.1]),
    seed=st.integers(0, 1 << 20),
)
def test_nothing_breaks_the_proof(
    metric: MetricType, rows: int, dimension: int, nq: int, k: int, centre: float, spread: float,
    uneven: float, constant: bool, copies: int, far: int, nowhere: int, away: float,
    live_share: float | None, seed: int,
) -> None:  # fmt: skip
    """Wherever the rows are, whatever is among them, and wherever queries come from."""
    rng = np.random.default_rng(seed)
    scales = spread * 10 ** (-uneven * rng.random(dimension))
    base = centre + scales * rng.standard_normal((-(-rows // copies), dimension))
    vectors = np.repeat(base, copies, axis=0)[:rows].astype(np.float32)
    if constant:
        vectors[:, 0] = np.float32(centre)
    vectors[rng.integers(0, rows, far)] *= np.float32(1e4)
    vectors[rng.integers(0, rows, nowhere), 0] = np.nan
    queries = np.nan_to_num(vectors[rng.integers(0, rows, nq)])
    queries += ((away + 0.3) * scales * rng.standard_normal((nq, dimension))).astype(np.float32)
    mask = None if live_share is None else RowMask.from_bool(rng.random(rows) < live_share)
    index = coded(vectors, metric, (2, 14, 120))
    if index is not None:
        assert_same(index, queries, vectors, metric, k, mask)


@BOTH
def test_few_rows_are_compared(metric: MetricType, compared: list[int]) -> None:
    vectors, queries = clustered()
    index = coded(vectors, metric, (40, 60, 300))
    assert index is not None
    for k in (1, 10, 100):
        for query in queries[:50]:
            assert_same(index, query[None], vectors, metric, k)
    assert len(compared) <= 3


@BOTH
@pytest.mark.parametrize("centre", [300.0, -2e4])
def test_far_from_the_origin(metric: MetricType, centre: float, compared: list[int]) -> None:
    vectors, queries = (each + np.float32(centre) for each in clustered())
    index = coded(vectors, metric, (40, 80, 300))
    assert index is not None
    assert_same(index, queries[:50], vectors, metric, 10)
    assert metric is IP or not compared


def test_queries_beyond_the_grid_are_proven(compared: list[int]) -> None:
    vectors, queries = clustered()
    index = coded(vectors, L2, (40, 80, 300))
    assert index is not None
    away = queries[:50].copy()
    away[:, 0] = 1.3 * vectors[:, 0].max()
    assert_same(index, away, vectors, L2, 10)
    assert sum(compared) < 25


def test_a_few_rows_far_away_make_codes_no_coarser(compared: list[int]) -> None:
    vectors, queries = clustered()[0].copy(), clustered()[1]
    vectors[[7, 400]] *= 1e5
    index = coded(vectors, L2, (40, 80, 300))
    assert index is not None
    assert_same(index, queries[:50], vectors, L2, 10)
    assert_same(index, vectors[[7, 400]], vectors, L2, 3)
    assert sum(compared) <= 2


def test_many_queries_of_one_call_are_matrix_products(
    compared: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, queries = clustered()
    index = coded(vectors, L2, (40, 80, 300))
    assert index is not None
    monkeypatch.setattr(search, "MANY_QUERIES", 20)
    assert_same(index, queries[:20], vectors, L2, 10)
    assert not compared
    assert_same(index, queries[:21], vectors, L2, 10)
    assert compared == [21]
    index.read_ahead(1 << 20)  # rows are read from a disk, where candidates are fewer
    assert_same(index, queries[:21], vectors, L2, 10)
    assert compared == [21]


def test_where_proofs_fail_they_are_tried_less_and_less(compared: list[int]) -> None:
    """Copies of one row: no code tells them apart."""
    vectors = np.repeat(clustered()[0][:20], 200, axis=0)
    index = coded(vectors, L2, (2, 12, 120))
    assert index is not None
    tried: list[int] = []
    nearest = search.search_index

    def counting(*given: object) -> object:
        tried.append(1)
        return nearest(*given)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "search_index", counting)
        for _ in range(300):
            assert_same(index, vectors[:1], vectors, L2, 10)
    assert len(compared) == 300 and len(tried) < 40


def test_candidates_for_numbers_of_hits_between() -> None:
    needed = (20, 60, 300)
    assert [needed_for(needed, k) for k in (1, 10, 100, 1000)] == [20, 60, 300, 3000]
    assert needed_for(needed, 55) == 180


class TestFile:
    """What the kernel of FLAT writes."""

    def image(self, vectors: Floats, metric: MetricType = L2, codes: bool = True) -> Bytes:
        out = io.BytesIO()
        kernel(IndexType.FLAT).build(BuildJob(vectors, metric, {}, out.write, codes=codes))
        return np.frombuffer(out.getvalue(), dtype=np.uint8)

    def known(self, image: Bytes, vectors: Floats) -> Coded | None:
        read = read_codes(image, vectors.shape, L2)
        return None if read is None else read[0]

    def test_small_and_no_larger_than_codes_are(self) -> None:
        vectors = clustered()[0]
        image = self.image(vectors)
        assert self.known(image, vectors) is not None
        assert image.size <= 0.3 * vectors.nbytes

    def test_no_codes_where_none_are_wanted_or_none_pay(self) -> None:
        vectors = clustered()[0]
        narrow = np.ascontiguousarray(vectors[:, :6])
        assert not pays(6) and pays(14)
        copies = np.repeat(vectors[:4], len(vectors) // 4, axis=0)
        lost = vectors.copy()
        lost[::3] = np.nan
        for rows, codes in ((vectors, False), (narrow, True), (copies, True), (lost, True)):
            assert self.known(self.image(rows, codes=codes), rows) is None
            opened = kernel(IndexType.FLAT).open(
                self.image(rows, codes=codes), flat_image(rows, L2), L2
            )
            assert not isinstance(opened, OpenCodes)

    def test_others_are_refused(self) -> None:
        vectors = clustered()[0]
        image, flat = self.image(vectors).copy(), flat_image(vectors, L2)
        for wrong in (image[:20], image[:-1]):
            with pytest.raises(CorruptFile):
                kernel(IndexType.FLAT).open(wrong, flat, L2)
        with pytest.raises(CorruptFile):
            kernel(IndexType.FLAT).open(image, flat_image(vectors[:-1], L2), L2)
        with pytest.raises(CorruptFile):
            kernel(IndexType.FLAT).open(image, flat_image(vectors, IP), IP)
        image[8] = 99
        with pytest.raises(UnsupportedFormat):
            kernel(IndexType.FLAT).open(image, flat, L2)
        image[0] = 0
        with pytest.raises(CorruptFile):
            kernel(IndexType.FLAT).open(image, flat, L2)
