"""Segments by their name, which is the decimal id that the statistics show: it lasts until a merge
or a compaction.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from milvine.catalog.model import SegmentRecord
from milvine.errors import CacheFull, SegmentNotFound
from milvine.events import Loaded, LoadedInPart
from milvine.search.plan import select_partitions
from milvine.segment import residency
from milvine.segment.version import LiveSegment, Version
from milvine.state.stores import Stores
from milvine.types import Ids


def segment_ids(stores: Stores, version: Version, name: str) -> Ids:
    """Ids of the live rows of one segment in insertion order, (rows,) int64.

    Raises:
        SegmentNotFound: no segment has this name, or one of another collection has it.
    """
    found = _named(version, name)
    if found is not None:
        return _in_insertion_order(found)
    others = [
        other.version for other in list(stores.states.values()) if other.id != version.collection.id
    ]
    if any(_named(version, name) for version in others):
        raise SegmentNotFound.elsewhere()
    raise SegmentNotFound


def preload(stores: Stores, version: Version, tags: Sequence[str], whole: bool = False) -> None:
    """Read the segments of the partitions that `tags` match (none: all) into memory; returns when
    that is done.

    Those for which `cache.cache_size` has no room are left where they are, and searches read them
    all the same.

    Args:
        whole: it is an error when some are left out.

    Raises:
        PartitionNotFound: no partition matches.
        CorruptFile, StorageFailed: a file cannot be read.
        CacheFull: with `whole`, there is no room for a segment.
    """
    left_out: list[SegmentRecord] = []
    for each in _in_scope(version, tags):
        if stores.closing.is_set():
            return
        try:
            _load(stores, each)
        except CacheFull:
            if whole:
                raise
            left_out.append(each.segment.record)
    if left_out:
        size = sum(map(_loaded_bytes, left_out))
        stores.events.emit(LoadedInPart(version.collection.name, len(left_out), size))


def _load(stores: Stores, each: LiveSegment) -> None:
    began, record = time.perf_counter(), each.segment.record
    residency.load(stores.files, each)
    if stores.events.busy:
        seconds = time.perf_counter() - began
        stores.events.emit(Loaded(record.collection_id, record.id, _loaded_bytes(record), seconds))


def _loaded_bytes(record: SegmentRecord) -> int:
    return record.data_bytes + record.index_bytes


def release(stores: Stores, version: Version, tags: Sequence[str]) -> None:
    """Let go of what `preload` with the same tags brought in.

    Raises:
        PartitionNotFound: no partition matches.
    """
    residency.release(stores.files, [each.segment for each in _in_scope(version, tags)])


def _in_scope(version: Version, tags: Sequence[str]) -> list[LiveSegment]:
    partitions = select_partitions(version, tags)
    return [
        s
        for s in version.segments
        if partitions is None or s.segment.record.partition_id in partitions
    ]


def _named(version: Version, name: str) -> LiveSegment | None:
    return next((each for each in version.segments if str(each.segment.record.id) == name), None)


def _in_insertion_order(each: LiveSegment) -> Ids:
    """Merges put segments after one another by id, so rows of a merged segment need not
    lie by age.
    """
    ids, lsns = each.segment.ids(), each.segment.lsns()
    if each.mask is not None:
        live = each.mask.to_bool()
        ids, lsns = ids[live], lsns[live]
    if np.any(lsns[1:] < lsns[:-1]):
        return ids[np.argsort(lsns, kind="stable")]
    return ids
