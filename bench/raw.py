"""Raw faiss in this process: the same types, parameters, vectors and threads, over one index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np

from bench.cases import LISTED, Case
from bench.data import Dataset
from milvine.types import Floats, Ids, IndexType, MetricType

SEEDS = (1, 2, 3)
_SKIP_VECTORS = faiss.IO_FLAG_SKIP_STORAGE


@dataclass(frozen=True)
class RawIndex:
    """A faiss index with the parameters of its case."""

    case: Case
    index: Any
    live: np.ndarray | None = None  # packed bits; the selector points into them

    def search(self, queries: Floats, k: int) -> Ids:
        """Row numbers (nq, k), deleted rows left out by a selector."""
        _, rows = self.index.search(queries, k, params=self._parameters())
        return np.asarray(rows, np.int64)

    def without(self, dead: Ids) -> RawIndex:
        """The same index, answering as if the rows `dead` were gone."""
        mask = np.ones(self.index.ntotal, bool)
        mask[dead] = False
        return RawIndex(self.case, self.index, np.packbits(mask, bitorder="little"))

    def _parameters(self) -> Any:
        options = {} if self.live is None else {"sel": faiss.IDSelectorBitmap(self.live)}
        if self.case.type in LISTED:
            kind = faiss.IVFPQSearchParameters if self.case.type is IndexType.IVF_PQ else faiss.SearchParametersIVF
            return kind(nprobe=self.case.search["nprobe"], **options)
        if self.case.type is IndexType.HNSW:
            return faiss.SearchParametersHNSW(efSearch=self.case.search["ef"], **options)
        return faiss.SearchParameters(**options) if options else None

    def file_bytes(self) -> int:
        """Bytes of the index as faiss writes it, the plain copy of the vectors left out where faiss can leave it."""
        if self.case.type is IndexType.FLAT:
            return 0
        flags = _SKIP_VECTORS if self.case.type is IndexType.HNSW else 0
        writer = faiss.VectorIOWriter()
        faiss.write_index(self.index, writer, flags)
        return int(writer.data.size())

    def repeated_bytes(self) -> int:
        """Of `file_bytes`, those that are plain float vectors a second time."""
        return self.index.ntotal * self.index.d * 4 if self.case.type is IndexType.IVF_FLAT else 0


def build(data: Dataset, case: Case, seed: int = 1) -> RawIndex:
    """Train on all rows with `seed`, then add them."""
    index = _empty(data, case)
    if case.type in LISTED:
        index.cp.seed = seed
        if case.type is IndexType.IVF_PQ:
            index.pq.cp.seed = seed
        index.train(data.train)
    index.add(data.train)
    return RawIndex(case, index)


def seeds(case: Case) -> tuple[int, ...]:
    """Three where training draws at random, else one."""
    return SEEDS if case.type in LISTED else SEEDS[:1]


def _empty(data: Dataset, case: Case) -> Any:
    metric = faiss.METRIC_INNER_PRODUCT if data.metric is MetricType.IP else faiss.METRIC_L2
    if case.type is IndexType.FLAT:
        return faiss.IndexFlat(data.dimension, metric)
    if case.type is IndexType.HNSW:
        index = faiss.IndexHNSWFlat(data.dimension, case.build["M"], metric)
        index.hnsw.efConstruction = case.build["efConstruction"]
        return index
    return _empty_lists(data.dimension, metric, case, case.lists(data.rows))


def _empty_lists(dimension: int, metric: int, case: Case, lists: int) -> Any:
    coarse = faiss.IndexFlat(dimension, metric)
    if case.type is IndexType.IVF_FLAT:
        return faiss.IndexIVFFlat(coarse, dimension, lists, metric)
    if case.type is IndexType.IVF_SQ8:
        kind = faiss.ScalarQuantizer.QT_8bit
        return faiss.IndexIVFScalarQuantizer(coarse, dimension, lists, kind, metric)
    return faiss.IndexIVFPQ(coarse, dimension, lists, case.build["m"], 8, metric)
