"""Raw faiss and annoy in this process: the same types, parameters, vectors and threads, over one
index.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np

from bench.cases import LISTED, Case
from milvine.bench.vectors import Dataset
from milvine.index.registry import spec
from milvine.index.spec import REFINE, Range
from milvine.types import Ids, IndexType, MetricType, Vectors

SEEDS = (1, 2, 3)
GRAPHS = (IndexType.HNSW, IndexType.HNSW_SQ8, IndexType.RNSG)
CONSTRUCTION = 200
_SKIP_VECTORS = faiss.IO_FLAG_SKIP_STORAGE


@dataclass(frozen=True)
class RawIndex:
    """A faiss or annoy index with the parameters of its case."""

    case: Case
    index: Any
    live: np.ndarray | None = None  # packed bits; the selector points into them
    data: Dataset | None = None  # to compare candidates with, of types that refine

    @property
    def deletes(self) -> bool:
        """Whether the library can leave rows out."""
        return self.case.type is not IndexType.ANNOY and not isinstance(
            self.index, faiss.IndexBinary
        )

    def search(self, queries: Vectors, k: int) -> Ids:
        """Row numbers (nq, k), deleted rows left out by a selector."""
        if self.case.type is IndexType.ANNOY:
            search_k = self.case.search["search_k"]
            return _filled(
                [self.index.get_nns_by_vector(query, k, search_k) for query in queries.tolist()], k
            )
        if isinstance(self.index, faiss.IndexBinary | faiss.IndexNSG):
            return np.asarray(self.index.search(queries, k)[1], np.int64)
        refine = _refine(self.case.type)
        _, rows = self.index.search(queries, k * refine, params=self._parameters())
        return np.asarray(rows if refine == 1 else self._refined(queries, rows)[:, :k], np.int64)

    def _refined(self, queries: Vectors, rows: Ids) -> Ids:
        """Candidates, nearest first, by products as a program beside faiss would compare them."""
        assert self.data is not None
        found = self.data.train[rows]
        if self.data.metric is MetricType.IP:
            far = -np.einsum("ijk,ik->ij", found, queries)
        else:
            far = ((found - queries[:, None]) ** 2).sum(axis=2)
        return np.take_along_axis(rows, np.argsort(np.where(rows < 0, np.inf, far), axis=1), axis=1)

    def without(self, dead: Ids) -> RawIndex:
        """The same index, answering as if the rows `dead` were gone."""
        mask = np.ones(self.index.ntotal, bool)
        mask[dead] = False
        return RawIndex(self.case, self.index, np.packbits(mask, bitorder="little"), self.data)

    def _parameters(self) -> Any:
        options = {} if self.live is None else {"sel": faiss.IDSelectorBitmap(self.live)}
        if self.case.type in LISTED:
            kind = (
                faiss.IVFPQSearchParameters
                if self.case.type is IndexType.IVF_PQ
                else faiss.SearchParametersIVF
            )
            return kind(nprobe=self.case.search["nprobe"], **options)
        if self.case.type in GRAPHS:
            breadth = self.case.search[
                "search_length" if self.case.type is IndexType.RNSG else "ef"
            ]
            return faiss.SearchParametersHNSW(efSearch=breadth, **options)
        return faiss.SearchParameters(**options) if options else None

    def file_bytes(self) -> int:
        """Bytes of the index as faiss writes it, the plain copy of the vectors left out where faiss
        can leave it.
        """
        if self.case.type is IndexType.FLAT:
            return 0
        flags = _SKIP_VECTORS if self.case.type is IndexType.HNSW else 0
        writer = faiss.VectorIOWriter()
        faiss.write_index(self.index, writer, flags)
        return int(writer.data.size())

    def repeated_bytes(self) -> int:
        """Of `file_bytes`, those that are plain float vectors a second time."""
        return self.index.ntotal * self.index.d * 4 if self.case.type is IndexType.IVF_FLAT else 0


def _refine(kind: IndexType) -> int:
    """Candidates for each wanted hit of a search that does not say how many."""
    found = [e.default for e in spec(kind).search if isinstance(e, Range) and e.key == REFINE]
    return (found[0] if found else None) or 1


def build(data: Dataset, case: Case, seed: int = 1) -> RawIndex:
    """Train on all rows with `seed`, then add them."""
    if data.metric.is_binary:
        return RawIndex(case, _binary(data, case, seed))
    if case.type is IndexType.ANNOY:
        return RawIndex(case, _forest(data, case))
    index = _empty(data, case)
    if case.type in LISTED:
        index.cp.seed = seed
        if case.type is IndexType.IVF_PQ:
            index.pq.cp.seed = seed
    index.train(data.train)
    index.add(data.train)
    return RawIndex(case, index, data=data)


def has(data: Dataset, case: Case) -> bool:
    """Whether a raw library serves the metric with this type."""
    return not data.metric.is_binary or data.metric is MetricType.HAMMING


def others(data: Dataset, case: Case) -> Iterator[tuple[str, RawIndex]]:
    """Further raw indexes to put beside, by name. faiss's NSG knows L2 only, which ranks rows of
    one length as IP.
    """
    if case.type is IndexType.RNSG and (data.metric is MetricType.L2 or _of_one_length(data)):
        index = faiss.IndexNSGFlat(data.dimension, case.build["out_degree"])
        index.GK = case.build["knng"]
        index.nsg.L, index.nsg.C = case.build["search_length"], case.build["candidate_pool_size"]
        index.add(data.train)
        index.nsg.search_L = case.search["search_length"]
        yield "faiss NSG", RawIndex(case, index)


def seeds(case: Case) -> tuple[int, ...]:
    """Three where training draws at random, else one."""
    return SEEDS if case.type in LISTED else SEEDS[:1]


def _empty(data: Dataset, case: Case) -> Any:
    metric = faiss.METRIC_INNER_PRODUCT if data.metric is MetricType.IP else faiss.METRIC_L2
    if case.type is IndexType.FLAT:
        return faiss.IndexFlat(data.dimension, metric)
    if case.type in GRAPHS:  # RNSG is held against HNSW of as many links and as broad a search
        links = case.build.get("M") or case.build["out_degree"] // 2
        if case.type is IndexType.HNSW_SQ8:
            index = faiss.IndexHNSWSQ(data.dimension, faiss.ScalarQuantizer.QT_8bit, links, metric)
        else:
            index = faiss.IndexHNSWFlat(data.dimension, links, metric)
        index.hnsw.efConstruction = case.build.get("efConstruction", CONSTRUCTION)
        return index
    return _empty_lists(data.dimension, metric, case, case.lists(data.rows))


def _empty_lists(dimension: int, metric: int, case: Case, lists: int) -> Any:
    coarse = faiss.IndexFlat(dimension, metric)
    if case.type is IndexType.IVF_FLAT:
        return faiss.IndexIVFFlat(coarse, dimension, lists, metric)
    if case.type in (IndexType.IVF_SQ8, IndexType.IVF_SQ8H):
        kind = faiss.ScalarQuantizer.QT_8bit
        return faiss.IndexIVFScalarQuantizer(coarse, dimension, lists, kind, metric)
    if case.type is IndexType.IVF_PQFS:
        return faiss.IndexIVFPQFastScan(coarse, dimension, lists, dimension // 2, 4, metric)
    if case.type is IndexType.IVF_RABITQ:
        return faiss.IndexIVFRaBitQFastScan(coarse, dimension, lists, metric)
    return faiss.IndexIVFPQ(coarse, dimension, lists, case.build["m"], 8, metric)


def _of_one_length(data: Dataset) -> bool:
    return bool(np.allclose(np.linalg.norm(data.train[:1000], axis=1), 1, atol=1e-3))


def _binary(data: Dataset, case: Case, seed: int) -> Any:
    if case.type is IndexType.FLAT:
        index = faiss.IndexBinaryFlat(data.dimension)
    else:
        coarse = faiss.IndexBinaryFlat(data.dimension)
        index = faiss.IndexBinaryIVF(coarse, data.dimension, case.lists(data.rows))
        coarse.this.disown()
        index.own_fields = True
        index.cp.seed, index.nprobe = seed, case.search["nprobe"]
        index.train(data.train)
    index.add(data.train)
    return index


def _forest(data: Dataset, case: Case) -> Any:
    from annoy import AnnoyIndex

    forest = AnnoyIndex(data.dimension, "dot" if data.metric is MetricType.IP else "euclidean")
    forest.set_seed(SEEDS[0])
    for number, row in enumerate(data.train.tolist()):
        forest.add_item(number, row)
    forest.build(case.build["n_trees"], faiss.omp_get_max_threads())
    return forest


def _filled(found: Sequence[Sequence[int]], k: int) -> Ids:
    """Lists of row numbers as (nq, k), -1 where there are fewer."""
    rows = np.full((len(found), k), -1, np.int64)
    for row, some in zip(rows, found, strict=True):
        row[: len(some)] = some
    return rows
