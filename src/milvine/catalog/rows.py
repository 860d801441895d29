"""Rows of the tables as the catalog's own types, and back."""

from __future__ import annotations

from typing import Any

from milvine.catalog.model import Edit, SegmentRecord, StoredCollection
from milvine.types import Collection, IdMode, IndexSetting, IndexType, MetricType

Row = dict[str, Any]


def collection_changes(edit: Edit) -> Row:
    changes: Row = {}
    if edit.flushed_lsn is not None:
        changes["flushed_lsn"] = edit.flushed_lsn
    if edit.id_mode is not None:
        changes["id_mode"] = int(edit.id_mode)
    if edit.index is not None:
        changes |= {"index_type": int(edit.index.type), "index_params": edit.index.params_json}
    return changes


def collection_row(stored: StoredCollection) -> Row:
    collection = stored.collection
    return {
        "id": collection.id,
        "name": collection.name,
        "dimension": collection.dimension,
        "metric": int(collection.metric),
        "index_file_size_mb": collection.index_file_size_mb,
        "id_mode": int(collection.id_mode),
        "index_type": int(collection.index.type),
        "index_params": collection.index.params_json,
        "flushed_lsn": stored.flushed_lsn,
    }


def collection_of_row(row: Any) -> Collection:
    return Collection(
        id=row.id,
        name=row.name,
        dimension=row.dimension,
        metric=MetricType(row.metric),
        index_file_size_mb=row.index_file_size_mb,
        id_mode=IdMode(row.id_mode),
        index=IndexSetting(IndexType(row.index_type), row.index_params),
    )


def segment_of_row(row: Any) -> SegmentRecord:
    return SegmentRecord(
        id=row.id,
        collection_id=row.collection_id,
        partition_id=row.partition_id,
        rows_file=row.rows_file,
        rows=row.rows,
        data_bytes=row.data_bytes,
        min_lsn=row.min_lsn,
        max_lsn=row.max_lsn,
        index=IndexSetting(IndexType(row.index_type), row.index_params),
        index_file=row.index_file,
        index_bytes=row.index_bytes,
        tombstone_file=row.tombstone_file,
        dead=row.dead,
    )


def segment_row(record: SegmentRecord) -> Row:
    return {
        "id": record.id,
        "collection_id": record.collection_id,
        "partition_id": record.partition_id,
        "rows_file": record.rows_file,
        "rows": record.rows,
        "data_bytes": record.data_bytes,
        "min_lsn": record.min_lsn,
        "max_lsn": record.max_lsn,
        "index_type": int(record.index.type),
        "index_params": record.index.params_json,
        "index_file": record.index_file,
        "index_bytes": record.index_bytes,
        "tombstone_file": record.tombstone_file,
        "dead": record.dead,
    }
