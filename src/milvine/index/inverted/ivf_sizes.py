"""How large inverted files are: what the sizes of their types share."""

from __future__ import annotations

import math

from milvine.index.image import IMAGE_HEADER_BYTES
from milvine.index.inverted.ivf import TRAINING_CODES, effective_nlist, learnt_at_most
from milvine.index.inverted.lists import PIECE_BYTES, ROW_BYTES, buffer_rows
from milvine.index.native import FAISS_HEADER_BYTES
from milvine.index.spec import IndexInput, Sizes, integer

CODE_BITS = 4
"""Of a code that faiss compares 32 rows at a time."""
TRAINING_PER_CENTROID = 256
"""Rows that faiss learns a centroid from."""

_LIST_BYTES = 2 * 80
"""An inverted list is two of faiss's vectors that may be views: codes and ids."""
_GROWTH = 1 / math.log(2)
"""Room of a vector that doubles when it is full, over what it holds, on the average."""
_BLOCK_ROWS = 32
_ROW_BYTES = 4 + 1
"""Of each row: its list, or its norm before that, and whether it is sound."""


def lists(of: IndexInput) -> int:
    """Lists that the index really gets."""
    return effective_nlist(integer(of.params, "nlist"), of.rows)


class IvfSizes(Sizes):
    """Of an index whose lists are searched where they are mapped. `exact`: its codes are the
    vectors themselves.
    """

    exact = False

    def code(self, of: IndexInput) -> int:
        """Of one row in the lists, without its id."""
        raise NotImplementedError

    def learnt(self, of: IndexInput) -> int:
        """Of what is learnt besides the centroids, in the image."""
        return 0

    def width(self, of: IndexInput) -> int:
        """Dimensions of a centroid."""
        return of.dimension

    def learnt_for_codes(self, of: IndexInput) -> int:
        """Rows that codes are learnt from."""
        return TRAINING_CODES

    def stored(self, of: IndexInput, memory: int) -> int:
        """Allocated while lists are filled: a portion of them."""
        code = self.code(of)
        portion = min(of.rows, buffer_rows(code, of.rows, memory)) * (code + ROW_BYTES)
        return portion + min(2 * PIECE_BYTES, of.bytes)

    def image(self, of: IndexInput) -> int:
        centroids = lists(of) * (4 * self.width(of) + 8)
        codes = of.rows * (self.code(of) + 8)
        return IMAGE_HEADER_BYTES + 2 * FAISS_HEADER_BYTES + codes + centroids + self.learnt(of)

    def opened(self, of: IndexInput) -> int:
        return _LIST_BYTES * lists(of)

    def building(self, of: IndexInput, memory: int = 0) -> int:
        """Centroids, and first the rows to learn from, then the lists."""
        learnt = self._learnt_from(of, memory)
        training = learnt * of.row_bytes if learnt < of.rows else 0
        if not self.exact:
            training += 2 * min(learnt, self.learnt_for_codes(of)) * of.row_bytes
        centroids = 2 * lists(of) * of.row_bytes
        return _ROW_BYTES * of.rows + centroids + max(self.stored(of, memory), training)

    def _learnt_from(self, of: IndexInput, memory: int) -> int:
        """Rows that all is learnt from."""
        nlist = lists(of)
        most = TRAINING_PER_CENTROID * nlist
        if not self.exact:
            most = max(most, TRAINING_CODES, self.learnt_for_codes(of))
        return min(of.rows, learnt_at_most(most, nlist, of.row_bytes, self.exact, memory))


class PackedSizes(IvfSizes):
    """Of lists that faiss packs in blocks of 32 rows, and copies when it opens them."""

    def learnt(self, of: IndexInput) -> int:
        """A codebook of 16 centroids, and a last block that is half empty, on the average."""
        half_empty = self.code(of) * min(of.rows, lists(of) * _BLOCK_ROWS // 2)
        return half_empty + (4 * of.dimension << CODE_BITS)

    def opened(self, of: IndexInput) -> int:
        return super().opened(of) + self.image(of)

    def read(self, of: IndexInput) -> int:
        return 0  # it was copied; only the vectors of candidates are read

    def stored(self, of: IndexInput, memory: int) -> int:
        return round(_GROWTH * of.rows * (self.code(of) + 8))
