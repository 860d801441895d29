"""Calls through the seam with messages instead of bytes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from milvine.server.operations import Operations
from milvine.wire import packed, schema
from milvine.wire.status import read_status

NOT_EXIST = (
    "Collection {} does not exist. Use milvus.has_collection to verify whether the collection"
    " exists. You also can check whether the collection name exists."
)


class Caller:
    """`caller.Insert(field=value, ...)` is the reply message; `caller.fails("Insert", ...)` its
    code and reason.
    """

    def __init__(self, operations: Operations) -> None:
        self.operations = operations

    def __getattr__(self, rpc: str) -> Any:
        def call(**fields: Any) -> Any:
            request_class, reply_class = schema.METHODS[rpc]
            return reply_class.FromString(
                self.operations.call(rpc, request_class(**fields).SerializeToString())
            )

        return call

    def ok(self, rpc: str, **fields: Any) -> Any:
        reply = getattr(self, rpc)(**fields)
        assert read_status(reply) == (0, "OK"), (rpc, fields)
        return reply

    def fails(self, rpc: str, **fields: Any) -> tuple[int, str]:
        """Code and reason of a failure whose reply holds nothing else."""
        reply = getattr(self, rpc)(**fields)
        code, reason = read_status(reply)
        assert code, (rpc, fields)
        for field, value in reply.ListFields() if hasattr(reply, "status") else []:
            if rpc != "DescribeIndex":
                assert field.name == "status", (field.name, value)
        return code, reason

    def create(
        self, name: str = "c", dimension: int = 4, metric: int = 1, size: int = 1024
    ) -> None:
        self.ok(
            "CreateCollection",
            collection_name=name,
            dimension=dimension,
            index_file_size=size,
            metric_type=metric,
        )

    def insert(self, vectors: Any, ids: Any = None, name: str = "c", tag: str = "") -> list[int]:
        raw = packed.encode_insert(name, np.asarray(vectors, dtype=np.float32), ids, tag, "{}")
        reply = packed.decode_ids(self.operations.call("Insert", raw))
        assert (reply.code, reply.reason) == (0, "OK")
        return reply.ids.tolist()

    def search(
        self, vectors: Any, topk: int = 2, params: Any = None, name: str = "c", tags: Any = ()
    ) -> Any:
        text = None if params is None else json.dumps(params)
        raw = packed.encode_search(name, np.asarray(vectors, dtype=np.float32), topk, tags, text)
        return packed.decode_hits(self.operations.call("Search", raw))


def records(*rows: Any) -> list[Any]:
    return [schema.RowRecord(float_data=row) for row in rows]


def params(**values: Any) -> list[Any]:
    return [schema.KeyValuePair(key="params", value=json.dumps(values))]
