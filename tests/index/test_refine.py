"""Candidates by the distances of codes, compared again with the rows themselves."""

from __future__ import annotations

import numpy as np
import pytest

from milvine.index import refine
from milvine.index.registry import kernel
from milvine.testing import oracle
from milvine.testing.index_contract import built, clustered, flat_image
from milvine.types import IndexType, MetricType

L2 = MetricType.L2
BUILD = {"nlist": 16, "m": 4, "nbits": 4}


def opened(index_type: IndexType):
    vectors, _ = clustered()
    image = built(index_type, vectors[:2000], L2, BUILD)
    return kernel(index_type).open(image, flat_image(vectors[:2000], L2), L2)


def recall(rows: np.ndarray) -> float:
    vectors, queries = clustered()
    truth, _ = oracle.nearest(queries, vectors[:2000], L2, 10)
    return oracle.recall(rows, oracle.pair_distances(queries, vectors[:2000], L2), truth, L2)


def test_more_candidates_find_more_and_all_of_them_find_all() -> None:
    index, (_, queries) = opened(IndexType.IVF_PQ), clustered()
    found = [
        recall(index.search(queries, 10, {"nprobe": 16} | more, None)[1])
        for more in ({}, {"refine": 5.9})
    ]
    assert found[0] + 0.1 < found[1] < 1.0
    assert recall(index.search(queries, 10, {"nprobe": 16, "refine": 1000}, None)[1]) == 1.0


def test_without_it_distances_are_those_of_the_codes() -> None:
    index, (vectors, _) = opened(IndexType.IVF_SQ8), clustered()
    told = index.search(vectors[:20], 1, {"nprobe": 16}, None)[0]
    assert (told > 0).all() and (
        index.search(vectors[:20], 1, {"nprobe": 16, "refine": 1}, None)[0] == 0
    ).all()


def test_portions_answer_as_the_whole_and_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    index, (_, queries) = opened(IndexType.IVF_PQ), clustered()
    params = {"nprobe": 8, "refine": 20}
    whole = index.search(queries, 7, params, None)
    asked: list[int] = []
    nearest = refine.nearest_of
    monkeypatch.setattr(
        refine, "nearest_of", lambda some, *rest: asked.append(len(some)) or nearest(some, *rest)
    )
    monkeypatch.setattr(refine, "CANDIDATES_MAX", 7 * 20 * 5 + 1)
    in_portions = index.search(queries, 7, params, None)
    assert all((a == b).all() for a, b in zip(whole, in_portions, strict=True))
    assert asked == [5] * 12 + [4]
