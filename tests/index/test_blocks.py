"""Codes of four bits are made and laid out as faiss's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from milvine.index.base import untold
from milvine.index.inverted import blocks
from milvine.index.inverted.coded import codebook
from milvine.index.inverted.lists import Lists
from milvine.index.native import faiss
from milvine.types import Bytes, Floats, Ids

each_shape = pytest.mark.parametrize(
    ("rows", "dimension", "nlist"),
    [(5000, 128, 64), (1000, 33, 7), (900, 40, 1), (70, 384, 50), (1, 32, 3)],
)


def _empty(centroids: Floats, book: Floats) -> Any:
    nlist, dimension = centroids.shape
    quantizer = faiss.IndexFlatL2(dimension)
    quantizer.add(centroids)
    index = faiss.IndexIVFPQFastScan(quantizer, dimension, nlist, dimension, 4)
    quantizer.this.disown()
    index.own_fields = True
    index.by_residual = False
    faiss.copy_array_to_vector(book.ravel(), index.pq.centroids)
    index.is_trained = True
    return index


def _held(index: Any) -> list[tuple[Ids, Bytes]]:
    """Row numbers and codes of each list, by ascending number."""
    plain = faiss.ArrayInvertedLists(index.nlist, index.code_size)
    plain.this.disown()
    index.orig_invlists = plain
    index.reconstruct_orig_invlists()
    out: list[tuple[Ids, Bytes]] = []
    for number in range(index.nlist):
        size = plain.list_size(number)
        if not size:
            out.append((np.empty(0, np.int64), np.empty((0, index.code_size), np.uint8)))
            continue
        ids = faiss.rev_swig_ptr(plain.get_ids(number), size).copy()
        codes = faiss.rev_swig_ptr(plain.get_codes(number), size * index.code_size)
        order = np.argsort(ids)
        out.append((ids[order], codes.reshape(size, -1)[order]))
    return out


@each_shape
@pytest.mark.parametrize("portion", (100, 1 << 20), ids=("in portions", "in one go"))
def test_lists_hold_what_faiss_puts_into_them(
    rows: int, dimension: int, nlist: int, portion: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "buffer_rows", lambda *_: portion)
    monkeypatch.setattr(blocks, "_PIECE_BYTES", 1 << 15)
    random = np.random.default_rng(rows)
    vectors = random.standard_normal((rows, dimension), dtype=np.float32)
    centroids = random.standard_normal((nlist, dimension), dtype=np.float32)
    book = codebook(vectors)
    live = np.flatnonzero(random.random(rows) < 0.9)
    expected, index = _empty(centroids, book), _empty(centroids, book)
    expected.add_with_ids(vectors[live], live)
    lists = Lists.empty(rows, nlist)
    lists.put(slice(None), index.quantizer.assign(vectors, 1)[:, 0])
    blocks.fill(index, book, vectors, lists.of(live), 0, untold)
    assert index.ntotal == len(live)
    for (some, codes), (ids, wanted) in zip(_held(index), _held(expected), strict=True):
        assert np.array_equal(some, ids) and np.array_equal(codes, wanted)


def test_a_code_is_that_of_the_nearest_value() -> None:
    random = np.random.default_rng(0)
    book = np.sort(random.standard_normal((6, 16), dtype=np.float32), axis=1)
    book[1] = 2  # all the same
    book[2, 4:9] = book[2, 4]
    rows = np.concatenate([2 * random.standard_normal((500, 6), dtype=np.float32), book.T])
    codes = blocks.encoded(rows, blocks.midpoints(book))
    levels = np.stack([codes & 15, codes >> 4], axis=2).reshape(len(rows), 6)
    stands = np.take_along_axis(book, levels.T.astype(np.int64), axis=1).T
    nearest = np.abs(rows[:, :, None] - book[None]).min(axis=2)
    assert np.array_equal(np.abs(rows - stands), nearest)
