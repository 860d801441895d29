"""Segments by their name, which is the decimal id that the statistics show: it lasts until a merge or a compaction."""

from __future__ import annotations

import numpy as np

from milvine.errors import SegmentNotFound
from milvine.ingest.state import CollectionState
from milvine.ingest.stores import Stores
from milvine.segment.version import LiveSegment, Version
from milvine.types import Ids


def segment_ids(stores: Stores, state: CollectionState, name: str) -> Ids:
    """Ids of the live rows of one segment in insertion order, (rows,) int64.

    Raises:
        SegmentNotFound: no segment has this name, or one of another collection has it.
    """
    found = _named(state.version, name)
    if found is not None:
        return _in_insertion_order(found)
    others = [other.version for other in list(stores.states.values()) if other is not state]
    if any(_named(version, name) for version in others):
        raise SegmentNotFound.elsewhere()
    raise SegmentNotFound


def _named(version: Version, name: str) -> LiveSegment | None:
    return next((each for each in version.segments if str(each.segment.record.id) == name), None)


def _in_insertion_order(each: LiveSegment) -> Ids:
    """Merges put segments after one another by id, so rows of a merged segment need not lie by age."""
    ids, lsns = each.segment.ids(), each.segment.lsns()
    if each.mask is not None:
        live = each.mask.to_bool()
        ids, lsns = ids[live], lsns[live]
    if np.any(lsns[1:] < lsns[:-1]):
        return ids[np.argsort(lsns, kind="stable")]
    return ids
