"""Each index type keeps the contract, and finds as much as bare faiss does on real vectors."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from milvine.errors import Unsupported
from milvine.index.graphs.hnsw import GraphSizes
from milvine.index.inverted.ivf import effective_nlist
from milvine.index.inverted.ivf_flat import PlainListSizes
from milvine.index.inverted.ivf_pq import effective_nbits
from milvine.index.native import faiss
from milvine.index.registry import kernel
from milvine.index.spec import IndexInput
from milvine.testing import oracle
from milvine.testing.index_contract import (
    ImageContract,
    IndexContract,
    built,
    clustered,
    flat_image,
)
from milvine.types import Floats, IndexType, MetricType, RowMask

WORDNET = Path(__file__).parents[3] / "shared" / "data" / "wordnet_minilm384.npz"
L2, IP = MetricType.L2, MetricType.IP


class TestFlat(IndexContract):
    index_type = IndexType.FLAT
    floor = {L2: 1.0, IP: 1.0}


class TestIvfFlat(ImageContract):
    index_type = IndexType.IVF_FLAT
    build_params = {"nlist": 64}
    search_params = {"nprobe": 16}
    floor = {L2: 0.95, IP: 0.93}


class TestIvfFlatWithoutCodes(TestIvfFlat):
    codes = False

    def test_its_image_is_as_large_as_its_sizes_say(self, metric: MetricType) -> None:
        image = built(self.index_type, clustered()[0], metric, self.build_params, codes=False)
        rows, dimension = clustered()[0].shape
        over = IndexInput(rows, dimension, metric, self.build_params)
        assert PlainListSizes().image(over) == pytest.approx(image.size, rel=0.2)


class TestIvfSq8(ImageContract):
    index_type = IndexType.IVF_SQ8
    build_params = {"nlist": 64}
    search_params = {"nprobe": 16}
    floor = {L2: 0.93, IP: 0.91}
    exact_distances = False


class TestIvfSq8h(TestIvfSq8):
    index_type = IndexType.IVF_SQ8H


class TestIvfPq(ImageContract):
    index_type = IndexType.IVF_PQ
    build_params = {"nlist": 64, "m": 16, "nbits": 6}
    search_params = {"nprobe": 16}
    floor = {L2: 0.7, IP: 0.7}
    exact_distances = False


class TestIvfPqRefined(TestIvfPq):
    search_params = {"nprobe": 16, "refine": 10}
    floor = {L2: 0.95, IP: 0.93}
    exact_distances = True


class TestIvfSq8Refined(TestIvfSq8):
    search_params = {"nprobe": 16, "refine": 2}
    floor = {L2: 0.95, IP: 0.93}
    exact_distances = True


class TestHnsw(ImageContract):
    index_type = IndexType.HNSW
    build_params = {"M": 16, "efConstruction": 100}
    search_params = {"ef": 64}
    floor = {L2: 0.97, IP: 0.95}

    def test_where_the_graph_would_cost_more_the_answer_is_exact(self, metric: MetricType) -> None:
        vectors, queries = clustered()
        _, rows = self.index(metric).search(queries, 10, {"ef": 200}, None)
        truth, _ = oracle.nearest(queries, vectors, metric, 10)
        assert (
            oracle.recall(rows, oracle.pair_distances(queries, vectors, metric), truth, metric)
            == 1.0
        )


class TestHnswWithoutCodes(TestHnsw):
    codes = False

    def test_its_image_is_as_large_as_its_sizes_say(self, metric: MetricType) -> None:
        image = built(self.index_type, clustered()[0], metric, self.build_params, codes=False)
        rows, dimension = clustered()[0].shape
        over = IndexInput(rows, dimension, metric, self.build_params)
        assert GraphSizes().image(over) == pytest.approx(image.size, rel=0.2)


class TestIvfPqfs(ImageContract):
    index_type = IndexType.IVF_PQFS
    build_params = {"nlist": 64}
    search_params = {"nprobe": 16}
    floor = {L2: 0.95, IP: 0.93}


class TestIvfRabitq(ImageContract):
    index_type = IndexType.IVF_RABITQ
    build_params = {"nlist": 64}
    search_params = {"nprobe": 16}
    floor = {L2: 0.93, IP: 0.91}

    @pytest.fixture(autouse=True)
    def _needs_a_recent_faiss(self) -> None:
        if not hasattr(faiss, "IndexIVFRaBitQFastScan"):
            pytest.skip("this faiss has no RaBitQ")


class TestHnswSq8(TestHnsw):
    index_type = IndexType.HNSW_SQ8


class TestHnswSq8WithoutPoints(TestHnswSq8):
    codes = False


class TestRnsg(ImageContract):
    index_type = IndexType.RNSG
    build_params = {"search_length": 60, "out_degree": 32, "candidate_pool_size": 200, "knng": 50}
    search_params = {"search_length": 64}
    floor = {L2: 0.97, IP: 0.93}


class TestAnnoy(ImageContract):
    index_type = IndexType.ANNOY
    build_params = {"n_trees": 16}
    search_params = {"search_k": 1000}
    floor = {L2: 0.97, IP: 0.9}

    @pytest.fixture(autouse=True)
    def _needs_annoy(self) -> None:
        pytest.importorskip("annoy")

    @pytest.mark.parametrize("search_k", [-1, 1, 1 << 62])
    def test_any_search_k_finds_k_rows(self, metric: MetricType, search_k: int) -> None:
        index, (vectors, queries) = self.index(metric), clustered()
        mask = RowMask.from_bool(np.arange(len(vectors)) % 3 > 0)
        for k in (1, 200):
            for live in (None, mask):
                _, rows = index.search(queries, k, {"search_k": search_k}, live)
                assert (rows >= 0).all() and (live is None or live.contains(rows).all())
                assert all(len(np.unique(each)) == k for each in rows)


def test_without_the_package_annoy_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "annoy", None)
    with pytest.raises(Unsupported, match="extra annoy"):
        kernel(IndexType.ANNOY)


def test_an_older_faiss_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(faiss, "IndexIVFRaBitQFastScan", raising=False)
    with pytest.raises(Unsupported, match="IVF_RABITQ needs a newer faiss-cpu .*Upgrade"):
        kernel(IndexType.IVF_RABITQ)


def test_types_that_are_not_built_are_refused_with_what_to_use() -> None:
    for index_type in (IndexType.SPTAG_KDT, IndexType.SPTAG_BKT):
        with pytest.raises(Unsupported, match=rf"{index_type.name}.*HNSW"):
            kernel(index_type)


@pytest.mark.parametrize(
    ("nlist", "rows", "built"), [(100, 4000, 100), (101, 4000, 100), (16384, 20, 1), (1, 1, 1)]
)
def test_effective_nlist(nlist: int, rows: int, built: int) -> None:
    assert effective_nlist(nlist, rows) == built


@pytest.mark.parametrize(
    ("nbits", "rows", "built"),
    [
        (8, 256, 8),
        (8, 255, 4),
        (16, 65536, 16),
        (16, 65535, 8),
        (5, 31, 4),
        (4, 15, 2),
        (2, 3, 1),
        (3, 8, 3),
    ],
)
def test_effective_nbits(nbits: int, rows: int, built: int) -> None:
    assert effective_nbits(nbits, rows) == built


@cache
def wordnet() -> tuple[Floats, Floats]:
    """A sample of real sentence embeddings, unit length: 8,000 rows and 200 queries of 384."""
    if not WORDNET.exists():
        pytest.skip("the real vectors are not here")
    with np.load(WORDNET) as arrays:
        rows, queries = arrays["train_i8"][::14][:8_000], arrays["queries_i8"][:200]
    unit = [
        part.astype(np.float32) / np.linalg.norm(part.astype(np.float32), axis=1)[:, None]
        for part in (rows, queries)
    ]
    return unit[0].astype(np.float32), unit[1].astype(np.float32)


def _bare(index_type: IndexType, metric: int) -> tuple[faiss.Index, faiss.SearchParameters]:
    """faiss on its own, with the parameters of `REAL`."""
    quantizer, probe = faiss.IndexFlat(384, metric), faiss.SearchParametersIVF(nprobe=16)
    if index_type in (IndexType.HNSW, IndexType.RNSG):  # RNSG is held against HNSW
        index = faiss.IndexHNSWFlat(384, 16, metric)
        index.hnsw.efConstruction = 100
        return index, faiss.SearchParametersHNSW(efSearch=64)
    if index_type is IndexType.IVF_FLAT:
        return faiss.IndexIVFFlat(quantizer, 384, 100, metric), probe
    if index_type is IndexType.IVF_SQ8:
        return faiss.IndexIVFScalarQuantizer(
            quantizer, 384, 100, faiss.ScalarQuantizer.QT_8bit, metric
        ), probe
    return faiss.IndexIVFPQ(quantizer, 384, 100, 16, 8, metric), probe


REAL = {
    IndexType.IVF_FLAT: ({"nlist": 100}, {"nprobe": 16}, 0.9),
    IndexType.IVF_SQ8: ({"nlist": 100}, {"nprobe": 16}, 0.9),
    IndexType.IVF_PQ: ({"nlist": 100, "m": 16}, {"nprobe": 16}, 0.4),
    IndexType.HNSW: ({"M": 16, "efConstruction": 100}, {"ef": 64}, 0.95),
    IndexType.RNSG: (TestRnsg.build_params, {"search_length": 64}, 0.97),
}


@pytest.mark.parametrize(
    ("index_type", "metric"),
    [
        (t, m)
        for t in REAL
        for m in (L2, IP)
        if m is L2 or t in (IndexType.IVF_FLAT, IndexType.IVF_SQ8)
    ],
    ids=lambda v: v.name,
)
def test_real_vectors_are_found_as_bare_faiss_finds_them(
    index_type: IndexType, metric: MetricType
) -> None:
    build, search, floor = REAL[index_type]
    vectors, queries = wordnet()
    opened = kernel(index_type).open(
        built(index_type, vectors, metric, build), flat_image(vectors, metric), metric
    )
    _, rows = opened.search(queries, 10, search, None)
    index, parameters = _bare(
        index_type, faiss.METRIC_L2 if metric is L2 else faiss.METRIC_INNER_PRODUCT
    )
    index.train(vectors)
    index.add(vectors)
    _, bare_rows = index.search(queries, 10, params=parameters)
    # Of unit length, so both metrics rank alike.
    pairs = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    truth = -np.sort(-pairs, axis=1)[:, :10]
    recall = oracle.recall(rows, pairs, truth, IP)
    assert recall >= floor
    assert recall >= oracle.recall(bare_rows, pairs, truth, IP) - 0.005
