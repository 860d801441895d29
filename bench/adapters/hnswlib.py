"""hnswlib: a graph in this process, in memory only."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import hnswlib
import numpy as np


class Hnswlib:
    """Rows are kept for each graph that is built of them."""

    version = metadata.version("hnswlib")

    def __init__(self, address: str, setup: dict[str, Any]) -> None:
        self.address, self.setup = address, setup
        self.parts: list[Any] = []
        self.rows: Any = None
        self.index: Any = None

    def insert(self, ids: Any, vectors: Any) -> None:
        self.parts.append(vectors)

    def loaded(self) -> None:
        self.rows, self.parts = np.concatenate(self.parts), []

    def build(self, kind: str, params: dict[str, int]) -> None:
        rows = self.rows
        space = "l2" if self.setup["metric"] == "L2" else "ip"
        self.index = hnswlib.Index(space, self.setup["dimension"])
        self.index.init_index(len(rows), M=params["M"], ef_construction=params["efConstruction"])
        self.index.add_items(rows, num_threads=self.setup["threads"])

    def tune(self, kind: str, params: dict[str, int]) -> None:
        self.index.set_ef(params["ef"])

    def search(self, query: Any, k: int) -> Any:
        return self.index.knn_query(query, k, num_threads=1)[0][0]

    def search_many(self, queries: Any, k: int) -> Any:
        return self.index.knn_query(queries, k, num_threads=self.setup["threads"])[0]

    def close(self) -> None:
        self.index = None


def connect(address: str, setup: dict[str, Any]) -> Hnswlib:
    return Hnswlib(address, setup)
