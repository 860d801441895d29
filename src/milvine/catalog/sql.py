"""The catalog on SQL: SQLite in the data folder. Every method is one durable transaction.

Only the writer thread calls the methods that change something.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from sqlalchemy import Connection, create_engine, delete, event, func, insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import StaticPool

from milvine.catalog.model import Contents, Edit, SegmentRecord, StoredCollection
from milvine.catalog.tables import COLLECTIONS, FACTS, METADATA, PARTITIONS, SEGMENTS
from milvine.errors import CatalogFailed
from milvine.events import CatalogCommitted, Events
from milvine.limits import DEFAULT_TAG
from milvine.storage.durable import sync_folder
from milvine.types import Collection, IdMode, IndexSetting, IndexType, MetricType, Partition

_DURABLE_LSN, _LAST_ID = "durable_lsn", "last_id"
_Row = dict[str, Any]


class Catalog:
    """An open catalog.

    Raises:
        CatalogFailed: from every method, when the database refuses; nothing of the transaction remains.
    """

    def __init__(self, path: Path, read_only: bool = False, events: Events | None = None) -> None:
        self._events = events or Events()
        where = f"file:{path}?mode=ro&uri=true" if read_only else str(path)
        self._engine = create_engine(
            f"sqlite:///{where}", poolclass=StaticPool, connect_args={"check_same_thread": False, "timeout": 30}
        )
        event.listen(self._engine, "connect", _read_pragmas if read_only else _durable_pragmas)
        if not read_only:
            new = not path.exists()
            with self._transaction() as connection:
                METADATA.create_all(connection)
            if new:
                sync_folder(path.parent)

    def close(self) -> None:
        self._engine.dispose()

    def contents(self) -> Contents:
        """Everything, collections and partitions in creation order."""
        with self._transaction() as connection:
            facts = {row.key: row.value for row in connection.execute(select(FACTS.c.key, FACTS.c.value))}
            partitions: dict[int, list[Partition]] = defaultdict(list)
            for row in connection.execute(select(PARTITIONS).order_by(PARTITIONS.c.id)):
                partitions[row.collection_id].append(Partition(row.id, row.collection_id, row.tag))
            segments: dict[int, list[SegmentRecord]] = defaultdict(list)
            for row in connection.execute(select(SEGMENTS).order_by(SEGMENTS.c.id)):
                segments[row.collection_id].append(_segment(row))
            stored = tuple(
                StoredCollection(_collection(row), row.flushed_lsn, tuple(partitions[row.id]), tuple(segments[row.id]))
                for row in connection.execute(select(COLLECTIONS).order_by(COLLECTIONS.c.id))
            )
        return Contents(stored, facts.get(_DURABLE_LSN, 0), facts.get(_LAST_ID, 0))

    def create_collection(
        self, name: str, dimension: int, metric: MetricType, index_file_size_mb: int, lsn: int
    ) -> StoredCollection:
        """Store a new collection with its `_default` partition. Rows will have LSNs above `lsn`."""
        values = {
            "name": name,
            "dimension": dimension,
            "metric": int(metric),
            "index_file_size_mb": index_file_size_mb,
            "id_mode": int(IdMode.UNDECIDED),
            "index_type": int(IndexType.FLAT),
            "index_params": "{}",
            "flushed_lsn": lsn,
        }
        with self._transaction() as connection:
            collection_id = _inserted(connection, COLLECTIONS, values)
            partition_id = _inserted(connection, PARTITIONS, {"collection_id": collection_id, "tag": DEFAULT_TAG})
        collection = Collection(collection_id, name, dimension, metric, index_file_size_mb)
        return StoredCollection(collection, lsn, (Partition(partition_id, collection_id, DEFAULT_TAG),), ())

    def drop_collection(self, collection_id: int) -> None:
        with self._transaction() as connection:
            connection.execute(delete(SEGMENTS).where(SEGMENTS.c.collection_id == collection_id))
            connection.execute(delete(PARTITIONS).where(PARTITIONS.c.collection_id == collection_id))
            connection.execute(delete(COLLECTIONS).where(COLLECTIONS.c.id == collection_id))

    def create_partition(self, collection_id: int, tag: str) -> Partition:
        with self._transaction() as connection:
            partition_id = _inserted(connection, PARTITIONS, {"collection_id": collection_id, "tag": tag})
        return Partition(partition_id, collection_id, tag)

    def drop_partition(self, partition_id: int) -> None:
        with self._transaction() as connection:
            connection.execute(delete(SEGMENTS).where(SEGMENTS.c.partition_id == partition_id))
            connection.execute(delete(PARTITIONS).where(PARTITIONS.c.id == partition_id))

    def apply(self, edit: Edit) -> None:
        """Commit an edit."""
        with self._transaction() as connection:
            gone = [*edit.removed, *(record.id for record in edit.changed)]
            if gone:
                connection.execute(delete(SEGMENTS).where(SEGMENTS.c.id.in_(gone)))
            kept = [_row(record) for record in (*edit.added, *edit.changed)]
            if kept:
                connection.execute(insert(SEGMENTS), kept)
            changes = _collection_changes(edit)
            if changes:
                connection.execute(update(COLLECTIONS).where(COLLECTIONS.c.id == edit.collection_id).values(**changes))
            _raise_fact(connection, _DURABLE_LSN, edit.flushed_lsn or 0)
            _raise_fact(connection, _LAST_ID, edit.last_id)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        began = perf_counter()
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise CatalogFailed(f"The catalog refused: {error}") from error
        if self._events:
            self._events.emit(CatalogCommitted(perf_counter() - began))


def _collection_changes(edit: Edit) -> _Row:
    changes: _Row = {}
    if edit.flushed_lsn is not None:
        changes["flushed_lsn"] = edit.flushed_lsn
    if edit.id_mode is not None:
        changes["id_mode"] = int(edit.id_mode)
    if edit.index is not None:
        changes |= {"index_type": int(edit.index.type), "index_params": edit.index.params_json}
    return changes


def _inserted(connection: Connection, table: Any, values: _Row) -> int:
    key = connection.execute(insert(table).values(**values)).inserted_primary_key
    assert key is not None
    return int(key[0])


def _raise_fact(connection: Connection, key: str, value: int) -> None:
    """A fact only ever grows."""
    if not value:
        return
    known = connection.execute(select(func.max(FACTS.c.value)).where(FACTS.c.key == key)).scalar()
    if known is None:
        connection.execute(insert(FACTS).values(key=key, value=value))
    elif value > known:
        connection.execute(update(FACTS).where(FACTS.c.key == key).values(value=value))


def _durable_pragmas(connection: Any, _: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _read_pragmas(connection: Any, _: object) -> None:
    connection.execute("PRAGMA query_only=ON")


def _collection(row: Any) -> Collection:
    return Collection(
        id=row.id,
        name=row.name,
        dimension=row.dimension,
        metric=MetricType(row.metric),
        index_file_size_mb=row.index_file_size_mb,
        id_mode=IdMode(row.id_mode),
        index=IndexSetting(IndexType(row.index_type), row.index_params),
    )


def _segment(row: Any) -> SegmentRecord:
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


def _row(record: SegmentRecord) -> _Row:
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
