"""Qdrant Edge: a shard in this process."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as edge

_ALWAYS_INDEX_KB, _NEVER_INDEX_KB = 1, 1 << 30


class QdrantEdge:
    """Exact and HNSW are the same shard, asked with and without `exact`."""

    version = metadata.version("qdrant-edge-py")

    def __init__(self, address: str, setup: dict[str, Any]) -> None:
        Path(address).mkdir(parents=True, exist_ok=True)
        distance = edge.Distance.Euclid if setup["metric"] == "L2" else edge.Distance.Dot
        hnsw = edge.HnswIndexConfig(16, 200, 10, max_indexing_threads=setup["threads"])
        config = edge.EdgeConfig(
            edge.EdgeVectorParams(setup["dimension"], distance),
            hnsw_config=hnsw,
            optimizers=edge.EdgeOptimizersConfig(
                default_segment_number=1, indexing_threshold=_ALWAYS_INDEX_KB
            ),
        )
        self.address, self.params = address, edge.SearchParams()
        self.shard: Any = (
            edge.EdgeShard.create(address, config)
            if setup["create"]
            else edge.EdgeShard.load(address)
        )

    def insert(self, ids: Any, vectors: Any) -> None:
        points = [edge.Point(i, v) for i, v in zip(ids.tolist(), vectors.tolist())]
        self.shard.update(edge.UpdateOperation.upsert_points(points))

    def loaded(self) -> None:
        self.shard.flush()

    def build(self, kind: str, params: dict[str, int]) -> None:
        if kind == "HNSW":
            self.shard.optimize()

    def tune(self, kind: str, params: dict[str, int]) -> None:
        self.params = (
            edge.SearchParams(exact=True)
            if kind == "exact"
            else edge.SearchParams(hnsw_ef=params["ef"])
        )

    def prepare(self, query: Any) -> Any:
        return edge.Query.Nearest(query[0].tolist())

    def search(self, query: Any, k: int) -> Any:
        return [
            hit.id for hit in self.shard.search(edge.SearchRequest(query, k, params=self.params))
        ]

    def search_many(self, queries: Any, k: int) -> Any:
        return [
            np.array(self.search(self.prepare(queries[n : n + 1]), k)) for n in range(len(queries))
        ]

    def close(self) -> None:
        self.shard.close()


def connect(address: str, setup: dict[str, Any]) -> QdrantEdge:
    return QdrantEdge(address, setup)
