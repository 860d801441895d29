"""Parameters: ranges, texts, codes and the order of checks (specification 3.0, 3.5, 3.13)."""

from __future__ import annotations

from typing import Any

import pytest

from milvine.errors import IllegalArgument, IllegalDimension
from milvine.index.params import check_search_params, scoring_metric
from milvine.index.registry import spec
from milvine.index.spec import Divisor, integer
from milvine.types import IndexType, MetricType

T = IndexType
GOOD_PQ = {"nlist": 100, "m": 8}
GOOD_NSG = {"search_length": 45, "out_degree": 50, "candidate_pool_size": 300, "knng": 100}


@pytest.mark.parametrize(
    ("index_type", "params"),
    [
        (T.FLAT, None),
        (T.FLAT, {"nlist": "anything"}),
        (T.IVF_FLAT, {"nlist": 16384}),
        (T.IVF_FLAT, {"nlist": 1, "unknown": []}),
        (T.IVF_SQ8, {"nlist": 999_999}),
        (T.IVF_SQ8, {"nlist": 999_999.9}),
        (T.IVF_PQ, GOOD_PQ),
        (T.IVF_PQ, {**GOOD_PQ, "nbits": 16}),
        (T.IVF_PQ, {**GOOD_PQ, "m": 256.5}),
        (T.IVF_SQ8H, {"nlist": 16384}),
        (T.RNSG, GOOD_NSG),
        (T.HNSW, {"M": 4, "efConstruction": 8}),
        (T.HNSW, {"M": 64, "efConstruction": 512}),
        (T.HNSW, {"M": 16, "efConstruction": 500}),
        (T.ANNOY, {"n_trees": 8}),
    ],
)
def test_good_build_params(index_type: IndexType, params: Any) -> None:
    spec(index_type).check_build(params, 256)


@pytest.mark.parametrize(
    ("index_type", "params", "text"),
    [
        (T.IVF_FLAT, {}, "Parameter list must contain: nlist"),
        (T.IVF_FLAT, None, "Parameter list must contain: nlist"),
        (T.IVF_FLAT, [16384], "Parameter list must contain: nlist"),
        (T.IVF_FLAT, {"nlist": 0}, "Invalid nlist value: 0. Valid range is [1, 999999]"),
        (
            T.IVF_FLAT,
            {"nlist": 1_000_000},
            "Invalid nlist value: 1000000. Valid range is [1, 999999]",
        ),
        (T.IVF_FLAT, {"nlist": 0.9}, "Invalid nlist value: 0. Valid range is [1, 999999]"),
        (
            T.IVF_SQ8,
            {"nlist": "16"},
            "Invalid nlist: [json.exception.type_error.302] type must be number, but is string",
        ),
        (
            T.IVF_SQ8,
            {"nlist": True},
            "Invalid nlist: [json.exception.type_error.302] type must be number, but is boolean",
        ),
        (
            T.IVF_SQ8,
            {"nlist": None},
            "Invalid nlist: [json.exception.type_error.302] type must be number, but is null",
        ),
        (
            T.IVF_SQ8,
            {"nlist": []},
            "Invalid nlist: [json.exception.type_error.302] type must be number, but is array",
        ),
        (
            T.IVF_SQ8,
            {"nlist": {}},
            "Invalid nlist: [json.exception.type_error.302] type must be number, but is object",
        ),
        (T.IVF_SQ8, {"nlist": float("nan")}, "Invalid nlist value: nan"),
        (
            T.IVF_PQ,
            {"nlist": 0, "nbits": 0, "m": 0},
            "Invalid nlist value: 0. Valid range is [1, 999999]",
        ),
        (
            T.IVF_PQ,
            {"nlist": 1, "nbits": 17, "m": 0},
            "Invalid nbits value: 17. Valid range is [1, 16]",
        ),
        (T.IVF_PQ, {"nlist": 1, "m": 0}, "Invalid m value: 0"),
        (T.IVF_PQ, {"nlist": 1, "m": -4}, "Invalid m value: -4"),
        (T.IVF_PQ, {"nlist": 1}, "Parameter list must contain: m"),
        (
            T.RNSG,
            {**GOOD_NSG, "search_length": 9, "knng": 1},
            "Invalid search_length value: 9. Valid range is [10, 300]",
        ),
        (
            T.RNSG,
            {**GOOD_NSG, "out_degree": 301, "knng": 1},
            "Invalid out_degree value: 301. Valid range is [5, 300]",
        ),
        (
            T.RNSG,
            {**GOOD_NSG, "candidate_pool_size": 49, "knng": 1},
            "Invalid candidate_pool_size value: 49. Valid range is [50, 1000]",
        ),
        (T.RNSG, {**GOOD_NSG, "knng": 4}, "Invalid knng value: 4. Valid range is [5, 300]"),
        (T.HNSW, {"efConstruction": 1}, "Parameter list must contain: M"),
        (T.HNSW, {"M": 3, "efConstruction": 1}, "Invalid M value: 3. Valid range is [4, 64]"),
        (
            T.HNSW,
            {"M": 16, "efConstruction": 513},
            "Invalid efConstruction value: 513. Valid range is [8, 512]",
        ),
        (T.ANNOY, {"n_trees": 1025}, "Invalid n_trees value: 1025. Valid range is [1, 1024]"),
    ],
)
def test_bad_build_params(index_type: IndexType, params: Any, text: str) -> None:
    with pytest.raises(IllegalArgument) as caught:
        spec(index_type).check_build(params, 256)
    assert str(caught.value) == text


