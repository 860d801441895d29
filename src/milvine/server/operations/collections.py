"""Collections: create, look, count, drop (specification 3.1 to 3.4)."""

from __future__ import annotations

import json
from typing import Any

from milvine.engine import definition_checks
from milvine.engine.database import Database
from milvine.engine.stats import CollectionStats, PartitionStats, SegmentStats
from milvine.errors import CollectionExists
from milvine.wire import schema


def new_collection(
    database: Database, name: str, dimension: int, index_file_size_mb: int, metric: int
) -> None:
    """Make a collection; `metric` is a number of the wire."""
    definition_checks.check_name(name)
    checked = definition_checks.checked_metric(dimension, index_file_size_mb, metric)
    if database.has_collection(name):
        raise CollectionExists
    database.create_collection(name, dimension, index_file_size_mb, checked)


def create_collection(database: Database, request: Any) -> Any:
    """CollectionSchema -> Status."""
    new_collection(
        database,
        request.collection_name,
        request.dimension,
        request.index_file_size,
        request.metric_type,
    )
    return schema.Status()


def has_collection(database: Database, request: Any) -> Any:
    """CollectionName -> BoolReply."""
    definition_checks.check_name(request.collection_name)
    return schema.BoolReply(bool_reply=database.has_collection(request.collection_name))


def describe_collection(database: Database, request: Any) -> Any:
    """CollectionName -> CollectionSchema."""
    collection = database.collection(request.collection_name).definition
    return schema.CollectionSchema(
        collection_name=collection.name,
        dimension=collection.dimension,
        index_file_size=collection.index_file_size_mb,
        metric_type=int(collection.metric),
    )


def count_collection(database: Database, request: Any) -> Any:
    """CollectionName -> CollectionRowCount."""
    collection = database.collection(request.collection_name)
    return schema.CollectionRowCount(collection_row_count=collection.count())


def show_collections(database: Database, request: Any) -> Any:
    """Command, whatever it says -> CollectionNameList."""
    return schema.CollectionNameList(collection_names=database.collections())


def show_collection_info(database: Database, request: Any) -> Any:
    """CollectionName -> CollectionInfo."""
    stats = database.collection(request.collection_name).stats()
    return schema.CollectionInfo(json_info=stats_json(stats))


def drop_collection(database: Database, request: Any) -> Any:
    """CollectionName -> Status."""
    database.collection(request.collection_name).drop()
    return schema.Status()


def stats_json(stats: CollectionStats) -> str:
    """Compact, keys in alphabetical order; a partition without segments has null for
    them (specification 3.3).

    `nonfinite_rows` is an addition, and there only where there are some.
    """
    value = {
        "partitions": [_partition(each) for each in stats.partitions],
        "row_count": stats.row_count,
    }
    if stats.nonfinite_rows:
        value["nonfinite_rows"] = stats.nonfinite_rows
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def _partition(stats: PartitionStats) -> dict[str, object]:
    segments = [_segment(each) for each in stats.segments] or None
    return {"tag": stats.tag, "row_count": stats.row_count, "segments": segments}


def _segment(stats: SegmentStats) -> dict[str, object]:
    return {
        "data_size": stats.data_size,
        "index_name": stats.index_name,
        "name": stats.name,
        "row_count": stats.row_count,
    }
