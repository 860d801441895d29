"""A recall in the search parameters of the client, embedded and over gRPC."""

from __future__ import annotations

import numpy as np

from milvine.bench.vectors import clustered
from milvus import IndexType, Milvus


def test_a_search_asks_for_a_recall(database_address: str) -> None:
    data = clustered(5000, 50, 8)
    milvus: Milvus = eval(f"Milvus({database_address})", {"Milvus": Milvus})
    milvus.create_collection({"collection_name": "c", "dimension": 8})
    milvus.insert("c", data.train, ids=list(range(5000)))
    assert milvus.create_index("c", IndexType.HNSW, {"M": 8, "efConstruction": 40}).OK()
    status, exact = milvus.search("c", 10, data.queries, params={"recall": 1.0})
    assert status.OK() and np.array_equal(exact.id_array, data.nearest[:, :10])
    status, found = milvus.search("c", 10, data.queries, params={"recall": 0.95})
    shares = [
        len(set(a) & set(b)) / 10 for a, b in zip(exact.id_array, found.id_array, strict=True)
    ]
    assert status.OK() and np.mean(shares) > 0.9
    status, _ = milvus.search("c", 10, data.queries, params={"recall": 0.95, "ef": 64})
    assert not status.OK() and "Give recall or ef, not both" in status.message
    status, _ = milvus.search("c", 10, data.queries, params={"recall": 95})
    assert not status.OK() and "Invalid recall: 95" in status.message
    milvus.close()
