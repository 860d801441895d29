"""zvec: a collection in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import zvec

_METRICS = {"L2": zvec.MetricType.L2, "IP": zvec.MetricType.IP}


class Zvec:
    version = str(getattr(zvec, "__version__", ""))

    def __init__(self, address: str, setup: dict[str, Any]) -> None:
        Path(address).parent.mkdir(parents=True, exist_ok=True)
        self.address, self.threads, self.metric = (
            address,
            int(setup["threads"]),
            _METRICS[setup["metric"]],
        )
        self.param: Any = None
        if setup["create"]:
            vector = zvec.VectorSchema(
                "v", zvec.DataType.VECTOR_FP32, setup["dimension"], self._index("exact", {})
            )
            self.collection: Any = zvec.create_and_open(
                address, zvec.CollectionSchema("rows", vectors=[vector])
            )
        else:
            self.collection = zvec.open(address)

    def _index(self, kind: str, params: dict[str, int]) -> Any:
        if kind == "HNSW":
            return zvec.HnswIndexParam(self.metric, params["M"], params["efConstruction"])
        if kind == "IVF_FLAT":
            return zvec.IVFIndexParam(self.metric, params["nlist"])
        return zvec.FlatIndexParam(self.metric)

    def insert(self, ids: Any, vectors: Any) -> None:
        """It takes at most 1,024 rows a call."""
        docs = [zvec.Doc(id=str(i), vectors={"v": v}) for i, v in zip(ids.tolist(), vectors)]
        for at in range(0, len(docs), 1000):
            for status in self.collection.insert(docs[at : at + 1000]):
                if not status.ok():
                    raise RuntimeError(status.message())

    def loaded(self) -> None:
        self.collection.flush()

    def build(self, kind: str, params: dict[str, int]) -> None:
        self.collection.create_index("v", self._index(kind, params))
        self.collection.optimize(zvec.OptimizeOption(concurrency=self.threads))

    def tune(self, kind: str, params: dict[str, int]) -> None:
        self.param = None
        if kind == "HNSW":
            self.param = zvec.HnswQueryParam(ef=params["ef"])
        elif kind == "IVF_FLAT":
            self.param = zvec.IVFQueryParam(nprobe=params["nprobe"])

    def prepare(self, query: Any) -> Any:
        return query[0].tolist()

    def search(self, query: Any, k: int) -> Any:
        asked = zvec.Query(field_name="v", vector=query, param=self.param)
        return [int(doc.id) for doc in self.collection.query(asked, topk=k, output_fields=[])]

    def close(self) -> None:
        self.collection.close()


def connect(address: str, setup: dict[str, Any]) -> Zvec:
    return Zvec(address, setup)
