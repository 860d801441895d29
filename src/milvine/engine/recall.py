"""How much the indexes of a collection find, by their search parameter: what was measured when they
were built, and what a recall comes to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from milvine.index.params import RECALL
from milvine.index.registry import spec
from milvine.search.check import check_params, check_topk
from milvine.segment.version import LiveSegment, Version
from milvine.types import IndexType, RecallPoint

RECALL_ASKED, HITS_ASKED = 0.95, 10


@dataclass(frozen=True, slots=True)
class MeasuredCurve:
    """Recall at k, by ascending values of the parameter."""

    k: int
    points: tuple[RecallPoint, ...]


@dataclass(frozen=True, slots=True)
class SegmentRecall:
    """Of one segment.

    Attributes:
        segment: its id in decimal, as in the statistics.
        kind: the type of its index, or `exact` without one.
        samples: rows that were searched for; 0 where nothing was measured.
        curves: none where nothing was measured.
        picked: the search parameters for the recall that is asked about; None where all rows are
            compared.
    """

    segment: str
    rows: int
    live: int
    kind: str
    samples: int
    curves: tuple[MeasuredCurve, ...]
    picked: Mapping[str, int] | None


@dataclass(frozen=True, slots=True)
class CollectionRecall:
    """Of a collection.

    Attributes:
        parameter: that of the index type; empty where a recall cannot be asked for in its place.
        recall, topk: what is asked about.
        picked: the search parameters with which every index finds so much; None where there is
            none, or one does not.
    """

    index_type: str
    parameter: str
    recall: float
    topk: int
    picked: Mapping[str, int] | None
    segments: tuple[SegmentRecall, ...]


def collection_recall(
    version: Version, recall: float = RECALL_ASKED, topk: int = HITS_ASKED
) -> CollectionRecall:
    """What is known of the indexes of a version.

    Raises:
        IllegalTopk, IllegalArgument: what is asked about cannot be.
        CorruptFile, StorageFailed: the file of an index cannot be read.
    """
    collection = version.collection
    check_topk(topk)
    kind = spec(collection.index.type, collection.metric.is_binary)
    if kind.breadth is not None:
        check_params({RECALL: recall}, topk, collection)
    segments = tuple(_of(each, recall, topk) for each in version.segments)
    indexed = [each.picked for each in segments if each.kind != "exact"]
    picks = [each for each in indexed if each is not None]
    key = "" if kind.breadth is None else kind.breadth.key
    all_find = bool(picks) and len(picks) == len(indexed)
    widest = max(picks, key=lambda each: each[key]) if all_find else None
    return CollectionRecall(collection.index.type.name, key, recall, topk, widest, segments)


def _of(each: LiveSegment, recall: float, topk: int) -> SegmentRecall:
    segment = each.segment
    record, rows = segment.record, segment.rows
    tuning = segment.tuning(each.mask) if segment.indexed else None
    table = None if tuning is None else tuning.table
    indexed = segment.indexed and record.index.type is not IndexType.FLAT
    return SegmentRecall(
        segment=str(record.id),
        rows=rows,
        live=each.live,
        kind=record.index.type.name if indexed else "exact",
        samples=0 if table is None else table.samples,
        curves=()
        if table is None
        else tuple(MeasuredCurve(curve.k, curve.points) for curve in table.curves),
        picked=None if tuning is None else tuning.params(recall, min(topk, rows)),
    )
