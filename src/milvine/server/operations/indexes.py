"""Indexes: create, describe, drop (specification 3.5 and 3.6)."""

from __future__ import annotations

from typing import Any

from milvine.engine import definition_checks
from milvine.engine.collection import OpenCollection
from milvine.engine.database import Database
from milvine.server.operations.parameters import PARAMS_KEY, params_text, parse_params
from milvine.types import IndexSetting
from milvine.wire import schema


def set_index(collection: OpenCollection, index_type: int, params: object) -> None:
    """Index a collection; returns once everything is built. `params` is a JSON value of any kind,
    None for none.
    """
    kind = definition_checks.checked_index_type(index_type, params, collection.definition)
    collection.create_index(IndexSetting.of(kind, {} if params is None else params))


def create_index(database: Database, request: Any) -> Any:
    """IndexParam -> Status, once everything is built."""
    params = parse_params(params_text(request.extra_params))
    set_index(database.collection(request.collection_name), request.index_type, params)
    return schema.Status()


def describe_index(database: Database, request: Any) -> Any:
    """CollectionName -> IndexParam: the setting, whether or not anything has been built."""
    collection = database.collection(request.collection_name).definition
    pair = schema.KeyValuePair(key=PARAMS_KEY, value=collection.index.params_json)
    return schema.IndexParam(
        collection_name=collection.name, index_type=int(collection.index.type), extra_params=[pair]
    )


def drop_index(database: Database, request: Any) -> Any:
    """CollectionName -> Status."""
    database.collection(request.collection_name).drop_index()
    return schema.Status()
