"""Indexes: create, describe, drop (specification 3.5 and 3.6)."""

from __future__ import annotations

from typing import Any

from milvine.engine import definition_checks
from milvine.engine.database import Database
from milvine.server.operations.collections import known_collection
from milvine.server.operations.parameters import PARAMS_KEY, params_text, parse_params
from milvine.types import IndexSetting
from milvine.wire import schema


def set_index(database: Database, name: str, index_type: int, params: object) -> None:
    """Index a collection; returns once everything is built. `params` is a JSON value of any kind,
    None for none.
    """
    collection = known_collection(database, name)
    kind = definition_checks.checked_index_type(index_type, params, collection)
    database.create_index(name, IndexSetting.of(kind, {} if params is None else params))


def create_index(database: Database, request: Any) -> Any:
    """IndexParam -> Status, once everything is built."""
    params = parse_params(params_text(request.extra_params))
    set_index(database, request.collection_name, request.index_type, params)
    return schema.Status()


def describe_index(database: Database, request: Any) -> Any:
    """CollectionName -> IndexParam: the setting, whether or not anything has been built."""
    collection = known_collection(database, request.collection_name)
    pair = schema.KeyValuePair(key=PARAMS_KEY, value=collection.index.params_json)
    return schema.IndexParam(
        collection_name=collection.name, index_type=int(collection.index.type), extra_params=[pair]
    )


def drop_index(database: Database, request: Any) -> Any:
    """CollectionName -> Status."""
    definition_checks.check_name(request.collection_name)
    database.drop_index(request.collection_name)
    return schema.Status()
