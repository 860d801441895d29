"""Lists that are asked for before a search reads them: the right ones, and the answers stay what
they were.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from milvine.index.base import BuildJob, ReadsAhead
from milvine.index.flat import flat_header
from milvine.index.inverted import prefetch
from milvine.index.registry import kernel
from milvine.storage import prefetch as rows_prefetch
from milvine.types import Bytes, Floats, IndexType, MetricType

ROWS, DIMENSION = 4000, 16
BUILD: Mapping[IndexType, Mapping[str, Any]] = {
    IndexType.IVF_FLAT: {"nlist": 20},
    IndexType.IVF_SQ8: {"nlist": 20},
    IndexType.IVF_PQ: {"nlist": 20, "m": 4},
    IndexType.IVF_PQFS: {"nlist": 20},
}


def image_of(kind: IndexType, vectors: Floats) -> Bytes:
    parts: list[bytes] = []
    kernel(kind, False).build(
        BuildJob(vectors, MetricType.L2, BUILD[kind], lambda part: parts.append(bytes(part)))
    )
    return np.frombuffer(b"".join(parts), np.uint8)


@pytest.mark.parametrize("kind", BUILD)
@pytest.mark.parametrize("at_once", [1 << 30, 1])
def test_answers_stay(kind: IndexType, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(1).random((ROWS, DIMENSION), dtype=np.float32)
    data = image_of(kind, vectors)
    flat = np.frombuffer(flat_header(DIMENSION, ROWS, MetricType.L2) + vectors.tobytes(), np.uint8)
    index = kernel(kind, False).open(data, flat, MetricType.L2)
    before = index.search(vectors[:9], 5, {"nprobe": 4}, None)
    ranges: list[tuple[int, int]] = []
    for each in (prefetch, rows_prefetch):
        monkeypatch.setattr(each, "will_need", lambda start, end: ranges.append((start, end)))
    assert isinstance(index, ReadsAhead)
    index.read_ahead(at_once)
    for left, right in zip(before, index.search(vectors[:9], 5, {"nprobe": 4}, None), strict=True):
        assert (left == right).all()
    # faiss holds the lists of codes in memory: then it is the rows that are compared.
    mapped = flat if kind is IndexType.IVF_PQFS else data
    first = mapped.ctypes.data
    assert all(first < start < end <= first + len(mapped) for start, end in ranges)
    together = 9 * 4 if at_once == 1 else 20  # one query after another, or each list once
    if kind is IndexType.IVF_PQFS:
        together = 0 if at_once == 1 else 9 * 5 * 8
    assert min(together, 4) <= len(ranges) <= together


def test_what_is_asked_for_is_what_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(2).random((ROWS, DIMENSION), dtype=np.float32)
    data = image_of(IndexType.IVF_FLAT, vectors)
    flat = np.frombuffer(flat_header(DIMENSION, ROWS, MetricType.L2) + vectors.tobytes(), np.uint8)
    index = kernel(IndexType.IVF_FLAT, False).open(data, flat, MetricType.L2)
    ranges: list[tuple[int, int]] = []
    monkeypatch.setattr(prefetch, "will_need", lambda start, end: ranges.append((start, end)))
    assert isinstance(index, ReadsAhead)
    index.read_ahead(1 << 30)
    for number in range(20):
        ranges.clear()
        index.search(vectors[number : number + 1], 1, {"nprobe": 1}, None)
        ((start, end),) = ranges
        asked = data[start - data.ctypes.data : end - data.ctypes.data].tobytes()
        assert vectors[number].tobytes() in asked and np.int64(number).tobytes() in asked
        assert len(asked) % (4 * DIMENSION + 8) == 0


def test_a_hint_is_only_a_hint() -> None:
    memory = np.zeros(1 << 20, np.uint8)
    prefetch.will_need(memory.ctypes.data + 5, memory.ctypes.data + len(memory))
    prefetch.will_need(1, 2)  # nobody's
    assert not memory.any()
