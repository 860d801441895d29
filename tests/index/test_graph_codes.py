"""HNSW over points of the rows finds what HNSW over the rows finds, and is not built where it would
not.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from milvine.errors import CorruptFile
from milvine.index.base import OpenIndex
from milvine.index.codes.quantizer import padded
from milvine.index.graphs import points
from milvine.index.graphs.points import Coding, Pair
from milvine.index.image import read_image
from milvine.index.registry import kernel
from milvine.testing import oracle
from milvine.testing.index_contract import built, copied, flat_image
from milvine.types import Bytes, Floats, IndexType, MetricType, RowMask

L2, IP = MetricType.L2, MetricType.IP
ROWS, DIMENSION, EF = 6000, 64, 150
BUILD = {"M": 16, "efConstruction": 100}
PAIRS = (Pair(1, 4), Pair(10, 14), Pair(100, 110))
by_metric = pytest.mark.parametrize("metric", [L2, IP], ids=lambda m: m.name)


@cache
def drawn(kind: str) -> tuple[Floats, Floats]:
    """Rows and queries, float32 (6000, 64) and (200, 64)."""
    random = np.random.default_rng(7)
    centres = random.standard_normal((50, DIMENSION))
    points = centres[random.integers(50, size=ROWS + 200)]
    points += 0.4 * random.standard_normal(points.shape)
    if kind == "skewed":
        points *= np.geomspace(1, 0.02, DIMENSION)
        points += np.linspace(-3, 3, DIMENSION)
    if kind == "of all lengths":
        points *= random.lognormal(0, 0.4, (len(points), 1))
    rows, queries = points[:ROWS].astype(np.float32), points[ROWS:].astype(np.float32)
    if kind == "copied":
        rows = copied(rows, "half of forty rows")
    if kind == "asked from elsewhere":
        queries = random.standard_normal(queries.shape).astype(np.float32)
    return rows, queries


KINDS = ("clustered", "skewed", "of all lengths", "copied", "asked from elsewhere")


@cache
def image_of(
    kind: str, metric: MetricType, index_type: IndexType = IndexType.HNSW, codes: bool = True
) -> Bytes:
    return built(index_type, drawn(kind)[0], metric, BUILD, codes=codes)


def opened(
    image: Bytes, vectors: Floats, metric: MetricType, index_type: IndexType = IndexType.HNSW
) -> OpenIndex:
    return kernel(index_type).open(image, flat_image(vectors, metric), metric)


def has_points(image: Bytes, rows: int = ROWS) -> bool:
    return read_image(image, rows).table is not None


def recall(
    index: OpenIndex, vectors: Floats, queries: Floats, metric: MetricType, k: int, ef: int = EF
) -> float:
    found = index.search(queries, k, {"ef": ef}, None)[1]
    truth, _ = oracle.nearest(queries, vectors, metric, k)
    return oracle.recall(found, oracle.pair_distances(queries, vectors, metric), truth, metric)


def nearest(queries: Floats, rows: Floats, metric: MetricType) -> np.ndarray:
    """All row numbers in the order of their distance, (nq, rows)."""
    pairs = oracle.pair_distances(queries, rows, metric)
    return np.argsort(-pairs if metric is IP else pairs, axis=1, kind="stable")


@by_metric
@pytest.mark.parametrize("kind", KINDS)
def test_points_find_what_vectors_find(kind: str, metric: MetricType) -> None:
    vectors, queries = drawn(kind)
    coded, plain = (image_of(kind, metric, codes=codes) for codes in (True, False))
    assert not has_points(plain)
    assert has_points(coded) or (kind, metric) == ("skewed", IP), "whose points are too coarse"
    assert plain[8] == 2, "what earlier releases read, too"
    for k in (1, 10, 100):
        ours, theirs = (
            recall(opened(image, vectors, metric), vectors, queries, metric, k)
            for image in (coded, plain)
        )
        # As far apart as two graphs over vectors are, whose rows come in another order.
        assert ours >= theirs - 0.003 - 0.1 * (1 - theirs), k


@by_metric
def test_candidates_hold_the_nearest(metric: MetricType) -> None:
    """Whatever the walk does: of all rows in the order of their points."""
    vectors, queries = drawn("clustered")
    table = read_image(image_of("clustered", metric), ROWS).table
    assert table is not None
    coding = Coding.of(table, DIMENSION)
    rows, points = coding.of_rows(vectors), coding.of_queries(queries, metric).points
    order = nearest(points, rows, metric)
    for k in (1, 10, 100, 1000):
        candidates, true = order[:, : coding.wanted(k)], nearest(queries, vectors, metric)[:, :k]
        held = [np.isin(*both).mean() for both in zip(true, candidates, strict=True)]
        assert np.mean(held) >= 0.999
        assert coding.wanted(k) <= 1.5 * k + 15


@by_metric
def test_a_query_that_has_no_point_is_answered_by_the_vectors(metric: MetricType) -> None:
    vectors, queries = drawn("clustered")
    far = queries.copy()
    far[::2] = 40 * far[::2] if metric is L2 else 0.01 * far[::2]
    far[::2, 5] += 50
    coded, plain = (
        opened(image_of("clustered", metric, codes=codes), vectors, metric)
        for codes in (True, False)
    )
    ours, theirs = (recall(each, vectors, far, metric, 10) for each in (coded, plain))
    assert ours >= theirs - 0.01
    distances, rows = coded.search(far, 10, {"ef": EF}, None)
    for i in (0, 1, 2):
        alone = coded.search(far[i : i + 1], 10, {"ef": EF}, None)
        assert (alone[0][0] == distances[i]).all() and (alone[1][0] == rows[i]).all()


def test_zeros_ask_for_something() -> None:
    index = opened(image_of("clustered", IP), drawn("clustered")[0], IP)
    rows = index.search(np.zeros((1, DIMENSION), np.float32), 5, {"ef": EF}, None)[1]
    assert (rows >= 0).all()


def test_short_walks_are_those_over_vectors() -> None:
    vectors, queries = drawn("clustered")
    index = opened(image_of("clustered", L2), vectors, L2)
    assert recall(index, vectors, queries, L2, 1, ef=1) < recall(index, vectors, queries, L2, 1)


@by_metric
def test_where_the_processor_is_slow_with_points_walks_go_over_vectors(
    metric: MetricType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those in a file from a machine that is not; HNSW_SQ8 is there to read few vectors."""
    vectors, queries = drawn("clustered")
    monkeypatch.setattr(points, "QUICK", False)
    assert not has_points(built(IndexType.HNSW, vectors, metric, BUILD))
    assert has_points(built(IndexType.HNSW_SQ8, vectors, metric, BUILD))
    index = opened(image_of("clustered", metric), vectors, metric)
    monkeypatch.delattr(Coding, "of_queries")
    assert recall(index, vectors, queries, metric, 10) > 0.99


