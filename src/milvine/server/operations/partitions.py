"""Partitions: create, look, drop (specification 3.7 to 3.9)."""

from __future__ import annotations

from typing import Any

from milvine.catalog.tags import tag_to_create, tag_to_drop, trimmed
from milvine.engine import definition_checks
from milvine.engine.database import Database
from milvine.wire import schema


def create_partition(database: Database, request: Any) -> Any:
    """PartitionParam -> Status."""
    definition_checks.check_name(request.collection_name)
    tag = tag_to_create(request.tag)
    database.collection(request.collection_name).create_partition(tag)
    return schema.Status()


def has_partition(database: Database, request: Any) -> Any:
    """PartitionParam -> BoolReply. An illegal tag is simply not there."""
    collection = database.collection(request.collection_name)
    return schema.BoolReply(bool_reply=collection.has_partition(trimmed(request.tag)))


def show_partitions(database: Database, request: Any) -> Any:
    """CollectionName -> PartitionList."""
    collection = database.collection(request.collection_name)
    return schema.PartitionList(partition_tag_array=collection.partitions())


def drop_partition(database: Database, request: Any) -> Any:
    """PartitionParam -> Status."""
    definition_checks.check_name(request.collection_name)
    tag = tag_to_drop(request.tag)
    database.collection(request.collection_name).drop_partition(tag)
    return schema.Status()
