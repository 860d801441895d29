"""Milvus Lite through its pymilvus: a process of its own that ends with this one."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

from pymilvus import DataType, MilvusClient

_INDEXES = {"exact": "FLAT", "HNSW": "HNSW", "IVF_FLAT": "IVF_FLAT"}


class MilvusLite:
    version = metadata.version("milvus-lite")

    def __init__(self, address: str, setup: dict[str, Any]) -> None:
        Path(address).mkdir(parents=True, exist_ok=True)
        self.address, self.metric = address, str(setup["metric"])
        self.client: Any = MilvusClient(f"{address}/milvus.db")
        self.params: dict[str, int] = {}
        if setup["create"]:
            schema = MilvusClient.create_schema(auto_id=False)
            schema.add_field("id", DataType.INT64, is_primary=True)
            schema.add_field("v", DataType.FLOAT_VECTOR, dim=setup["dimension"])
            self.client.create_collection("rows", schema=schema)

    def insert(self, ids: Any, vectors: Any) -> None:
        self.client.insert("rows", [{"id": i, "v": v} for i, v in zip(ids.tolist(), vectors)])

    def loaded(self) -> None:
        self.client.flush("rows")

    def build(self, kind: str, params: dict[str, int]) -> None:
        if self.client.list_indexes("rows"):
            self.client.release_collection("rows")
            self.client.drop_index("rows", "v")
        index = self.client.prepare_index_params()
        index.add_index(
            "v", index_type=_INDEXES[kind], metric_type=self.metric, params=dict(params)
        )
        self.client.create_index("rows", index)
        self.client.load_collection("rows")

    def tune(self, kind: str, params: dict[str, int]) -> None:
        self.params = dict(params)

    def search(self, query: Any, k: int) -> Any:
        return self.search_many(query, k)[0]

    def search_many(self, queries: Any, k: int) -> Any:
        found = self.client.search(
            "rows",
            data=list(queries),
            anns_field="v",
            limit=k,
            search_params={"params": self.params},
        )
        return [[hit["id"] for hit in hits] for hits in found]

    def close(self) -> None:
        self.client.close()


def connect(address: str, setup: dict[str, Any]) -> MilvusLite:
    return MilvusLite(address, setup)
