"""What a database holds at this moment, as plain numbers: for metrics and for whoever asks how far
a build is.

Read from published versions, from the names and sizes of files and from their footers: no lock is
taken and no vector is read, but those of the tail once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from milvine.engine.opening import Opening
from milvine.limits import INDEX_ROWS_MIN
from milvine.segment.version import LiveSegment, Version
from milvine.state.stores import Stores
from milvine.types import IndexType

_KINDS = {"rows-": "rows", "index-": "index", "dead-": "tombstones"}


@dataclass(frozen=True, slots=True)
class Building:
    """An index that is being built: `done` of `rows` rows have gone through its present stage.

    `seconds` is how long it had run when it told last.
    """

    segment: str
    index_type: str
    stage: str
    done: int
    rows: int
    seconds: float


@dataclass(frozen=True, slots=True)
class CollectionFacts:
    """Numbers about one collection; sizes in bytes.

    Attributes:
        rows: live rows, flushed or not.
        nonfinite_rows: of `rows`, those that no search finds.
        tombstones: rows that are deleted and not yet removed from segments or tail.
        indexed_segments: of all `segments`, those with a built index.
        built_rows: rows of those.
        pending_rows: rows of segments that are large enough for the index of the collection and
            lack it.
        row_bytes, index_bytes: of the files that the catalog names.
    """

    name: str
    index_type: str
    rows: int
    nonfinite_rows: int
    tail_rows: int
    tail_bytes: int
    tombstones: int
    segments: int
    indexed_segments: int
    built_rows: int
    pending_rows: int
    row_bytes: int
    index_bytes: int
    building: tuple[Building, ...]


@dataclass(frozen=True, slots=True)
class Inspection:
    """Numbers about a database.

    Attributes:
        waiting: requests queued for the writer.
        unflushed_seconds: age of the oldest row that is in the log only.
        open_files: names of the component files that are open.
        file_accesses: how often one was asked for since the start.
        disk_bytes: what lies in the data folder, by kind: rows, index, tombstones, log, catalog,
            other.
    """

    collections: tuple[CollectionFacts, ...]
    waiting: int
    unflushed_seconds: float
    open_files: tuple[str, ...]
    file_accesses: int
    disk_bytes: dict[str, int]
    mapped_folder: Path | None


def inspect(parts: Opening) -> Inspection:
    """The numbers of an open database."""
    stores, now = parts.stores, time.monotonic()
    states = list(stores.states.values())
    since = [began for state in states if (began := state.pending_since) is not None]
    return Inspection(
        tuple(_collection(state.version, _building(stores, state.id)) for state in states),
        parts.writer.waiting,
        now - min(since, default=now),
        stores.files.opened(),
        stores.files.accesses,
        _disk_bytes(parts),
        stores.storage.mapped_folder,
    )


def _collection(version: Version, building: tuple[Building, ...]) -> CollectionFacts:
    collection, segments = version.collection, version.segments
    indexed = [each for each in segments if each.segment.record.indexed]
    tail_rows = sum(block.rows for block in version.tail)
    dead = sum(block.mask.dead for block in version.tail if block.mask)
    return CollectionFacts(
        name=collection.name,
        index_type=str(collection.index.type),
        rows=version.live_rows(),
        nonfinite_rows=version.nonfinite_rows(),
        tail_rows=tail_rows,
        # Vectors, and id, partition and LSN of each row.
        tail_bytes=tail_rows * (collection.row_bytes + 24),
        tombstones=dead + sum(each.segment.rows - each.live for each in segments),
        segments=len(segments),
        indexed_segments=len(indexed),
        built_rows=sum(each.segment.rows for each in indexed),
        pending_rows=sum(each.segment.rows for each in segments if _pending(version, each)),
        row_bytes=sum(each.segment.record.data_bytes for each in segments),
        index_bytes=sum(each.segment.record.index_bytes for each in segments),
        building=building,
    )


def _pending(version: Version, each: LiveSegment) -> bool:
    if version.collection.index.type is IndexType.FLAT:
        return False
    return each.segment.record.index_file is None and each.segment.rows >= INDEX_ROWS_MIN


def _building(stores: Stores, collection_id: int) -> tuple[Building, ...]:
    return tuple(
        Building(
            str(each.segment_id), each.index_type, each.stage, each.done, each.rows, each.seconds
        )
        for each in stores.builds.copy().values()
        if each.collection_id == collection_id
    )


def _disk_bytes(parts: Opening) -> dict[str, int]:
    sizes = dict.fromkeys((*_KINDS.values(), "log", "catalog", "other"), 0)
    for name, size in parts.stores.storage.sizes().items():
        kind = next((kind for prefix, kind in _KINDS.items() if name.startswith(prefix)), "other")
        sizes[kind] += size
    sizes["log"] = sum(size for _, size in _files(parts.folder.wal))
    catalog = parts.folder.catalog
    sizes["catalog"] = sum(
        size for name, size in _files(catalog.parent) if name.startswith(catalog.name)
    )
    return sizes


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    """Name and bytes of every file; those that go meanwhile are left out."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        try:
            if entry.is_file(follow_symlinks=False):
                yield entry.name, entry.stat().st_size
        except OSError:
            continue
