"""What every index type promises, as tests to inherit.

class TestHnsw(IndexContract):
    index_type = IndexType.HNSW
    build_params = {"M": 16, "efConstruction": 200}
    search_params = {"ef": 64}
    floor = {MetricType.L2: 0.97, MetricType.IP: 0.97}
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, ClassVar

import numpy as np
import pytest

from milvine.errors import CorruptFile, UnsupportedFormat
from milvine.index.base import BuildJob, OpenIndex
from milvine.index.exact import search_exact
from milvine.index.flat import flat_header
from milvine.index.registry import kernel, spec
from milvine.index.spec import IndexInput
from milvine.limits import FILLER_DISTANCE
from milvine.testing import oracle
from milvine.types import Bytes, Floats, IndexType, MetricType, RowMask

ROWS, DIMENSION, QUERIES, K = 6000, 32, 64, 10
METRICS = (MetricType.L2, MetricType.IP)
COPIES = {
    "a few of one row": (0.01, 1, 0.0),
    "half of one row": (0.5, 1, 0.0),
    "half of forty rows": (0.5, 40, 0.0),
    "nearly equal rows": (0.5, 2, 1e-7),
    "nearly all": (0.99, 1, 0.0),
    "zeros": (0.1, 0, 0.0),
}
"""Share of the rows that are copies, of how many rows (0: of zeros), and how far apart they are in
each dimension.
"""


@cache
def clustered() -> tuple[Floats, Floats]:
    """Rows and queries around 300 centres, as embeddings lie: read-only, the same in every run."""
    rng = np.random.default_rng(20)
    centres = rng.standard_normal((300, DIMENSION))
    near = rng.integers(0, len(centres), ROWS + QUERIES)
    points = (centres[near] + 0.5 * rng.standard_normal((len(near), DIMENSION))).astype(np.float32)
    points.setflags(write=False)
    return points[:ROWS], points[ROWS:]


def copied(vectors: Floats, case: str) -> Floats:
    """The rows with some of them overwritten by copies of others, as `COPIES` says."""
    share, originals, apart = COPIES[case]
    rng, out = np.random.default_rng(5), vectors.copy()
    over = rng.choice(len(out), int(share * len(out)), replace=False)
    if not originals:
        out[over] = 0
        return out
    kept = np.setdiff1d(np.arange(len(out)), over)[:originals]
    noise = apart * rng.standard_normal((len(over), out.shape[1]))
    out[over] = vectors[kept[np.arange(len(over)) % originals]] + noise.astype(np.float32)
    return out


def flat_image(vectors: Floats, metric: MetricType) -> Bytes:
    rows, dimension = vectors.shape
    return np.frombuffer(flat_header(dimension, rows, metric) + vectors.tobytes(), dtype=np.uint8)


def built(
    index_type: IndexType,
    vectors: Floats,
    metric: MetricType,
    params: Mapping[str, Any],
    live: RowMask | None = None,
    codes: bool = True,
) -> Bytes:
    """The image of an index, read-only as a mapped file is."""
    out = io.BytesIO()
    kernel(index_type).build(BuildJob(vectors, metric, params, out.write, live=live, codes=codes))
    return np.frombuffer(out.getvalue(), dtype=np.uint8)


@cache
def _standard(
    index_type: IndexType, metric: MetricType, params: tuple[tuple[str, int], ...], codes: bool
) -> OpenIndex:
    vectors, _ = clustered()
    image = built(index_type, vectors, metric, dict(params), codes=codes)
    return kernel(index_type).open(image, flat_image(vectors, metric), metric)


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
class IndexContract:
    """Inherit and fill in. `exact_distances` says that reported distances are exact, `codes` that
    builds may make small codes of the rows.
    """

    index_type: ClassVar[IndexType]
    build_params: ClassVar[Mapping[str, int]] = {}
    search_params: ClassVar[Mapping[str, int]] = {}
    floor: ClassVar[Mapping[MetricType, float]]
    exact_distances: ClassVar[bool] = True
    codes: ClassVar[bool] = True

    def index(self, metric: MetricType) -> OpenIndex:
        """Over `clustered`; built once."""
        return _standard(self.index_type, metric, tuple(self.build_params.items()), self.codes)

    def index_over(
        self, vectors: Floats, metric: MetricType, live: RowMask | None = None
    ) -> OpenIndex:
        image = built(self.index_type, vectors, metric, self.build_params, live, self.codes)
        return kernel(self.index_type).open(image, flat_image(vectors, metric), metric)

    def recall(self, index: OpenIndex, metric: MetricType, mask: RowMask | None = None) -> float:
        vectors, queries = clustered()
        _, rows = index.search(queries, K, self.search_params, mask)
        truth, _ = oracle.nearest(
            queries, vectors, metric, K, None if mask is None else mask.to_bool()
        )
        return oracle.recall(rows, oracle.pair_distances(queries, vectors, metric), truth, metric)

    def test_recall_floor(self, metric: MetricType) -> None:
        assert self.recall(self.index(metric), metric) >= self.floor[metric]

    @pytest.mark.parametrize("dead", [0.1, 0.5, 0.9, 0.999])
    def test_deleted_rows_are_never_found(self, metric: MetricType, dead: float) -> None:
        rng = np.random.default_rng(1)
        mask = RowMask.from_bool(rng.random(ROWS) >= dead)
        index, (_, queries) = self.index(metric), clustered()
        _, rows = index.search(queries, K, self.search_params, mask)
        assert mask.contains(rows[rows >= 0]).all()
        assert self.recall(index, metric, mask) >= self.floor[metric] - 0.05

    def test_deleting_the_answers_brings_the_next(self, metric: MetricType) -> None:
        index, (_, queries) = self.index(metric), clustered()
        _, rows = index.search(queries, K, self.search_params, None)
        mask = RowMask.all_live(ROWS).without(rows[rows >= 0])
        _, others = index.search(queries, K, self.search_params, mask)
        assert not np.isin(others, rows).any()
        assert (others >= 0).mean() > 0.9

    def test_everything_deleted(self, metric: MetricType) -> None:
        mask = RowMask.from_bool(np.zeros(ROWS, dtype=bool))
        distances, rows = self.index(metric).search(clustered()[1], K, self.search_params, mask)
        assert (rows == -1).all() and (distances == np.float32(FILLER_DISTANCE)).all()

    def test_shape_order_and_distances(self, metric: MetricType) -> None:
        vectors, queries = clustered()
        distances, rows = self.index(metric).search(queries, K, self.search_params, None)
        assert distances.shape == rows.shape == (QUERIES, K)
        assert distances.dtype == np.float32 and rows.dtype == np.int64
        steps = np.diff(distances, axis=1)
        assert (steps <= 0).all() if metric.larger_is_closer else (steps >= 0).all()
        truth = np.take_along_axis(oracle.pair_distances(queries, vectors, metric), rows, axis=1)
        close = 1e-5 if self.exact_distances else 0.25
        assert np.abs(distances - truth).max() <= close * np.abs(truth).max()

    def test_identical_vectors_are_at_zero(self, metric: MetricType) -> None:
        vectors, _ = clustered()
        for nq in (1, 3, 40):
            distances, rows = self.index(metric).search(vectors[:nq], 1, self.search_params, None)
            if metric is MetricType.L2 and self.exact_distances:
                assert (distances == 0.0).all() and (rows[:, 0] == np.arange(nq)).all()
            else:
                assert (distances != np.float32(FILLER_DISTANCE)).all()

    def test_batch_size_changes_nothing(self, metric: MetricType) -> None:
        index, (_, queries) = self.index(metric), clustered()
        distances, rows = index.search(queries, K, self.search_params, None)
        for i in range(0, QUERIES, 7):
            one_distance, one_row = index.search(queries[i : i + 1], K, self.search_params, None)
            if self.exact_distances:
                assert (one_distance[0] == distances[i]).all() and (one_row[0] == rows[i]).all()
            else:
                assert np.allclose(one_distance[0], distances[i], rtol=1e-5, atol=1e-5)

    def test_more_wanted_than_there_is(self, metric: MetricType) -> None:
        index, (_, queries) = self.index(metric), clustered()
        distances, rows = index.search(queries[:2], ROWS + 5, self.search_params, None)
        assert distances.shape == rows.shape == (2, ROWS + 5)
        found = rows[0][rows[0] >= 0]
        assert len(np.unique(found)) == len(found) > 0
        assert (rows[:, -5:] == -1).all() and (
            distances[:, -5:] == np.float32(FILLER_DISTANCE)
        ).all()
        assert (np.diff((rows < 0).astype(int), axis=1) >= 0).all(), "fillers come last"

    def test_rows_and_queries_that_are_no_numbers(self, metric: MetricType) -> None:
        vectors = clustered()[0].copy()
        odd = np.array([0, 17, 4242, ROWS - 1])
        vectors[odd, [0, 5, 9, 31]] = [np.nan, np.inf, -np.inf, np.nan]
        index = self.index_over(vectors, metric)
        queries = clustered()[1].copy()
        queries[1, 3], queries[2, 4] = np.nan, np.inf
        distances, rows = index.search(queries, K, self.search_params, None)
        assert not np.isin(rows, odd).any() and np.isfinite(distances).all()
        assert (rows[1:3] == -1).all() and (rows[0] >= 0).all()
        good = np.r_[0, 3:QUERIES]
        truth, _ = oracle.nearest(queries[good], vectors, metric, K)
        sound = np.nan_to_num(vectors, nan=0.0, posinf=0.0, neginf=0.0)
        pairs = oracle.pair_distances(queries[good], sound, metric)
        assert oracle.recall(rows[good], pairs, truth, metric) >= self.floor[metric] - 0.05
        mask = RowMask.all_live(ROWS).without(rows[0])
        _, others = index.search(queries[:1], K, self.search_params, mask)
        assert not np.isin(others, rows[0]).any() and not np.isin(others, odd).any()

    def found_themselves(
        self, index: OpenIndex, vectors: Floats, metric: MetricType, mask: RowMask | None = None
    ) -> float:
        """The share of live rows, of a sample, whose nearest hit is as near as they are themselves.

        Where distances are those of codes, of a sample without copies: whether one code misleads is
        not a matter of how many rows have it.
        """
        asked = np.arange(len(vectors))
        if not self.exact_distances:
            asked = np.sort(np.unique(np.round(vectors, 4), axis=0, return_index=True)[1])
        asked = asked[:: max(len(asked) // 400, 1)]
        asked = asked if mask is None else asked[mask.contains(asked)]
        _, rows = index.search(vectors[asked], 1, self.search_params, mask)
        assert mask is None or mask.contains(rows[rows >= 0]).all()
        pairs = oracle.pair_distances(vectors[asked], vectors, metric)
        own, got = (
            pairs[np.arange(len(asked)), asked],
            np.take_along_axis(pairs, np.maximum(rows, 0), axis=1)[:, 0],
        )
        slack = 1e-5 * np.abs(pairs).max()
        near = got >= own - slack if metric.larger_is_closer else got <= own + slack
        return float(np.mean(near & (rows[:, 0] >= 0)))

    @pytest.mark.parametrize("case", COPIES)
    def test_copies_hide_no_row(self, metric: MetricType, case: str) -> None:
        vectors = copied(clustered()[0], case)
        index, before = (
            self.index_over(vectors, metric),
            self.found_themselves(self.index(metric), clustered()[0], metric),
        )
        assert self.found_themselves(index, vectors, metric) >= before - (
            0.005 if self.exact_distances else 0.03
        )
        first = np.unique(vectors, axis=0, return_index=True)[1]
        # What a graph holds, and copies of it.
        mask = RowMask.all_live(ROWS).without(first[: len(first) - 9 : 2])
        assert self.found_themselves(index, vectors, metric, mask) >= before - 0.04

    def test_all_the_copies_are_hits_in_the_order_of_rows(self, metric: MetricType) -> None:
        vectors = copied(clustered()[0], "half of one row")
        one, counts = np.unique(vectors, axis=0, return_counts=True)
        query = one[counts.argmax()][None]
        same = np.flatnonzero((vectors == query).all(axis=1))
        if metric is MetricType.IP:  # others may be longer
            query = 9 * query
        index = self.index_over(vectors, metric)
        for k in (1, 30, 200):
            _, rows = index.search(query, k, self.search_params, None)
            exact = search_exact(query, vectors, metric, k)[1]
            if metric is MetricType.L2 and self.exact_distances:
                assert (rows[0] == same[:k]).all() and (rows == exact).all()
            assert len(np.unique(rows)) == k and rows.min() >= 0

    def test_deleted_rows_are_left_out_of_a_build(self, metric: MetricType) -> None:
        vectors, queries = clustered()
        live = RowMask.from_bool(np.random.default_rng(6).random(ROWS) < 0.6)
        index = self.index_over(vectors, metric, live)
        assert self.recall(index, metric, live) >= self.floor[metric] - 0.05
        fewer = live.without(index.search(queries, 3, self.search_params, live)[1].ravel())
        _, rows = index.search(queries, K, self.search_params, fewer)
        assert (
            fewer.contains(rows[rows >= 0]).all()
            and self.recall(index, metric, fewer) >= self.floor[metric] - 0.05
        )
        nothing = RowMask.from_bool(np.zeros(ROWS, dtype=bool))
        _, rows = self.index_over(vectors, metric, nothing).search(
            queries, K, self.search_params, nothing
        )
        assert (rows == -1).all()

    @pytest.mark.parametrize("count", [1, 2, 30, 200])
    def test_small_and_hopeless_segments(self, metric: MetricType, count: int) -> None:
        vectors = clustered()[0][:count]
        _, rows = self.index_over(vectors, metric).search(vectors[:1], 1, self.search_params, None)
        assert rows[0, 0] >= 0
        nowhere = np.full((count, DIMENSION), np.nan, dtype=np.float32)
        distances, rows = self.index_over(nowhere, metric).search(
            vectors[:1], 3, self.search_params, None
        )
        assert (rows == -1).all() and (distances == np.float32(FILLER_DISTANCE)).all()

    def test_threads_change_nothing(self, metric: MetricType) -> None:
        index, (_, queries) = self.index(metric), clustered()
        expected = index.search(queries, K, self.search_params, None)
        with ThreadPoolExecutor(4) as pool:
            calls = [
                pool.submit(index.search, queries, K, self.search_params, None, 1 + i % 2)
                for i in range(8)
            ]
            for call in calls:
                assert np.allclose(call.result()[0], expected[0], rtol=1e-5, atol=1e-5)

    def test_buffers_outlive_their_names(self, metric: MetricType) -> None:
        """The index alone keeps alive what it points into."""
        index = self.index_over(clustered()[0][:500], metric)
        assert index.rows == 500
        junk = [np.zeros(1 << 16, dtype=np.uint8) for _ in range(100)]
        _, rows = index.search(clustered()[0][:5], 1, self.search_params, None)
        assert len(junk) == 100 and (rows >= 0).all()


class ImageContract(IndexContract):
    """Of the types that write an image: all but FLAT."""

    def test_foreign_images_are_refused(self, metric: MetricType) -> None:
        vectors = clustered()[0][:500]
        flat = flat_image(vectors, metric)
        image = built(self.index_type, vectors, metric, self.build_params, codes=self.codes).copy()
        with pytest.raises(CorruptFile):
            kernel(self.index_type).open(image[:20], flat, metric)
        with pytest.raises(CorruptFile):
            kernel(self.index_type).open(image, flat_image(vectors[:499], metric), metric)
        image[8] = 99
        with pytest.raises(UnsupportedFormat):
            kernel(self.index_type).open(image, flat, metric)
        image[0] = 0
        with pytest.raises(CorruptFile):
            kernel(self.index_type).open(image, flat, metric)

    def test_its_image_is_as_large_as_its_sizes_say(self, metric: MetricType) -> None:
        vectors, found = clustered()[0], spec(self.index_type)
        image = built(self.index_type, vectors, metric, self.build_params)
        rows, dimension = vectors.shape
        over = IndexInput(rows, dimension, metric, self.build_params)
        assert found.sizes.image(over) == pytest.approx(image.size, rel=0.2)
        assert found.sizes.building(over, 1) > 0 and found.sizes.opened(over) >= 0

    def test_a_failing_write_ends_the_build(self, metric: MetricType) -> None:
        written = 0

        def full(piece: bytes | memoryview) -> None:
            nonlocal written
            written += len(piece)
            if written > 5000:
                raise OSError("no space")

        with pytest.raises(OSError, match="no space"):
            kernel(self.index_type).build(
                BuildJob(clustered()[0][:1000], metric, self.build_params, full, codes=self.codes)
            )