@pytest.mark.parametrize(("dimension", "m"), [(96, 48), (2, 1), (1, 1), (97, 97)])
def test_m_of_ivf_pqfs_may_be_left_out(dimension: int, m: int) -> None:
    spec(T.IVF_PQFS).check_build({"nlist": 1}, dimension)
    (parameter,) = (each for each in spec(T.IVF_PQFS).build if isinstance(each, Divisor))
    assert parameter.value({"nlist": 1}, dimension) == m
    assert parameter.value({"nlist": 1, "m": 1.9}, dimension) == 1


def test_m_must_divide_the_dimension() -> None:
    with pytest.raises(IllegalDimension) as caught:
        spec(T.IVF_PQ).check_build({"nlist": 16384, "m": 12}, 256)
    assert str(caught.value) == "Invalid collection dimension, dimension can not be divided by m"


@pytest.mark.parametrize(
    ("index_type", "params"),
    [
        (T.FLAT, None),
        (T.FLAT, {"nprobe": "x"}),
        (T.IVF_FLAT, {"nprobe": 999_999}),
        (T.IVF_SQ8H, {"nprobe": 1}),
        (T.IVF_FLAT, {"nprobe": 1, "refine": "not looked at"}),
        (T.IVF_PQFS, {"nprobe": 1}),
        (T.IVF_RABITQ, {"nprobe": 1, "refine": 1}),
        (T.HNSW_SQ8, {"ef": 10, "refine": 1000}),
        *(
            (kind, {"nprobe": 1, "refine": n})
            for kind in (T.IVF_SQ8, T.IVF_SQ8H, T.IVF_PQ)
            for n in (1, 1000, 1000.9)
        ),
        (T.RNSG, {"search_length": 100}),
        (T.HNSW, {"ef": 10}),
        (T.HNSW, {"ef": 32768}),
        (T.ANNOY, {"search_k": -1}),
        (T.ANNOY, {"search_k": 1 << 62}),
    ],
)
def test_good_search_params(index_type: IndexType, params: Any) -> None:
    check_search_params(index_type, params, 10)


@pytest.mark.parametrize(
    ("index_type", "params", "text"),
    [
        (T.IVF_FLAT, {}, "Parameter list must contain: nprobe"),
        (T.IVF_PQ, {"nprobe": 0}, "Invalid nprobe value: 0. Valid range is [1, 999999]"),
        (T.IVF_PQ, {"nprobe": 1, "refine": 0}, "Invalid refine value: 0. Valid range is [1, 1000]"),
        (
            T.IVF_SQ8,
            {"nprobe": 1, "refine": 1001},
            "Invalid refine value: 1001. Valid range is [1, 1000]",
        ),
        (
            T.IVF_PQFS,
            {"nprobe": 1, "refine": 0},
            "Invalid refine value: 0. Valid range is [1, 1000]",
        ),
        (T.IVF_RABITQ, {"refine": 1}, "Parameter list must contain: nprobe"),
        (T.HNSW_SQ8, {"ef": 9}, "Invalid ef value: 9. Valid range is [10, 32768]"),
        (
            T.IVF_SQ8H,
            {"nprobe": 1, "refine": None},
            "Invalid refine: [json.exception.type_error.302] type must be number, but is null",
        ),
        (
            T.RNSG,
            {"search_length": 301},
            "Invalid search_length value: 301. Valid range is [10, 300]",
        ),
        (T.HNSW, {"ef": 9}, "Invalid ef value: 9. Valid range is [10, 32768]"),
        (T.ANNOY, {}, "Parameter list must contain: search_k"),
        (
            T.ANNOY,
            {"search_k": False},
            "Invalid search_k: [json.exception.type_error.302] type must be number, but is boolean",
        ),
    ],
)
def test_bad_search_params(index_type: IndexType, params: Any, text: str) -> None:
    with pytest.raises(IllegalArgument) as caught:
        check_search_params(index_type, params, 10)
    assert str(caught.value) == text


def test_metric_override() -> None:
    assert scoring_metric({}, MetricType.L2) is MetricType.L2
    assert scoring_metric(None, MetricType.IP) is MetricType.IP
    assert scoring_metric({"metric_type": 2}, MetricType.L2) is MetricType.IP
    assert scoring_metric({"metric_type": 3}, MetricType.JACCARD) is MetricType.HAMMING
    for metric, other in (
        (MetricType.L2, 3),
        (MetricType.HAMMING, 1),
        (MetricType.L2, "IP"),
        (MetricType.L2, 0),
    ):
        with pytest.raises(IllegalArgument):
            scoring_metric({"metric_type": other}, metric)


def test_integers_are_truncated() -> None:
    assert integer({"nlist": 16.9}, "nlist") == 16
    assert integer({"x": -0.5}, "x") == 0
    assert integer({}, "nbits", 8) == 8