@by_metric
def test_rows_keep_their_numbers(metric: MetricType) -> None:
    """Copies, a row with NaN and dead rows are none of the graph's nodes."""
    vectors = copied(drawn("clustered")[0], "half of forty rows")
    vectors[11, 3] = np.nan
    live = RowMask.from_bool(np.random.default_rng(3).random(ROWS) < 0.8)
    image = built(IndexType.HNSW, vectors, metric, BUILD, live)
    assert has_points(image)
    index = opened(image, vectors, metric)
    asked = np.flatnonzero(live.to_bool())[:200]
    asked = asked[asked != 11]
    distances, rows = index.search(vectors[asked], 3, {"ef": EF}, live)
    assert live.contains(rows).all() and 11 not in rows
    if metric is L2:
        assert (distances[:, 0] == 0).mean() > 0.99


def heaps() -> Floats:
    """Forty heaps of rows that are no copies, and have one point each."""
    vectors = drawn("clustered")[0].copy()
    noise = np.random.default_rng(1).standard_normal(vectors.shape)
    heads = np.arange(ROWS) % 40
    vectors[ROWS // 2 :] = (vectors[heads] + 0.003 * noise)[ROWS // 2 :]
    return vectors


def outlier() -> Floats:
    """One row makes a grid under inner product so coarse that it tells no others apart."""
    vectors = drawn("clustered")[0].copy()
    vectors[77] *= 1000
    return vectors


@pytest.mark.parametrize(
    ("vectors", "metric"),
    [
        (drawn("clustered")[0][:, :13], L2),
        (drawn("clustered")[0][:900], L2),
        (heaps(), L2),
        (outlier(), IP),
    ],
    ids=["few dimensions", "few rows", "heaps", "one giant"],
)
def test_where_points_would_not_do_there_are_none(vectors: Floats, metric: MetricType) -> None:
    vectors = np.ascontiguousarray(vectors)
    image = built(IndexType.HNSW, vectors, metric, BUILD)
    assert not has_points(image, len(vectors))
    index = opened(image, vectors, metric)
    _, rows = index.search(vectors[::80] + np.float32(0.01), 10, {"ef": 100}, None)
    assert (rows >= 0).all()


def test_one_giant_is_beside_the_grid_under_l2() -> None:
    vectors = outlier()
    image = built(IndexType.HNSW, vectors, L2, BUILD)
    assert has_points(image)
    index = opened(image, vectors, L2)
    assert index.search(vectors[77:78], 1, {"ef": EF}, None)[1][0, 0] == 77


@by_metric
def test_images_with_codes_of_before_are_read(metric: MetricType) -> None:
    vectors, queries = drawn("clustered")
    kind = IndexType.HNSW_SQ8
    for codes in (False, True):
        image = image_of("clustered", metric, kind, codes)
        assert has_points(image) is codes
        index = opened(image, vectors, metric, kind)
        assert recall(index, vectors, queries, metric, 10) > 0.98


def test_a_table_that_says_nothing_is_refused() -> None:
    image, flat = image_of("clustered", L2).copy(), flat_image(drawn("clustered")[0], L2)
    beyond = image.size - read_image(image, ROWS).body.size
    table = read_image(image, ROWS).table
    assert table is not None
    for damage in (b"\xff" * 8, b"\0" * 8):  # the step: NaN, and none
        bad = image.copy()
        bad[beyond - table.nbytes :][:8] = np.frombuffer(damage, np.uint8)
        with pytest.raises(CorruptFile):
            kernel(IndexType.HNSW).open(bad, flat, L2)
    short = image.copy()
    short[56] -= 1
    with pytest.raises(CorruptFile):
        kernel(IndexType.HNSW).open(short, flat, L2)


@pytest.mark.parametrize("dimension", [24, 64, 100, 129])
def test_a_coding_is_what_its_table_says(dimension: int) -> None:
    origin = np.arange(dimension, dtype=np.float32)
    coding = Coding(origin, 0.25, 3.0, PAIRS)
    again = Coding.of(coding.table(), dimension)
    assert (again.origin == origin).all() and again.step == 0.25 and again.peaked == 3.0
    assert again.pairs == PAIRS and again.width == padded(dimension)
    for other in (dimension - 8, dimension + 8):
        with pytest.raises(CorruptFile):
            Coding.of(coding.table(), other)
    wrong = Coding(origin, 0.25, 3.0, (Pair(10, 12), Pair(1, 2)))
    with pytest.raises(CorruptFile):
        Coding.of(wrong.table(), dimension)


def test_more_hits_want_more_candidates() -> None:
    coding = Coding(np.zeros(32, dtype=np.float32), 1.0, 0.0, PAIRS)
    wanted = [coding.wanted(k) for k in range(1, 3000)]
    assert [coding.wanted(k) for k in (1, 10, 100)] == [4, 14, 110]
    assert all(a < b for a, b in pairwise(wanted))
    assert coding.wanted(1000) <= 1100


@pytest.mark.parametrize("far", (0.0, 1e4, -1e4, 3e5))
def test_points_stay_on_the_grid_however_far_its_origin_is(far: float) -> None:
    for step in np.linspace(0.007, 0.03, 60).tolist():
        coding = Coding(np.full(24, far, dtype=np.float32), step, 0.0, PAIRS)
        ends = np.stack([np.full(24, far + way, dtype=np.float32) for way in (-1e3, 0, 1e3)])
        assert np.abs(coding.of_rows(ends)).max() <= 127, step


def test_points_are_the_nearest_of_the_grid() -> None:
    coding = Coding(np.full(24, 2.0, dtype=np.float32), 0.5, 0.0, PAIRS)
    rows = np.full((2, 24), 3.2, dtype=np.float32)
    rows[1, 3] = 1e30
    points, unfit = coding.of_queries(rows, L2)
    assert points.shape == (2, 32) and (points[:, :3] == 2).all() and not points[:, 24:].any()
    assert points[1, 3] == 127 and unfit is not None and unfit.tolist() == [False, True]
    assert (coding.of_rows(rows) == points).all()
