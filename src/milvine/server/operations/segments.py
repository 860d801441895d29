"""Segments in memory (specification 3.18)."""

from __future__ import annotations

from typing import Any

from milvine.engine.database import Database
from milvine.wire import packed, schema


def preload_collection(database: Database, request: Any) -> Any:
    """PreloadCollectionParam -> Status, once everything is in memory."""
    collection = database.collection(request.collection_name)
    collection.preload(list(request.partition_tag_array))
    return schema.Status()


def release_collection(database: Database, request: Any) -> Any:
    """PreloadCollectionParam -> Status."""
    collection = database.collection(request.collection_name)
    collection.release(list(request.partition_tag_array))
    return schema.Status()


def reload_segments(database: Database, request: bytes) -> bytes:
    """ReLoadSegmentsParam -> Status: a server that only reads sees at once what the writing one
    flushed.

    Where one server does both there is nothing to do; the names of segments are not looked at. The
    reason is empty, unlike that of every other success.
    """
    packed.parse(schema.ReLoadSegmentsParam, request)
    database.refresh()
    return bytes(schema.Status().SerializeToString())
