"""Requests over HTTP with what they answer."""

from __future__ import annotations

from typing import Any

import httpx

from milvine.engine.database import Database

GONE = (
    "Collection {} does not exist. Use milvus.has_collection to verify whether the collection"
    " exists. You also can check whether the collection name exists."
)
OK = {"message": "OK", "code": 0}


class Asking:
    """`ask("GET", "/state")` is (status, JSON); `code` is (status, code) of a failure, which must
    have a text.
    """

    def __init__(self, client: httpx.Client, database: Database) -> None:
        self.client, self.database = client, database

    def ask(self, method: str, path: str, json: Any = None, **more: Any) -> tuple[int, Any]:
        if json is not None:
            more["json"] = json
        reply = self.client.request(method, path, **more)
        if reply.status_code == 204:
            assert reply.content == b""
            return 204, None
        assert reply.headers["content-type"] == "application/json", reply.text
        return reply.status_code, reply.json()

    def code(self, method: str, path: str, json: Any = None, **more: Any) -> tuple[int, int]:
        status, answer = self.ask(method, path, json, **more)
        assert set(answer) == {"message", "code"} and answer["message"], answer
        return status, answer["code"]

    def create(self, name: str = "c", dimension: int = 4, metric: str = "L2") -> None:
        body = {"collection_name": name, "dimension": dimension, "metric_type": metric}
        assert self.ask("POST", "/collections", body) == (201, OK)

    def insert(self, vectors: Any, ids: Any = None, name: str = "c", **more: Any) -> list[str]:
        body = {"vectors": vectors, **({} if ids is None else {"ids": ids}), **more}
        status, answer = self.ask("POST", f"/collections/{name}/vectors", body)
        assert status == 201, answer
        ids = answer["ids"]
        assert isinstance(ids, list)
        return ids

    def search(self, vectors: Any, topk: int = 2, name: str = "c", **more: Any) -> Any:
        body = {"search": {"topk": topk, "params": {}, "vectors": vectors, **more}}
        status, answer = self.ask("PUT", f"/collections/{name}/vectors", body)
        assert status == 200, answer
        return answer

    def flush(self, name: str = "c") -> None:
        assert self.ask("PUT", "/system/task", {"flush": {"collection_names": [name]}}) == (200, OK)

    def segment(self, name: str = "c") -> str:
        segments = self.ask("GET", f"/collections/{name}/segments")[1]["segments"]
        return str(segments[0]["name"])
