"""Indexes: create, describe, drop (specification 3.5 and 3.6)."""

from __future__ import annotations

from typing import Any

from milvine.engine.database import Database
from milvine.server import validate
from milvine.server.operations.parameters import PARAMS_KEY, params_text, parse_params
from milvine.types import IndexSetting
from milvine.wire import schema


def create_index(database: Database, request: Any) -> Any:
    """IndexParam -> Status, once everything is built."""
    params = parse_params(params_text(request.extra_params))
    validate.check_name(request.collection_name)
    collection = database.collection(request.collection_name)
    index_type = validate.checked_index_type(request.index_type, params, collection)
    database.create_index(collection.name, IndexSetting.of(index_type, {} if params is None else params))
    return schema.Status()


def describe_index(database: Database, request: Any) -> Any:
    """CollectionName -> IndexParam: the setting, whether or not anything has been built."""
    validate.check_name(request.collection_name)
    collection = database.collection(request.collection_name)
    pair = schema.KeyValuePair(key=PARAMS_KEY, value=collection.index.params_json)
    return schema.IndexParam(
        collection_name=collection.name, index_type=int(collection.index.type), extra_params=[pair]
    )


def drop_index(database: Database, request: Any) -> Any:
    """CollectionName -> Status."""
    validate.check_name(request.collection_name)
    database.drop_index(request.collection_name)
    return schema.Status()
