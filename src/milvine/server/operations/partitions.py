"""Partitions: create, look, drop (specification 3.7 to 3.9)."""

from __future__ import annotations

from typing import Any

from milvine.engine import definition_checks
from milvine.engine.database import Database
from milvine.wire import schema


def create_partition(database: Database, request: Any) -> Any:
    """PartitionParam -> Status."""
    definition_checks.check_name(request.collection_name)
    database.create_partition(request.collection_name, definition_checks.tag_to_create(request.tag))
    return schema.Status()


def has_partition(database: Database, request: Any) -> Any:
    """PartitionParam -> BoolReply. An illegal tag is simply not there."""
    definition_checks.check_name(request.collection_name)
    there = database.has_partition(request.collection_name, definition_checks.trimmed(request.tag))
    return schema.BoolReply(bool_reply=there)


def show_partitions(database: Database, request: Any) -> Any:
    """CollectionName -> PartitionList."""
    definition_checks.check_name(request.collection_name)
    return schema.PartitionList(partition_tag_array=database.partitions(request.collection_name))


def drop_partition(database: Database, request: Any) -> Any:
    """PartitionParam -> Status."""
    definition_checks.check_name(request.collection_name)
    database.drop_partition(request.collection_name, definition_checks.tag_to_drop(request.tag))
    return schema.Status()
