"""Images of inverted files: what faiss itself writes, to the bit, from any amount of memory."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import faiss
import numpy as np
import pytest

from milvine.index.base import BuildJob
from milvine.index.image import read_image
from milvine.index.inverted import ivf, lists
from milvine.index.padding import widened
from milvine.index.registry import kernel
from milvine.testing.index_contract import METRICS, clustered
from milvine.types import Bytes, Floats, IndexType, MetricType

IVF = (IndexType.IVF_FLAT, IndexType.IVF_SQ8, IndexType.IVF_PQ)
PARAMS = {"nlist": 50, "m": 13, "nbits": 6}
# A width that codes of a byte are widened from.
ROWS = np.ascontiguousarray(clustered()[0][:5000, :13])


def image(
    kind: IndexType, vectors: Floats, metric: MetricType, params: Mapping[str, Any], memory: int = 0
) -> Bytes:
    out = io.BytesIO()
    kernel(kind).build(BuildJob(vectors, metric, params, out.write, memory=memory))
    return np.frombuffer(out.getvalue(), dtype=np.uint8)


def rewritten(data: Bytes, vectors: Floats) -> bytes:
    """The index in an image, emptied, filled again by faiss and written by faiss."""
    index = faiss.deserialize_index(read_image(data, len(vectors)).body)
    sound = np.flatnonzero(np.isfinite(vectors).all(axis=1))
    index.reset()
    index.add_with_ids(widened(vectors[sound], index.d), sound)
    written: bytes = faiss.serialize_index(index).tobytes()
    return written


def with_holes() -> Floats:
    vectors = ROWS.copy()
    vectors[[0, 77, 78, 4999], 3] = np.nan, np.inf, -np.inf, np.nan
    return vectors


CASES = {
    "all rows": ROWS,
    "rows with NaN": with_holes(),
    "few different rows": ROWS[np.arange(5000) % 3],
    "fewer different rows than lists": ROWS[np.arange(5000) % 25],
    "one list with most rows": np.concatenate([np.repeat(ROWS[:1], 4000, axis=0), ROWS[:1000]]),
}


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
@pytest.mark.parametrize("kind", IVF, ids=lambda t: t.name)
@pytest.mark.parametrize("case", CASES)
def test_the_bytes_are_those_of_faiss(
    case: str, kind: IndexType, metric: MetricType, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = CASES[case]
    data = image(kind, vectors, metric, PARAMS)
    assert read_image(data, len(vectors)).body.tobytes() == rewritten(data, vectors)
    # Many passes, lists that fit none, pieces of a list.
    monkeypatch.setattr(lists, "BUFFER_BYTES_MIN", 20_000)
    monkeypatch.setattr(lists, "PIECE_BYTES", 10_000)
    monkeypatch.setattr(ivf, "PORTION_ROWS", 600)
    monkeypatch.setattr(ivf, "TRAINING_ROWS_PER_LIST_LEAST", 100)
    small = image(kind, vectors, metric, PARAMS, memory=1)
    assert small.tobytes() == data.tobytes()


@pytest.mark.parametrize(("filled", "way"), [(20, b"sprs"), (50, b"full")])
def test_both_ways_in_which_faiss_tells_sizes_are_known(filled: int, way: bytes) -> None:
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(13), 13, 50)
    index.train(ROWS)
    near = index.quantizer.assign(ROWS, 1)[:, 0]
    rows = np.flatnonzero(near < filled)
    made = lists.Lists.empty(len(ROWS), 50)
    made.put(rows, near[rows])
    out = io.BytesIO()
    whole = faiss.clone_index(index)
    lists.write_lists(out.write, index, made, 52, lambda some: ROWS[some].view(np.uint8))
    whole.add_with_ids(ROWS[rows], rows)
    assert out.getvalue() == faiss.serialize_index(whole).tobytes() and way in out.getvalue()


def test_little_memory_takes_fewer_rows_to_learn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    real = faiss.IndexIVFFlat.train

    def train(index: Any, rows: Floats) -> None:
        taken.append(len(rows))
        real(index, rows)

    monkeypatch.setattr(faiss.IndexIVFFlat, "train", train)
    for memory in (0, 1 << 30, 4 * 13 * 1250, 1):
        image(IndexType.IVF_FLAT, ROWS, MetricType.L2, PARAMS, memory)
    assert taken == [5000, 5000, 1000, 50 * ivf.TRAINING_ROWS_PER_LIST_LEAST]


def test_a_buffer_takes_what_memory_there_is() -> None:
    plenty = lists.buffer_rows(512, 1_000_000, 0)
    assert plenty == lists.buffer_rows(512, 1_000_000, 1 << 40) == (64 << 20) // 538
    assert lists.buffer_rows(512, 1_000_000, 400 << 20) == (260 << 20) // 538, (
        "one pass reads the disk as any other does"
    )
    assert lists.buffer_rows(512, 100_000, 100 << 20) == (64 << 20) // 538
    assert lists.buffer_rows(512, 1_000_000, 1) == (4 << 20) // 538
    assert lists.buffer_rows(1 << 30, 3, 1) == 1


def test_a_row_too_far_from_every_centroid_is_in_no_list() -> None:
    made = lists.Lists.empty(6, 3)
    # As faiss says where every distance overflows.
    made.put(slice(0, 6), np.array([2, -1, 0, 2, -1, 0]))
    (portion,) = made.portions(100)
    assert portion.in_order().tolist() == [2, 5, 0, 3] and made.sizes.tolist() == [2, 0, 2]


def test_more_lists_than_sixteen_bits_count() -> None:
    made = lists.Lists.empty(300, 200_000)
    numbers = np.random.default_rng(0).integers(0, 200_000, 300)
    made.put(np.arange(300), numbers)
    (portion,) = made.portions(1000)
    assert np.array_equal(portion.in_order(), np.argsort(numbers, kind="stable"))
