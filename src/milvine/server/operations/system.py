"""Flush and compact (specification 3.19, 3.20)."""

from __future__ import annotations

from typing import Any

from milvine.engine.database import Database
from milvine.wire import schema


def flush(database: Database, request: Any) -> Any:
    """FlushParam -> Status. Names are looked up as they are: an illegal one is an unknown one."""
    database.flush(list(request.collection_name_array))
    return schema.Status()


def compact(database: Database, request: Any) -> Any:
    """CollectionName -> Status."""
    database.collection(request.collection_name).compact()
    return schema.Status()
