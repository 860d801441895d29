"""The estimate: everything about one collection, in bytes."""

from __future__ import annotations

from dataclasses import dataclass

from milvine.config import Settings
from milvine.sizing import files
from milvine.sizing.official import Official, official
from milvine.sizing.shape import Load, Segment, check
from milvine.types import IndexType

PROCESS_BYTES = 120 << 20
"""A server with numpy, faiss, gRPC and REST before it holds a row: measured, see
docs/operations/sizing.md.
"""
_ROW_OVERHEAD = 24
"""Id, partition and LSN of an unflushed row."""


@dataclass(frozen=True, slots=True)
class Memory:
    """`mapped_searched` is part of `mapped`: pages of files that every search may read. The rest is
    read for hits (ids, vectors) or not at all. `anonymous` is allocated: open indexes and, per
    searching thread, their notes."""

    mapped: int
    mapped_searched: int
    indexes: int
    searching: int
    unflushed: int

    @property
    def anonymous(self) -> int:
        return self.indexes + self.searching

    @property
    def searched(self) -> int:
        """Keep so much free for searches that never wait for the disk."""
        return self.mapped_searched + self.anonymous

    @property
    def loaded(self) -> int:
        """After load_collection: all that could be read is in memory."""
        return self.mapped + self.anonymous


@dataclass(frozen=True, slots=True)
class Disk:
    """`rows` and `indexes` stay. `transient` comes on top while a merge, an index build or a
    compaction runs, and for `storage.file_cleanup_timeout` after it; `log` while rows are being
    inserted."""

    rows: int
    indexes: int
    transient: int
    log: int

    @property
    def stable(self) -> int:
        return self.rows + self.indexes

    @property
    def peak(self) -> int:
        return self.stable + self.transient + self.log


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes. `build_anonymous` is what the builder of the largest segment allocates; `build_mapped`
    are its rows.
    """

    load: Load
    segments: int
    indexed_segments: int
    memory: Memory
    disk: Disk
    build_anonymous: int
    build_mapped: int
    official: Official | None


def estimate(load: Load, settings: Settings | None = None) -> Estimate:
    """The figures of one collection in one partition.

    Raises:
        IllegalArgument, IllegalDimension, IllegalIndexType: see `shape.check`.
    """
    check(load)
    settings = settings or Settings()
    segments = load.segments()
    largest = max((s.rows for s in segments if s.indexed), default=0)
    return Estimate(
        load,
        len(segments),
        sum(s.indexed for s in segments),
        _memory(load, segments, settings),
        _disk(load, segments, settings),
        load.sizes.building(load.indexed(largest)) if largest else 0,
        largest * load.row_bytes,
        official(load),
    )


def _memory(load: Load, segments: tuple[Segment, ...], settings: Settings) -> Memory:
    sizes, indexed = load.sizes, [load.indexed(s.rows) for s in segments if s.indexed]
    raw = sum(s.rows for s in segments if not s.indexed)
    images = sum(map(sizes.image, indexed))
    return Memory(
        mapped=load.vectors * (load.row_bytes + 8) + images,
        mapped_searched=raw * load.row_bytes + sum(map(sizes.read, indexed)),
        indexes=sum(map(sizes.opened, indexed)),
        searching=load.search_threads * max(map(sizes.searching, indexed), default=0),
        unflushed=min(
            load.vectors * (load.row_bytes + _ROW_OVERHEAD), settings.auto_flush_tail_bytes
        ),
    )


def _disk(load: Load, segments: tuple[Segment, ...], settings: Settings) -> Disk:
    rows = sum(files.rows_file(load, s.rows) for s in segments)
    indexes = sum(files.index_file(load, s.rows) for s in segments if s.indexed)
    return Disk(rows, indexes, _transient(load, segments, rows + indexes), _log(load, settings))


def _transient(load: Load, segments: tuple[Segment, ...], stable: int) -> int:
    """A merge packs segments until they reach the target, so its result has up to twice as many
    rows.
    """
    largest = max(segments, key=lambda s: s.rows)
    merged = files.rows_file(load, 2 * largest.rows)
    if load.index_type is not IndexType.FLAT:
        merged += files.index_file(load, 2 * largest.rows)
    return min(stable, merged)


def _log(load: Load, settings: Settings) -> int:
    """All of it at most; in the long run a file that still holds unflushed rows, those behind it,
    and what is inserted while they are flushed."""
    if not settings.wal_enable:
        return 0
    held = settings.wal_file_bytes + 2 * settings.auto_flush_tail_bytes
    return files.LOG_HEADER_BYTES + min(files.log_bytes(load, load.vectors), held)
