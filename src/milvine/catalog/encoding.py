"""A collection as plain values, for tables, definitions and footers alike; rows of the tables, and
back.
"""

from __future__ import annotations

from collections.abc import Mapping
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


def described(collection: Collection) -> Row:
    """A collection as numbers and texts: enough to make it again, by `collection_of`."""
    return {
        "id": collection.id,
        "name": collection.name,
        "dimension": collection.dimension,
        "metric": int(collection.metric),
        "index_file_size_mb": collection.index_file_size_mb,
        "id_mode": int(collection.id_mode),
        "index_type": int(collection.index.type),
        "index_params": collection.index.params_json,
    }


def collection_of(values: Mapping[str, Any]) -> Collection:
    """The collection of a row, of a definition, or of the footer of a component; other values are
    passed over.
    """
    return Collection(
        id=values["id"],
        name=values["name"],
        dimension=values["dimension"],
        metric=MetricType(values["metric"]),
        index_file_size_mb=values["index_file_size_mb"],
        id_mode=IdMode(values["id_mode"]),
        index=IndexSetting(IndexType(values["index_type"]), values["index_params"]),
    )


def collection_row(stored: StoredCollection) -> Row:
    return {**described(stored.collection), "flushed_lsn": stored.flushed_lsn}


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
