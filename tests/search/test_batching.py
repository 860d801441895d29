"""Which searches ask alike, and what becomes of one search for all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from milvine.search import batching
from milvine.types import Hits

FLOATS, BYTES = np.zeros((1, 4), np.float32), np.zeros((1, 4), np.uint8)


@pytest.mark.parametrize(
    "other",
    [
        (BYTES, 3, (), None),
        (np.zeros((1, 5), np.float32), 3, (), None),
        (FLOATS, 4, (), None),
        (FLOATS, 3, ("a",), None),
        (FLOATS, 3, (), '{"nprobe": 1}'),
    ],
)
def test_searches_ask_alike_whatever_the_numbers_are_and_not_otherwise(other: Any) -> None:
    assert batching.ask_key(FLOATS, 3, (), None) == batching.ask_key(FLOATS + 1, 3, (), None)
    assert batching.ask_key(FLOATS, 3, (), None) != batching.ask_key(*other)


def test_equal_keys_are_grouped_in_the_order_of_their_coming() -> None:
    assert batching.groups(["a", "b", "a", 3, "b", "a"]) == [[0, 2, 5], [1, 4], [3]]
    assert batching.groups([]) == []


def test_each_gets_its_own_hits() -> None:
    queries = [FLOATS + n for n in range(3)]
    vectors = batching.joined(queries)
    assert vectors.shape == (3, 4) and not any(np.shares_memory(vectors, q) for q in queries)
    hits = Hits(np.arange(6).reshape(3, 2), np.arange(6, dtype=np.float32).reshape(3, 2))
    for row in range(3):
        own = batching.hits_of(hits, row)
        assert own.ids.tolist() == [[2 * row, 2 * row + 1]]
        assert own.distances.tolist() == own.ids.tolist()
