"""Tables that faiss precomputes for IVF_PQ: made where there is room for all; without them answers
are the same.
"""

from __future__ import annotations

import gc
from functools import cache
from typing import Any

import numpy as np
import pytest

from milvine.index.base import Precomputes
from milvine.index.inverted import ivf, precomputed
from milvine.index.inverted.precomputed import TABLE_BYTES_MAX, Tables, table_bytes
from milvine.index.native import faiss
from milvine.index.registry import kernel, spec
from milvine.index.spec import IndexInput
from milvine.testing.index_contract import built, clustered, flat_image
from milvine.types import Bytes, IndexType, MetricType, RowMask

L2, IP = MetricType.L2, MetricType.IP
PARAMS = {"nlist": 32, "m": 16, "nbits": 6}
SIZE = table_bytes(32, 16, 64)


@cache
def image(metric: MetricType = L2) -> Bytes:
    return built(IndexType.IVF_PQ, clustered()[0], metric, PARAMS)


def opened(most: int, metric: MetricType = L2) -> Any:
    """With a table if those of all have at most `most` bytes."""
    flat = flat_image(clustered()[0], metric)
    index = kernel(IndexType.IVF_PQ).open(image(metric), flat, metric)
    assert isinstance(index, Precomputes)
    index.precompute(most)
    return index


def table_of(index: Any) -> int:
    """Bytes of the table that faiss has for an open index."""
    assert bool(index._index.use_precomputed_table) == (index._index.precomputed_table.size() > 0)
    return 4 * int(index._index.precomputed_table.size())


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> Tables:
    """None yet, whatever other tests have opened."""
    monkeypatch.setattr(ivf, "TABLES", made := Tables())
    return made


def test_with_room_it_is_made_and_as_large_as_sizing_says(tables: Tables) -> None:
    index = opened(SIZE)
    assert table_of(index) == tables.bytes == SIZE
    rows, dimension = clustered()[0].shape
    sizes = spec(IndexType.IVF_PQ).sizes
    one, other = (sizes.opened(IndexInput(rows, dimension, each, PARAMS)) for each in (L2, IP))
    assert one - other == SIZE


@pytest.mark.parametrize("params", [{"nprobe": 4}, {"nprobe": 32}, {"nprobe": 8, "refine": 4}])
@pytest.mark.parametrize("dead", [False, True])
def test_without_room_there_is_none_and_answers_are_the_same(
    tables: Tables, params: dict[str, int], dead: bool
) -> None:
    vectors, queries = clustered()
    mask = RowMask.from_bool(np.arange(len(vectors)) % 10 > 0) if dead else None
    has_table = opened(SIZE)
    distances, rows = has_table.search(queries, 10, params, mask)
    without = opened(SIZE)  # the other has it all
    assert table_of(without) == 0 and tables.bytes == SIZE
    same_distances, same_rows = without.search(queries, 10, params, mask)
    assert same_distances == pytest.approx(distances, rel=1e-4)
    # Codes are equal, or as near as makes no difference, for some rows: those may change places.
    moved = same_rows != rows
    assert np.mean(moved) < 0.01 and (np.sort(same_rows) == np.sort(rows)).mean() > 0.99


def test_tables_of_several_indexes_have_one_bound(tables: Tables) -> None:
    most = 2 * SIZE + 1
    indexes = [opened(most) for _ in range(3)]
    assert [table_of(index) for index in indexes] == [SIZE, SIZE, 0]
    del indexes[0]
    gc.collect()
    assert tables.bytes == SIZE
    assert [table_of(index) for index in (opened(most), *indexes)] == [SIZE, SIZE, 0]


def test_under_ip_there_is_none_and_it_takes_no_room(tables: Tables) -> None:
    index = opened(SIZE, IP)
    assert table_of(index) == tables.bytes == 0


def test_faiss_makes_none_above_its_own_bound(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So none is counted, whatever room there is."""
    monkeypatch.setattr(precomputed, "TABLE_BYTES_MAX", SIZE - 1)
    assert table_of(opened(1 << 62)) == tables.bytes == 0
    assert faiss.cvar.precomputed_table_max_bytes == TABLE_BYTES_MAX
