"""The limit: faiss in process, one OpenMP thread a query. Inserting is writing ids and vectors to a
file with fsync.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from milvine.index.native import faiss  # its OpenMP threads wait without spinning, as ours do


class RawFaiss:
    """Parameters of a search are passed with each call, as they must be when threads share an
    index.
    """

    version = str(faiss.__version__)

    def __init__(self, address: str, setup: dict[str, Any]) -> None:
        self.address, self.dimension, self.threads = (
            address,
            int(setup["dimension"]),
            int(setup["threads"]),
        )
        self.metric = faiss.METRIC_INNER_PRODUCT if setup["metric"] == "IP" else faiss.METRIC_L2
        Path(address).mkdir(parents=True, exist_ok=True)
        self.saved = Path(address) / "index.faiss"
        self.file: Any = None
        self.parts: list[Any] = []
        self.index: Any = None
        self.params: Any = None
        self.default_threshold = int(faiss.cvar.distance_compute_blas_threshold)
        faiss.omp_set_num_threads(self.threads)
        if not setup["create"]:
            self.index = faiss.read_index(str(self.saved))

    def insert(self, ids: Any, vectors: Any) -> None:
        if self.file is None:
            self.file = (Path(self.address) / f"rows-{len(self.parts)}").open("wb", buffering=0)
        self.file.write(ids.data)
        self.file.write(vectors.data)
        os.fsync(self.file.fileno())
        self.parts.append(vectors)

    def loaded(self) -> None:
        self.file.close()
        self.file = None

    def build(self, kind: str, params: dict[str, int]) -> None:
        faiss.omp_set_num_threads(self.threads)
        rows = self.parts[0] if len(self.parts) == 1 else np.concatenate(self.parts)
        self.parts = [rows]
        self.index = self._empty(kind, params, len(rows))
        if not self.index.is_trained:
            self.index.train(rows)
        self.index.add(rows)

    def _empty(self, kind: str, params: dict[str, int], rows: int) -> Any:
        if kind == "exact":
            return faiss.IndexFlat(self.dimension, self.metric)
        if kind == "HNSW":
            index = faiss.IndexHNSWFlat(self.dimension, params["M"], self.metric)
            index.hnsw.efConstruction = params["efConstruction"]
            return index
        # As 1.x and Milvine, which want 40 rows for each.
        lists = min(params["nlist"], max(1, rows // 40))
        return faiss.IndexIVFFlat(
            faiss.IndexFlat(self.dimension, self.metric), self.dimension, lists, self.metric
        )

    def tune(self, kind: str, params: dict[str, int]) -> None:
        self.params = None
        if kind == "HNSW":
            self.params = faiss.SearchParametersHNSW(efSearch=params["ef"])
        elif kind == "IVF_FLAT":
            self.params = faiss.SearchParametersIVF(nprobe=params["nprobe"])

    def enter_thread(self) -> None:
        faiss.omp_set_num_threads(1)  # counts for the calling thread alone

    def search(self, query: Any, k: int) -> Any:
        return self.index.search(query, k, params=self.params)[1][0]

    def search_many(self, queries: Any, k: int) -> Any:
        """At its best: with every thread, and matrix products for any number of queries."""
        faiss.omp_set_num_threads(self.threads)
        faiss.cvar.distance_compute_blas_threshold = min(20, self.default_threshold)
        try:
            return self.index.search(queries, k, params=self.params)[1]
        finally:
            faiss.cvar.distance_compute_blas_threshold = self.default_threshold

    def save(self) -> None:
        faiss.write_index(self.index, str(self.saved))

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


def connect(address: str, setup: dict[str, Any]) -> RawFaiss:
    return RawFaiss(address, setup)
