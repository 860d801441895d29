"""LanceDB: a table in this process. Its HNSW is a graph in each IVF partition, here a
single one.
"""

from __future__ import annotations

from typing import Any

import lancedb
import pyarrow as pa

_METRICS = {"L2": "l2", "IP": "dot"}


class LanceDB:
    version = str(lancedb.__version__)

    def __init__(self, address: str, setup: dict[str, Any]) -> None:
        self.address, self.metric, self.dimension = (
            address,
            _METRICS[setup["metric"]],
            int(setup["dimension"]),
        )
        self.database = lancedb.connect(address)
        self.kind, self.params = "exact", dict[str, int]()
        schema = pa.schema([("id", pa.int64()), ("v", pa.list_(pa.float32(), self.dimension))])
        self.table: Any = (
            self.database.create_table("rows", schema=schema)
            if setup["create"]
            else self.database.open_table("rows")
        )

    def insert(self, ids: Any, vectors: Any) -> None:
        values = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), self.dimension)
        self.table.add(pa.table({"id": pa.array(ids), "v": values}))

    def loaded(self) -> None:
        self.table.optimize()

    def build(self, kind: str, params: dict[str, int]) -> None:
        for index in self.table.list_indices():
            self.table.drop_index(index.name)
        if kind == "HNSW":
            more = {
                "m": params["M"],
                "ef_construction": params["efConstruction"],
                "num_partitions": 1,
            }
            self.table.create_index(
                metric=self.metric, vector_column_name="v", index_type="IVF_HNSW_SQ", **more
            )
        elif kind == "IVF_FLAT":
            lists = {"num_partitions": params["nlist"]}
            self.table.create_index(
                metric=self.metric, vector_column_name="v", index_type="IVF_FLAT", **lists
            )

    def tune(self, kind: str, params: dict[str, int]) -> None:
        self.kind, self.params = kind, dict(params)

    def search(self, query: Any, k: int) -> Any:
        return self._asked(query[0], k)["id"].to_pylist()

    def search_many(self, queries: Any, k: int) -> Any:
        found = self._asked(queries, k)
        rows: list[list[int]] = [[] for _ in queries]
        for number, row in zip(found["query_index"].to_pylist(), found["id"].to_pylist()):
            rows[number].append(row)
        return rows

    def _asked(self, query: Any, k: int) -> Any:
        asked = (
            self.table.search(query, vector_column_name="v")
            .distance_type(self.metric)
            .select(["id", "_distance"])
        )
        if self.kind == "HNSW":
            asked = asked.nprobes(1).ef(self.params["ef"])
        elif self.kind == "IVF_FLAT":
            asked = asked.nprobes(self.params["nprobe"])
        return asked.limit(k).to_arrow()

    def close(self) -> None:
        """It has nothing to close."""


def connect(address: str, setup: dict[str, Any]) -> LanceDB:
    return LanceDB(address, setup)
