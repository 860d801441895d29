"""Codes of four bits for each dimension. The layout is faiss's; they are made here, since with
faiss's own encoder a build took twice as long as one with rows in the lists.

The nearest of some sorted values is told by how many of the midpoints between them lie below. faiss
compares 32 rows at a time and keeps the codes of so many together.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from milvine.index.base import Report
from milvine.index.inverted.lists import Lists, Portion, buffer_rows
from milvine.index.native import faiss
from milvine.types import Bytes, Floats, Ids

BLOCK_ROWS = 32
_PIECE_BYTES = 1 << 20


def midpoints(book: Floats) -> Floats:
    """Between the sorted values of each dimension, float32 (values - 1, dimension)."""
    out: Floats = np.ascontiguousarray(((book[:, 1:] + book[:, :-1]) / 2).T)
    return out


def encoded(rows: Floats, between: Floats) -> Bytes:
    """Two dimensions a byte, the lower half first: uint8 (rows, half the dimensions)."""
    count, dimension = rows.shape
    codes = np.zeros((count, dimension + dimension % 2), dtype=np.uint8)
    above = np.empty(rows.shape, dtype=np.bool_)
    each = codes[:, :dimension]
    for bounds in between:
        np.greater(rows, bounds, out=above)
        np.add(each, above.view(np.uint8), out=each)
    out: Bytes = codes[:, ::2] | codes[:, 1::2] << 4
    return out


def packed(codes: Bytes) -> Bytes:
    """What `encoded` returned, in blocks: uint8 (blocks, bytes of a code, 32).

    For each byte of the codes 32 bytes: 16 with its lower halves, then 16 with its upper ones. Each
    of them holds that of a row below and that of the row 16 places on above, in the order 0, 8, 1,
    9 and so on.
    """
    count, width = codes.shape
    blocks = -(-count // BLOCK_ROWS)
    rows = np.zeros((blocks * BLOCK_ROWS, width), dtype=np.uint8)
    rows[:count] = codes
    first, second = rows.reshape(blocks, 2, 2, 8, width).swapaxes(0, 1)
    out = np.empty((blocks, width, 2, 8, 2), dtype=np.uint8)
    out[:, :, 0] = (first & 15 | second << 4).transpose(0, 3, 2, 1)
    out[:, :, 1] = (first >> 4 | second & 240).transpose(0, 3, 2, 1)
    return out.reshape(blocks, width, BLOCK_ROWS)


def fill(
    index: Any, book: Floats, vectors: Floats, lists: Lists, memory: int, report: Report
) -> None:
    """Put rows into the lists of an empty index, under their numbers.

    Args:
        index: an `IndexIVFPQFastScan` with a code for each dimension of the rows themselves.
        book: those values of each dimension, sorted, float32 (dimension, 16).
        memory: bytes that may be used; 0 for any number.
    """
    between, done = midpoints(book), 0
    for portion in lists.portions(buffer_rows(index.code_size, len(lists.numbers), memory)):
        report("coding", done)
        done += len(portion.rows)
        _fill_portion(index.invlists, portion, lists.sizes, vectors, between)
    index.ntotal = done


def _fill_portion(
    inverted: Any, portion: Portion, sizes: Ids, vectors: Floats, between: Floats
) -> None:
    rows = portion.rows
    step = max(1, _PIECE_BYTES // (4 * vectors.shape[1] * BLOCK_ROWS)) * BLOCK_ROWS
    pieces = [slice(start, start + step) for start in range(0, len(rows), step)]
    width = (vectors.shape[1] + 1) // 2
    if portion.last == portion.first + 1:  # its rows are in order as they are
        ids, blocks = _room(inverted, portion.first, len(rows), width)
        ids[:] = rows
        for part in pieces:
            some = packed(encoded(vectors[rows[part]], between))
            blocks[part.start // BLOCK_ROWS :][: len(some)] = some
        return
    codes = np.empty((len(rows), width), dtype=np.uint8)
    for part in pieces:
        codes[portion.places[part]] = encoded(vectors[rows[part]], between)
    ordered, start = portion.in_order(), 0
    for number, size in enumerate(sizes[portion.first : portion.last].tolist(), portion.first):
        ids, blocks = _room(inverted, number, size, width)
        ids[:], blocks[:] = ordered[start : start + size], packed(codes[start : start + size])
        start += size


def _room(inverted: Any, number: int, size: int, width: int) -> tuple[Ids, Bytes]:
    """A list of so many rows: their numbers and the blocks of their codes, to be written."""
    blocks = -(-size // BLOCK_ROWS)
    if not size:  # faiss has no address for these
        return np.empty(0, np.int64), np.empty((0, width, BLOCK_ROWS), np.uint8)
    inverted.resize(number, size)
    codes = faiss.rev_swig_ptr(inverted.get_codes(number), blocks * width * BLOCK_ROWS)
    ids: Ids = faiss.rev_swig_ptr(inverted.get_ids(number), size)
    return ids, codes.reshape(blocks, width, BLOCK_ROWS)
