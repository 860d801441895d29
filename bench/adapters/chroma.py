"""Chroma with its data in a folder. HNSW only; a build is waited for by inserting with everything
in one batch size.
"""

from __future__ import annotations

from typing import Any

import chromadb
import numpy as np

_SPACES = {"L2": "l2", "IP": "ip"}


class Chroma:
    """The index grows with the inserts, so that building takes no time of its own."""

    version = str(chromadb.__version__)

    def __init__(self, address: str, setup: dict[str, Any]) -> None:
        self.address = address
        self.client = chromadb.PersistentClient(
            address, settings=chromadb.Settings(anonymized_telemetry=False)
        )
        hnsw = {
            "space": _SPACES[setup["metric"]],
            "max_neighbors": 16,
            "ef_construction": 200,
            "ef_search": 64,
            "num_threads": setup["threads"],
        }
        self.collection: Any = (
            self.client.create_collection(
                "rows", configuration={"hnsw": hnsw}, embedding_function=None
            )
            if setup["create"]
            else self.client.get_collection("rows", embedding_function=None)
        )

    def insert(self, ids: Any, vectors: Any) -> None:
        self.collection.add(ids=[str(i) for i in ids.tolist()], embeddings=vectors)

    def loaded(self) -> None:
        """Rows are searched when `add` returns."""

    def build(self, kind: str, params: dict[str, int]) -> None:
        """Done while inserting, with the parameters given there."""

    def tune(self, kind: str, params: dict[str, int]) -> None:
        self.collection.modify(configuration={"hnsw": {"ef_search": params["ef"]}})

    def search(self, query: Any, k: int) -> Any:
        return _numbers(
            self.collection.query(query_embeddings=query, n_results=k, include=[])["ids"]
        )[0]

    def search_many(self, queries: Any, k: int) -> Any:
        return _numbers(
            self.collection.query(query_embeddings=queries, n_results=k, include=[])["ids"]
        )

    def close(self) -> None:
        """It has nothing to close."""


def _numbers(found: list[list[str]]) -> Any:
    return [np.array(ids, np.int64) for ids in found]


def connect(address: str, setup: dict[str, Any]) -> Chroma:
    return Chroma(address, setup)
