"""Binary metrics: exact search against plain counting, IVF_FLAT against exact search, both with
deleted rows.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milvine.errors import CorruptFile, Unsupported, UnsupportedFormat
from milvine.index import binary
from milvine.index.base import BuildJob, OpenIndex
from milvine.index.binary import search_bits
from milvine.index.flat import flat_header
from milvine.index.inverted import binary_ivf
from milvine.index.registry import kernel
from milvine.limits import FILLER_DISTANCE
from milvine.testing import oracle
from milvine.types import Bytes, IndexType, MetricType, RowMask

MOLECULES = Path(__file__).parents[3] / "shared" / "data" / "molfp_pubchem_1024.npz"
M = MetricType
METRICS = [metric for metric in MetricType if metric.is_binary]
RANKED = [M.HAMMING, M.JACCARD, M.TANIMOTO]
FILLER = np.float32(FILLER_DISTANCE)


def sparse(rows: int, width: int, seed: int, density: float = 0.2) -> Bytes:
    """Random bits, some rows alike, some empty."""
    rng = np.random.default_rng(seed)
    bits = np.packbits(rng.random((rows, 8 * width)) < density, axis=1)
    bits[rng.integers(0, rows, rows // 10)] = bits[rng.integers(0, rows, rows // 10)]
    bits[rng.integers(0, rows, 1 + rows // 50)] = 0
    return bits


def expected(
    queries: Bytes, rows: Bytes, metric: MetricType, k: int, live: np.ndarray
) -> tuple[np.ndarray, Bytes]:
    """The k nearest by sorting everything, ties by row."""
    pairs = oracle.pair_bits(queries, rows, metric).astype(np.float32)
    pairs[:, ~live] = np.nan
    distances, found = np.full((len(queries), k), FILLER), np.full((len(queries), k), -1)
    for i, each in enumerate(pairs):
        order = np.argsort(each, kind="stable")[: np.count_nonzero(~np.isnan(each))][:k]
        found[i, : len(order)], distances[i, : len(order)] = order, each[order]
    return distances, found


@settings(max_examples=150, deadline=None)
@given(
    metric=st.sampled_from(METRICS),
    rows=st.sampled_from([1, 7, 200]),
    width=st.sampled_from([1, 3, 8, 13, 32]),
    nq=st.sampled_from([1, 2, 70]),
    k=st.sampled_from([1, 5, 60, 300]),
    dead=st.sampled_from([0.0, 0.2, 0.8, 1.0]),
    density=st.sampled_from([0.03, 0.2, 0.7]),
    seed=st.integers(0, 1 << 20),
)
def test_agrees_with_counting(
    metric: MetricType,
    rows: int,
    width: int,
    nq: int,
    k: int,
    dead: float,
    density: float,
    seed: int,
) -> None:
    vectors, queries = sparse(rows, width, seed, density), sparse(nq, width, seed + 1, density / 2)
    queries[0] = vectors[0]
    live = np.random.default_rng(seed).random(rows) >= dead
    mask = RowMask.from_bool(live) if dead else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(binary, "BLOCK_ROWS", 64)
        distances, found = search_bits(queries, vectors, metric, k, mask)
    near, which = expected(queries, vectors, metric, k, live)
    assert distances.dtype == np.float32 and found.dtype == np.int64
    assert (found == which).all() or metric in (M.JACCARD, M.TANIMOTO)
    np.testing.assert_allclose(distances, near, rtol=2e-7)
    assert ((found >= 0) == (which >= 0)).all()


def test_the_edges_of_each_metric() -> None:
    rows = np.array([[0b1111_0000], [0b1100_0000], [0], [0b0000_1111]], dtype=np.uint8)
    query = rows[:1]

    def distances(metric: MetricType, query: Bytes = query) -> list[tuple[int, float]]:
        near, found = search_bits(query, rows, metric, 4)
        return [(int(r), float(d)) for r, d in zip(found[0], near[0], strict=True) if r >= 0]

    assert distances(M.HAMMING) == [(0, 0.0), (1, 2.0), (2, 4.0), (3, 8.0)]
    assert distances(M.JACCARD) == [(0, 0.0), (1, 0.5), (2, 1.0), (3, 1.0)]
    assert distances(M.TANIMOTO) == [(0, 0.0), (1, 1.0), (2, np.inf), (3, np.inf)]
    assert distances(M.SUBSTRUCTURE) == [(0, 0.0)]
    assert distances(M.SUPERSTRUCTURE) == [(0, 0.0), (1, 0.0), (2, 0.0)]
    # The empty row is itself.
    assert distances(M.JACCARD, rows[2:3]) == [(2, 0.0), (0, 1.0), (1, 1.0), (3, 1.0)]
    assert distances(M.TANIMOTO, rows[2:3]) == [(2, 0.0), (0, np.inf), (1, np.inf), (3, np.inf)]
    assert distances(M.HAMMING, rows[2:3])[0] == (2, 0.0)
    assert distances(M.SUPERSTRUCTURE, rows[2:3]) == [(2, 0.0)]
    assert distances(M.SUBSTRUCTURE, rows[2:3]) == [(i, 0.0) for i in range(4)]


def test_the_largest_topk() -> None:
    vectors = sparse(20_000, 8, 3)
    distances, found = search_bits(vectors[:2], vectors, M.HAMMING, 16384)
    near, which = expected(vectors[:2], vectors, M.HAMMING, 16384, np.ones(20_000, bool))
    assert (found == which).all() and (distances == near).all()


def image_of(vectors: Bytes, metric: MetricType, params: Mapping[str, int]) -> Bytes:
    out = io.BytesIO()
    kernel(IndexType.IVF_FLAT, binary=True).build(BuildJob(vectors, metric, params, out.write))
    return np.frombuffer(out.getvalue(), dtype=np.uint8)


def flat_of(vectors: Bytes) -> Bytes:
    header = flat_header(8 * vectors.shape[1], len(vectors), M.L2)
    return np.frombuffer(header + vectors.tobytes(), dtype=np.uint8)


def opened(vectors: Bytes, metric: MetricType, nlist: int) -> OpenIndex:
    image = image_of(vectors, metric, {"nlist": nlist})
    return kernel(IndexType.IVF_FLAT, binary=True).open(image, flat_of(vectors), metric)


@cache
def clustered() -> tuple[Bytes, Bytes]:
    rng = np.random.default_rng(4)
    centres = rng.random((100, 256)) < 0.2
    points = centres[rng.integers(0, 100, 5040)] ^ (rng.random((5040, 256)) < 0.05)
    bits = np.packbits(points, axis=1)
    return bits[:5000], bits[5000:]


@cache
def over_clustered(metric: MetricType) -> OpenIndex:
    return opened(clustered()[0], metric, 64)


@pytest.mark.parametrize("metric", RANKED, ids=lambda m: m.name)
@pytest.mark.parametrize("dead", [0.0, 0.3, 0.95, 1.0])
def test_lists_find_what_all_rows_hold(metric: MetricType, dead: float) -> None:
    vectors, queries = clustered()
    mask = (
        RowMask.from_bool(np.random.default_rng(1).random(len(vectors)) >= dead) if dead else None
    )
    distances, rows = over_clustered(metric).search(queries, 10, {"nprobe": 12}, mask)
    near, _ = search_bits(queries, vectors, metric, 10, mask)
    assert (rows >= 0).all() if dead < 1 else (rows == -1).all() and (distances == FILLER).all()
    assert np.mean(distances <= near[:, -1:]) >= 0.95
    assert (np.diff(distances, axis=1) >= 0).all()
    pairs = oracle.pair_bits(queries, vectors, metric)
    there = rows >= 0
    np.testing.assert_allclose(
        distances[there], np.take_along_axis(pairs, np.maximum(rows, 0), axis=1)[there], rtol=1e-6
    )
    assert mask is None or mask.contains(rows[there]).all()


@pytest.mark.parametrize("metric", RANKED, ids=lambda m: m.name)
def test_all_lists_are_all_rows(metric: MetricType) -> None:
    vectors, queries = clustered()
    for nprobe in (64, 999_999):
        found = over_clustered(metric).search(queries, 7, {"nprobe": nprobe}, None)
        exact = search_bits(queries, vectors, metric, 7)
        assert (found[0] == exact[0]).all() and (found[1] == exact[1]).all()


def test_more_wanted_than_the_lists_hold() -> None:
    _, queries = clustered()
    distances, rows = over_clustered(M.HAMMING).search(queries[:2], 6000, {"nprobe": 2}, None)
    assert (
        rows.shape == (2, 6000) and (rows[:, -1] == -1).all() and (distances[:, -1] == FILLER).all()
    )
    held = rows[0][rows[0] >= 0]
    assert len(np.unique(held)) == len(held) > 0


def test_few_rows() -> None:
    for count in (1, 30):
        vectors = sparse(count, 8, 1)
        assert (
            opened(vectors, M.JACCARD, 64).search(vectors[:1], 1, {"nprobe": 1}, None)[1][0, 0] >= 0
        )


def test_substructures_have_no_lists() -> None:
    for metric in (M.SUBSTRUCTURE, M.SUPERSTRUCTURE):
        with pytest.raises(Unsupported, match="Illegal index params"):
            image_of(clustered()[0], metric, {"nlist": 4})


def test_foreign_images_are_refused() -> None:
    vectors, ivf = clustered()[0][:500], kernel(IndexType.IVF_FLAT, binary=True)
    image, flat = image_of(vectors, M.HAMMING, {"nlist": 4}).copy(), flat_of(vectors)
    for short in (image[:20], image[:-1]):
        with pytest.raises(CorruptFile):
            ivf.open(short, flat, M.HAMMING)
    with pytest.raises(CorruptFile):
        ivf.open(image, flat[:-1], M.HAMMING)
    with pytest.raises(CorruptFile):
        ivf.open(image, flat_of(vectors[:499]), M.HAMMING)
    image[8] = 99
    with pytest.raises(UnsupportedFormat):
        ivf.open(image, flat, M.HAMMING)


def test_other_types_are_for_float_vectors() -> None:
    with pytest.raises(Unsupported, match=r"HNSW.*FLAT, IVF_FLAT"):
        kernel(IndexType.HNSW, binary=True)


@pytest.mark.skipif(not MOLECULES.exists(), reason="the real fingerprints are not here")
def test_real_fingerprints() -> None:
    """FLAT is exact, IVF_FLAT reaches 0.95, on molecules and their stored truth."""
    with np.load(MOLECULES) as arrays:
        vectors, queries = (
            np.ascontiguousarray(arrays["train"]),
            np.ascontiguousarray(arrays["queries"][:100]),
        )
        truth = {
            M.JACCARD: arrays["dist_tanimoto"][:100, 9:10],
            M.HAMMING: arrays["dist_hamming"][:100, 9:10],
        }
    for metric, farthest in truth.items():
        distances, _ = search_bits(queries, vectors, metric, 10)
        np.testing.assert_allclose(distances[:, 9:10], farthest, rtol=1e-6)
        index = opened(vectors, metric, 128)
        distances, _ = index.search(queries, 10, {"nprobe": 24}, None)
        assert np.mean(distances <= farthest + 1e-6) >= 0.95, metric


@pytest.mark.parametrize(
    "metric", [MetricType.HAMMING, MetricType.JACCARD, MetricType.TANIMOTO], ids=lambda m: m.name
)
@pytest.mark.parametrize("different", [2, 8, 60])
def test_lists_over_copies_hold_what_a_search_reads(metric: MetricType, different: int) -> None:
    """Equal centroids would be probed together, though all rows are in the list of one of them."""
    some = np.random.default_rng(8).integers(0, 256, (different, 16), dtype=np.uint8)
    rows = some[np.arange(4000) % different]
    out = io.BytesIO()
    kernel(IndexType.IVF_FLAT, True).build(BuildJob(rows, metric, {"nlist": 100}, out.write))
    flat = np.frombuffer(flat_header(128, len(rows), MetricType.L2) + rows.tobytes(), np.uint8)
    index = kernel(IndexType.IVF_FLAT, True).open(
        np.frombuffer(out.getvalue(), np.uint8), flat, metric
    )
    distances, found = index.search(some, 3, {"nprobe": 1}, None)
    assert (found >= 0).all() and (distances == search_bits(some, rows, metric, 3)[0]).all()


def test_of_centroids_at_one_distance_the_first_is_read() -> None:
    """Rows went to it: empty rows, for one, are at one distance to all centroids."""
    coarse = np.ones((3, 200), dtype=np.float32)
    coarse[2, 150:] = 0.5
    probed = binary_ivf.nearest_lists(coarse, 4)
    assert 0 in probed[0] and 0 in probed[1] and 150 in probed[2]
