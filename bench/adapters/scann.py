"""ScaNN: lists in this process, in memory, scored by codes of two dimensions each and reordered by
the rows themselves. `nlist` and `nprobe` are its leaves.
"""

from __future__ import annotations

from importlib import metadata
from typing import Any

import numpy as np
from scann.scann_ops.py import scann_ops_pybind

_DIMENSIONS_A_CODE = 2
_ANISOTROPIC = 0.2
_REORDERED = 10
"""Candidates for each hit that are compared with the rows."""


class Scann:
    """Rows are kept for each index that is built of them."""

    version = metadata.version("scann")

    def __init__(self, address: str, setup: dict[str, Any]) -> None:
        self.address, self.setup = address, setup
        self.parts: list[Any] = []
        self.rows: Any = None
        self.index: Any = None
        self.leaves = 1

    def insert(self, ids: Any, vectors: Any) -> None:
        self.parts.append(vectors)

    def loaded(self) -> None:
        self.rows, self.parts = np.concatenate(self.parts), []

    def build(self, kind: str, params: dict[str, int]) -> None:
        rows = self.rows
        by_length = self.setup["metric"] == "L2"
        builder = scann_ops_pybind.builder(rows, 10, "squared_l2" if by_length else "dot_product")
        builder.set_n_training_threads(self.setup["threads"])
        nlist = min(params["nlist"], max(1, len(rows) // 40))
        builder = builder.tree(nlist, 16, training_sample_size=len(rows))
        threshold = float("nan") if by_length else _ANISOTROPIC
        builder = builder.score_ah(_DIMENSIONS_A_CODE, anisotropic_quantization_threshold=threshold)
        self.index = builder.reorder(100).build()
        self.index.set_num_threads(self.setup["threads"])

    def tune(self, kind: str, params: dict[str, int]) -> None:
        self.leaves = params["nprobe"]

    def search(self, query: Any, k: int) -> Any:
        return self.index.search(
            query[0],
            final_num_neighbors=k,
            pre_reorder_num_neighbors=_REORDERED * k,
            leaves_to_search=self.leaves,
        )[0]

    def search_many(self, queries: Any, k: int) -> Any:
        return self.index.search_batched_parallel(
            queries,
            final_num_neighbors=k,
            pre_reorder_num_neighbors=_REORDERED * k,
            leaves_to_search=self.leaves,
        )[0]

    def close(self) -> None:
        self.index = None


def connect(address: str, setup: dict[str, Any]) -> Scann:
    return Scann(address, setup)
