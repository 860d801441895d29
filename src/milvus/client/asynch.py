"""`from milvus.client.asynch import ...`, as in pymilvus 1.x: what `_async=True` returns."""

from milvine.client.futures import (
    CallFuture,
    CompactFuture,
    CreateIndexFuture,
    FlushFuture,
    InsertFuture,
    SearchFuture,
)

AbstractFuture = Future = CallFuture

__all__ = [
    "AbstractFuture",
    "Future",
    "SearchFuture",
    "InsertFuture",
    "CreateIndexFuture",
    "CompactFuture",
    "FlushFuture",
]
