"""USearch: a graph in this process, in memory; exact search compares every row."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import numpy as np
from usearch.index import Index, MetricKind
from usearch.index import search as compared


class Usearch:
    """Rows are kept, for each graph that is built of them and for exact search, which has none."""

    version = metadata.version("usearch")

    def __init__(self, address: str, setup: dict[str, Any]) -> None:
        self.address, self.setup = address, setup
        self.parts: list[Any] = []
        self.rows: Any = None
        self.index: Any = None
        self.exact = False

    def insert(self, ids: Any, vectors: Any) -> None:
        self.parts.append(vectors)

    def loaded(self) -> None:
        self.rows, self.parts = np.concatenate(self.parts), []

    def build(self, kind: str, params: dict[str, int]) -> None:
        if kind == "exact":
            return
        self.index = Index(
            ndim=self.setup["dimension"],
            metric=self._metric,
            dtype="f32",
            connectivity=params["M"],
            expansion_add=params["efConstruction"],
        )
        self.index.add(np.arange(len(self.rows)), self.rows, threads=self.setup["threads"])

    def tune(self, kind: str, params: dict[str, int]) -> None:
        self.exact = kind == "exact"
        if not self.exact:
            self.index.expansion_search = params["ef"]

    def search(self, query: Any, k: int) -> Any:
        return self._found(query[0], k, 1)

    def search_many(self, queries: Any, k: int) -> Any:
        return self._found(queries, k, self.setup["threads"])

    def _found(self, queries: Any, k: int, threads: int) -> Any:
        if self.exact:
            return compared(self.rows, queries, k, self._metric, exact=True, threads=threads).keys
        return self.index.search(queries, k, threads=threads).keys

    @property
    def _metric(self) -> MetricKind:
        return MetricKind.L2sq if self.setup["metric"] == "L2" else MetricKind.IP

    def close(self) -> None:
        self.index = None


def connect(address: str, setup: dict[str, Any]) -> Usearch:
    return Usearch(address, setup)
