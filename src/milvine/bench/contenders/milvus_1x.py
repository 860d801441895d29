"""Everything that is used through `from milvus import Milvus`: Milvine in process and as a server,
and pymilvus 1.x.

`address` is `file://FOLDER` or `HOST:PORT`. What pymilvus takes as lists only is given to it as
lists, made before the clock runs for searches and on the clock for inserts, for there a user with
arrays would have to make them too. With `lists` in the setup the user has lists: those are made
before.
"""

from __future__ import annotations

from collections import deque
from importlib import import_module
from typing import Any

import numpy as np

milvus: Any = import_module("milvus")  # whichever this interpreter has: ours, or pymilvus 1.x
_TAKES_ARRAYS = hasattr(milvus, "AsyncMilvus")
_IN_FLIGHT = 4


class Milvus1x:
    """One client; threads share it."""

    version = str(getattr(milvus, "__version__", ""))

    def __init__(self, address: str, setup: dict[str, Any]) -> None:
        self.address, self.collection = address, str(setup.get("collection", "bench"))
        self.has_lists = bool(setup.get("lists"))
        self.lists = self.has_lists or not _TAKES_ARRAYS
        self.params: dict[str, int] = {}
        self.waiting: deque[Any] = deque()
        if address.startswith("file://"):
            self.client = milvus.Milvus(uri=address)
        else:
            host, port = address.rsplit(":", 1)
            self.client = milvus.Milvus(host=host, port=port)
        if setup["create"]:
            self._create(setup)

    def _create(self, setup: dict[str, Any]) -> None:
        if checked(self.client.has_collection(self.collection)):
            checked(self.client.drop_collection(self.collection))
        param = {
            "collection_name": self.collection,
            "dimension": setup["dimension"],
            "index_file_size": 4096,  # everything in one segment, as raw faiss has it
            "metric_type": milvus.MetricType[setup["metric"]],
        }
        checked(self.client.create_collection(param))

    def prepare_rows(self, ids: Any, vectors: Any) -> tuple[Any, Any]:
        return (ids.tolist(), vectors.tolist()) if self.has_lists else (ids, vectors)

    def insert(self, ids: Any, vectors: Any) -> None:
        if self.lists:
            if not self.has_lists:
                ids, vectors = ids.tolist(), vectors.tolist()
            checked(self.client.insert(self.collection, vectors, ids=ids))
            return
        if len(self.waiting) == _IN_FLIGHT:
            checked(self.waiting.popleft().result())
        self.waiting.append(self.client.insert(self.collection, vectors, ids=ids, _async=True))

    def loaded(self) -> None:
        """Rows are searched from their acknowledgement on."""
        while self.waiting:
            checked(self.waiting.popleft().result())

    def build(self, kind: str, params: dict[str, int]) -> None:
        index = "FLAT" if kind == "exact" else kind
        checked(self.client.flush([self.collection]))
        checked(self.client.create_index(self.collection, milvus.IndexType[index], dict(params)))

    def tune(self, kind: str, params: dict[str, int]) -> None:
        self.params = dict(params)

    def prepare(self, query: Any) -> Any:
        return query.tolist() if self.lists else query

    def search(self, query: Any, k: int) -> Any:
        return checked(self.client.search(self.collection, k, query, params=self.params)).id_array[
            0
        ]

    def search_many(self, queries: Any, k: int) -> Any:
        records = queries.tolist() if self.lists else queries
        return checked(self.client.search(self.collection, k, records, params=self.params)).id_array

    def delete(self, ids: Any) -> None:
        checked(self.client.delete_entity_by_id(self.collection, ids.tolist()))

    def get(self, ids: Any) -> None:
        rows = checked(self.client.get_entity_by_id(self.collection, ids.tolist()))
        if len(rows) != len(ids) or not np.asarray(rows[0]).size:
            raise RuntimeError(f"{len(rows)} rows for {len(ids)} ids")

    def close(self) -> None:
        self.client.close()


def checked(answer: Any) -> Any:
    """What a call gave beside its status.

    Raises:
        RuntimeError: the status is not OK.
    """
    status, value = answer if isinstance(answer, tuple) else (answer, None)
    if not status.OK():
        raise RuntimeError(f"code {status.code}: {status.message}")
    return value


def connect(address: str, setup: dict[str, Any]) -> Milvus1x:
    return Milvus1x(address, setup)
