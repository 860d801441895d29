"""IVF_PQFS, an addition to Milvus 1.x: IVF_PQ with codes of 4 bits, and exact refinement.

Such codes are compared 32 rows at a time, from tables that fit into registers: quick and coarse.
Codes of what is left beyond the centroid found no more after refining, on wordnet_minilm384 and
glove100, and took longer.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from milvine.index.copies.members import Living
from milvine.index.flat import open_flat
from milvine.index.image import Image
from milvine.index.inverted.ivf import NLIST, NPROBE, IvfKernel, OpenIvf, Shape
from milvine.index.inverted.ivf_sizes import CODE_BITS, PackedSizes
from milvine.index.native import faiss, kept, parameters, search_index
from milvine.index.score import Found, nearest_of, nothing, settled
from milvine.index.spec import Divisor, IndexInput, IndexSpec, refining
from milvine.storage.prefetch import PAGE_BYTES, ask_for_rows
from milvine.types import Bytes, Floats, Ids, MetricType, RowMask

_ONE_BY_ONE = 11
"""faiss's number for searching for one query after the other. By itself it takes its way for many
at once, with which searches of 16 to 200 lists of 100 rows of 128 dimensions took 1.1 to 1.4 times
as long, with one query in a call and with 1,000; under a filter 1.2 times as long with one query
and, at the least, 0.93 with many.
"""
_NO_ROWS: Ids = np.empty(0, dtype=np.int64)


class OpenFastScan(OpenIvf):
    def __init__(self, image: Image, flat: Bytes, metric: MetricType, kernel: IvfKernel) -> None:
        super().__init__(image, flat, metric, kernel)
        self._flat = open_flat(flat)
        self._index.implem = _ONE_BY_ONE
        self._refining = _refining(self._index, self._flat)
        self._quantizer = faiss.downcast_index(self._index.quantizer)
        self._members: dict[int, Ids] = {}
        self._pages_ahead = 0

    def read_ahead(self, most: int) -> None:
        self._pages_ahead = most // PAGE_BYTES

    def _search(self, queries: Floats, k: int, nprobe: int, refine: int, living: Living) -> Found:
        """Under IP faiss loses the rows that are farthest of all by their codes: none of equal rows
        is found. Where that leaves fewer than k hits, all rows of the lists are compared.
        """
        if len(queries) == 1 and not self._pages_ahead:
            # One more, to see that it is not as near as the last.
            how = self._refined_by(k + 1, k * refine, nprobe, living.mask)
            distances, rows = search_index(self._refining, queries, k + 1, how)
            if settled(distances, rows, self._metric):
                return distances[:, :k], rows[:, :k]
        distances, rows = super()._search(queries, k, nprobe, refine, living)
        if self._metric is MetricType.IP and living.nodes:
            for short in np.flatnonzero(rows[:, min(k, living.nodes) - 1] < 0):
                one = queries[short : short + 1]
                distances[short], rows[short] = nearest_of(
                    one, self._vectors, self._listed(nprobe, living.mask, one), self._metric, k
                )
        return distances, rows

    def _refined_by(self, width: int, wanted: int, nprobe: int, mask: RowMask | None) -> Any:
        """faiss's parameters of a search for the `width` nearest of so many candidates, equal ones
        in any order. It finds and compares them in one call: each gives the interpreter's lock
        away, for which threads that search at the same time then wait.
        """
        factor = (max(wanted, width) + 0.5) / width
        return kept(
            ("refine", nprobe, width, wanted),
            mask,
            lambda: faiss.IndexRefineSearchParameters(
                k_factor=factor, base_index_params=parameters("IVF", "nprobe", nprobe, mask)
            ),
        )

    def _candidates(self, wanted: int, nprobe: int, how: Any, queries: Floats) -> Ids:
        rows = super()._candidates(wanted, nprobe, how, queries)
        if self._pages_ahead:
            ask_for_rows(self._vectors, rows, self._pages_ahead)
        return rows

    def _listed(self, nprobe: int, mask: RowMask | None, queries: Floats) -> Ids:
        """Every live row of the lists that queries (nq, dimension) read, shape (nq, most of one);
        -1 for none.
        """
        _, nearest = search_index(self._quantizer, queries, nprobe, None)
        each = [self._rows_of(numbers) for numbers in nearest.tolist()]
        if len(each) == 1:
            rows = each[0][None]
        else:
            _, rows = nothing(len(each), max(map(len, each), default=0))
            for at, some in enumerate(each):
                rows[at, : len(some)] = some
        if mask is not None and rows.size:
            rows = mask.only_live(rows)
        if self._pages_ahead:
            ask_for_rows(self._vectors, rows, self._pages_ahead)
        return rows

    def _rows_of(self, lists: list[int]) -> Ids:
        """The rows in some lists; -1 for none."""
        rows: Ids = np.concatenate([self._list(number) for number in lists])
        return rows

    def _list(self, number: int) -> Ids:
        found = self._members.get(number)
        if found is None:
            lists = self._index.invlists
            size = lists.list_size(number) if number >= 0 else 0
            found = faiss.rev_swig_ptr(lists.get_ids(number), size) if size else _NO_ROWS
            self._members[number] = found
        return found


def _refining(index: Any, flat: Any) -> Any:
    """A faiss index that compares the candidates of one with the rows of another, which must
    outlive it. It has to be made over as many rows in both; here some may have been left out.
    """
    count, index.ntotal = index.ntotal, flat.ntotal
    made = faiss.IndexRefine(index, flat)
    index.ntotal = count
    return made


class FastScanKernel(IvfKernel):
    def _opened(self, image: Image, flat: Bytes, metric: MetricType) -> OpenIvf:
        return OpenFastScan(image, flat, metric, self)


def _pairs(dimension: int) -> int:
    """Two dimensions in each part, or one where they are odd."""
    return dimension // (2 - dimension % 2)


_M = Divisor("m", _pairs)


def _make(quantizer: Any, shape: Shape) -> Any:
    m = _M.value(shape.params, shape.dimension)
    return faiss.IndexIVFPQFastScan(
        quantizer, shape.dimension, shape.nlist, m, CODE_BITS, shape.metric
    )


class FastScanSizes(PackedSizes):
    def code(self, of: IndexInput) -> int:
        return -(-_M.value(of.params, of.dimension) // 2)


_REFINE = 8
"""Candidates for each wanted hit where a search does not say how many. On 80,000 rows of glove100
and 40,000 of wordnet_minilm384 more of them found nothing more, half as many 0.2 to 0.9 in 100
less.
"""

SPECS = (
    IndexSpec(
        number=1001,
        name="IVF_PQFS",
        kernel=FastScanKernel(_make, refine=_REFINE, packed=True),
        build=(NLIST, _M),
        search=(NPROBE, refining(_REFINE)),
        breadth=NPROBE.breadth(),
        sizes=FastScanSizes(),
    ),
)
