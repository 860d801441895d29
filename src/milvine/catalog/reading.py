"""The rows of the tables put together: collections with all that belongs to them."""

from __future__ import annotations

from collections import defaultdict

from sqlalchemy import Connection, select

from milvine.catalog.definition_files import Definition
from milvine.catalog.encoding import collection_of, segment_of_row
from milvine.catalog.keys import stored_keys
from milvine.catalog.model import SegmentRecord, StoredCollection
from milvine.catalog.tables import COLLECTIONS, PARTITIONS, SEGMENTS
from milvine.types import Partition


def stored_collections(connection: Connection) -> tuple[StoredCollection, ...]:
    """All of them, and their partitions, in creation order."""
    partitions: dict[int, list[Partition]] = defaultdict(list)
    for row in connection.execute(select(PARTITIONS).order_by(PARTITIONS.c.id)):
        partitions[row.collection_id].append(Partition(row.id, row.collection_id, row.tag))
    segments: dict[int, list[SegmentRecord]] = defaultdict(list)
    for row in connection.execute(select(SEGMENTS).order_by(SEGMENTS.c.id)):
        segments[row.collection_id].append(segment_of_row(row))
    keys = stored_keys(connection)
    return tuple(
        StoredCollection(
            collection_of(row._asdict()),
            row.flushed_lsn,
            tuple(partitions[row.id]),
            tuple(segments[row.id]),
            keys.get(row.id, ()),
        )
        for row in connection.execute(select(COLLECTIONS).order_by(COLLECTIONS.c.id))
    )


def stored_definition(connection: Connection, collection_id: int) -> Definition | None:
    """One collection with its partitions, None where it is not there."""
    row = connection.execute(select(COLLECTIONS).where(COLLECTIONS.c.id == collection_id)).first()
    chosen = (
        select(PARTITIONS)
        .where(PARTITIONS.c.collection_id == collection_id)
        .order_by(PARTITIONS.c.id)
    )
    partitions = tuple(Partition(p.id, p.collection_id, p.tag) for p in connection.execute(chosen))
    return None if row is None else (collection_of(row._asdict()), partitions)
