"""Rows that libraries stumble over: every type builds over them, ends, and finds what is there."""

import io

import numpy as np
import pytest

from milvine.index.base import BuildJob
from milvine.index.binary import search_bits
from milvine.index.flat import flat_header
from milvine.index.native import faiss
from milvine.index.registry import kernel
from milvine.testing import oracle
from milvine.testing.index_contract import built, flat_image
from milvine.types import IndexType, MetricType, RowMask

ROWS, DIMENSION = 500, 8
PARAMS = {
    IndexType.FLAT: ({}, {}),
    IndexType.IVF_FLAT: ({"nlist": 10}, {"nprobe": 10}),
    IndexType.IVF_SQ8: ({"nlist": 10}, {"nprobe": 10}),
    IndexType.IVF_SQ8H: ({"nlist": 10}, {"nprobe": 10}),
    IndexType.IVF_PQ: ({"nlist": 10, "m": 4}, {"nprobe": 10}),
    IndexType.HNSW: ({"M": 8, "efConstruction": 40}, {"ef": 10}),
    IndexType.RNSG: (
        {"search_length": 40, "out_degree": 16, "candidate_pool_size": 50, "knng": 20},
        {"search_length": 10},
    ),
    IndexType.ANNOY: ({"n_trees": 4}, {"search_k": 60}),
    IndexType.IVF_PQFS: ({"nlist": 10}, {"nprobe": 10}),
    IndexType.IVF_RABITQ: ({"nlist": 10}, {"nprobe": 10}),
    IndexType.HNSW_SQ8: ({"M": 8, "efConstruction": 40}, {"ef": 10}),
}
RANDOM = np.random.default_rng(5).standard_normal((ROWS, DIMENSION)).astype(np.float32)


def _two_rows():
    return np.where(np.arange(ROWS)[:, None] % 2 == 0, RANDOM[0], RANDOM[1])


def _with_odd(*values):
    rows = RANDOM.copy()
    for i, value in enumerate(values):
        rows[i::7, i] = value
    return rows


DATA = {
    "all equal": lambda: np.tile(RANDOM[0], (ROWS, 1)),
    "all zero": lambda: np.zeros((ROWS, DIMENSION)),
    "two distinct": _two_rows,
    "one other": lambda: np.where(np.arange(ROWS)[:, None] == 250, RANDOM[1], RANDOM[0]),
    "on a line": lambda: np.arange(ROWS)[:, None] * np.ones(DIMENSION),
    "one dimension": lambda: RANDOM * (np.arange(DIMENSION) == 3),
    "no numbers": lambda: _with_odd(np.nan, np.inf, -np.inf),
    "nothing but nan": lambda: np.full((ROWS, DIMENSION), np.nan),
    "one number among nan": lambda: np.where(np.arange(ROWS)[:, None] == 77, RANDOM, np.nan),
    "huge": lambda: RANDOM * 1e17,
    "too long for float32": lambda: _with_odd(3e38, -3e38),
    "as long as can be, both ways": lambda: (
        RANDOM + 1.2e19 * np.outer(np.where(np.arange(ROWS) % 9, -1, 1), np.eye(8)[0])
    ),
    "one enormous": lambda: np.where(np.arange(ROWS)[:, None] == 9, RANDOM * 1e15, RANDOM),
    "denormal": lambda: RANDOM * 1e-41,
    "tiny": lambda: RANDOM * 1e-20,
}


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("index_type", PARAMS, ids=lambda t: t.name)
def test_a_build_ends_and_a_search_is_right(index_type, name):
    if index_type is IndexType.ANNOY:
        pytest.importorskip("annoy")
    if index_type is IndexType.IVF_RABITQ and not hasattr(faiss, "IndexIVFRaBitQFastScan"):
        pytest.skip("this faiss has no RaBitQ")
    build, search = PARAMS[index_type]
    vectors = np.ascontiguousarray(DATA[name](), dtype=np.float32)
    finite = np.isfinite(vectors).all(axis=1)
    sound = vectors[finite]
    for metric in (MetricType.L2, MetricType.IP):
        opened = kernel(index_type).open(
            built(index_type, vectors, metric, build), flat_image(vectors, metric), metric
        )
        queries = (sound if len(sound) else RANDOM)[:3]
        distances, rows = opened.search(queries, 5, search, None)
        hit = rows >= 0
        assert np.isfinite(distances).all() and finite[rows[hit]].all()
        assert all(len(np.unique(each[each >= 0])) == np.count_nonzero(each >= 0) for each in rows)
        if not len(sound):
            assert not hit.any()
        if name in (
            "all equal",
            "all zero",
            "two distinct",
            "one other",
            "on a line",
            "tiny",
            "one number among nan",
        ):
            assert hit.sum() == len(queries) * min(5, len(sound))
        if metric is MetricType.L2 and index_type not in (
            IndexType.IVF_PQ,
            IndexType.IVF_SQ8,
            IndexType.IVF_SQ8H,
        ):
            true = np.take_along_axis(
                oracle.pair_distances(queries, np.nan_to_num(vectors), metric), rows, axis=1
            )
            assert np.allclose(distances[hit], true[hit], rtol=1e-4, atol=1e-30)


@pytest.mark.parametrize("index_type", PARAMS, ids=lambda t: t.name)
def test_no_squared_distance_is_below_zero(index_type):
    """Far from the origin, rounding takes more from a sum of parts than there is between copies."""
    if index_type is IndexType.ANNOY:
        pytest.importorskip("annoy")
    if index_type is IndexType.IVF_RABITQ and not hasattr(faiss, "IndexIVFRaBitQFastScan"):
        pytest.skip("this faiss has no RaBitQ")
    build, search = PARAMS[index_type]
    vectors = (RANDOM + 100)[np.arange(ROWS) % 50]
    image = built(index_type, vectors, MetricType.L2, build)
    opened = kernel(index_type).open(image, flat_image(vectors, MetricType.L2), MetricType.L2)
    for mask in (None, RowMask.from_bool(np.arange(ROWS) % 3 > 0)):
        distances, rows = opened.search(vectors, 5, search, mask)
        assert (distances >= 0).all() and (np.diff(distances, axis=1) >= 0).all()
        tied = (np.diff(distances, axis=1) == 0) & (rows[:, 1:] >= 0)
        assert (np.diff(rows, axis=1)[tied] > 0).all()


@pytest.mark.parametrize(
    "metric", [MetricType.HAMMING, MetricType.JACCARD, MetricType.TANIMOTO], ids=lambda m: m.name
)
@pytest.mark.parametrize("name", ["empty", "full", "two", "one other"])
def test_bits(metric, name):
    rows = np.zeros((ROWS, 8), np.uint8)
    if name != "empty":
        rows[{"full": slice(None), "two": slice(0, None, 2), "one other": slice(7, 8)}[name]] = 255
    image = built_bits(rows, metric)
    distances, found = (
        kernel(IndexType.IVF_FLAT, True)
        .open(image, flat_bits(rows), metric)
        .search(rows[:9], 5, {"nprobe": 10}, None)
    )
    expected, _ = search_bits(rows[:9], rows, metric, 5)
    assert (
        (found >= 0).all() and np.array_equal(distances, expected) and (distances[:, 0] == 0).all()
    )


def built_bits(rows, metric):
    out = io.BytesIO()
    kernel(IndexType.IVF_FLAT, True).build(BuildJob(rows, metric, {"nlist": 10}, out.write))
    return np.frombuffer(out.getvalue(), np.uint8)


def flat_bits(rows):
    return np.frombuffer(flat_header(64, len(rows), MetricType.L2) + rows.tobytes(), np.uint8)
