"""USearch: a graph in this process, in memory; exact search compares every row."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import numpy as np
from usearch.index import Index


class Usearch:
    version = metadata.version("usearch")

    def __init__(self, address: str, setup: dict[str, Any]) -> None:
        self.address, self.setup = address, setup
        self.rows: list[Any] = []
        self.index: Any = None
        self.exact = False

    def insert(self, ids: Any, vectors: Any) -> None:
        self.rows.append(vectors)

    def loaded(self) -> None:
        """All rows are here."""

    def build(self, kind: str, params: dict[str, int]) -> None:
        rows = np.concatenate(self.rows)
        self.index = Index(
            ndim=self.setup["dimension"],
            metric="l2sq" if self.setup["metric"] == "L2" else "ip",
            dtype="f32",
            connectivity=params.get("M", 16),
            expansion_add=params.get("efConstruction", 16),
        )
        self.index.add(np.arange(len(rows)), rows, threads=self.setup["threads"])

    def tune(self, kind: str, params: dict[str, int]) -> None:
        self.exact = kind == "exact"
        if not self.exact:
            self.index.expansion_search = params["ef"]

    def search(self, query: Any, k: int) -> Any:
        return self.index.search(query[0], k, threads=1, exact=self.exact).keys

    def search_many(self, queries: Any, k: int) -> Any:
        found = self.index.search(queries, k, threads=self.setup["threads"], exact=self.exact)
        return found.keys

    def close(self) -> None:
        self.index = None


def connect(address: str, setup: dict[str, Any]) -> Usearch:
    return Usearch(address, setup)
