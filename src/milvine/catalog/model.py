"""The rows of the catalog and the change that one commit makes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from milvine.types import Collection, IdMode, IndexSetting, IndexType, Partition


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """One immutable segment and the files that belong to it.

    `rows_file` may hold other segments too; its footer tells where this one lies. `index_file` is
    set once built. `dead` counts the rows that `tombstone_file` marks as deleted.
    """

    id: int
    collection_id: int
    partition_id: int
    rows_file: str
    rows: int
    data_bytes: int
    min_lsn: int
    max_lsn: int
    index: IndexSetting = field(default_factory=IndexSetting)
    index_file: str | None = None
    index_bytes: int = 0
    tombstone_file: str | None = None
    dead: int = 0

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(f for f in (self.rows_file, self.index_file, self.tombstone_file) if f)

    @property
    def indexed(self) -> bool:
        """Whether its index file holds a built index."""
        return self.index_file is not None and self.index.type is not IndexType.FLAT

    @property
    def coded(self) -> bool:
        """Whether it holds codes, for exact searches."""
        return self.index_file is not None and self.index.type is IndexType.FLAT

    def without_index(self) -> SegmentRecord:
        return replace(self, index=IndexSetting(), index_file=None, index_bytes=0)


@dataclass(frozen=True, slots=True)
class InsertKey:
    """An insert that came with an idempotency key (16 bytes).

    `first_id_or_checksum`: of its ids, the first if they were generated, else a checksum of all.
    """

    key: bytes
    lsn: int
    first_id_or_checksum: int
    count: int
    generated: bool


@dataclass(frozen=True, slots=True)
class Edit:
    """One change to one collection, committed in one transaction. `changed` replaces records of the
    same id.
    """

    collection_id: int
    added: tuple[SegmentRecord, ...] = ()
    changed: tuple[SegmentRecord, ...] = ()
    removed: tuple[int, ...] = ()
    flushed_lsn: int | None = None
    id_mode: IdMode | None = None
    index: IndexSetting | None = None
    last_id: int = 0
    keys: tuple[InsertKey, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredCollection:
    collection: Collection
    flushed_lsn: int
    partitions: tuple[Partition, ...]
    segments: tuple[SegmentRecord, ...]
    keys: tuple[InsertKey, ...] = ()


@dataclass(frozen=True, slots=True)
class Mark:
    """What a reader sees of the catalog without reading it: which one it is, and which
    commit is its newest."""

    catalog: object
    commit: object


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything the catalog holds.

    Attributes:
        durable_lsn: records up to it had been durable in the log.
        last_id: no id of a row or of a segment up to it is given again.
        last_collection_id, last_partition_id: the highest that were ever
            given, dropped ones included.
    """

    collections: tuple[StoredCollection, ...]
    durable_lsn: int
    last_id: int
    last_collection_id: int = 0
    last_partition_id: int = 0

    @property
    def flushed(self) -> dict[int, int]:
        """By collection id, the LSN up to which its records are in segments."""
        return {each.collection.id: each.flushed_lsn for each in self.collections}
