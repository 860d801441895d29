"""Writing components: a pack of rows for one or more segments, a pack of tombstones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from milvine.catalog.encoding import described
from milvine.catalog.model import SegmentRecord
from milvine.index.finite import nonfinite_rows
from milvine.index.flat import FLAT_HEADER_BYTES, flat_header
from milvine.limits import INDEX_ROWS_MIN
from milvine.segment.layout import ComponentWriter, Footer, SectionSpan
from milvine.storage.base import Storage
from milvine.types import Collection, Ids, MetricType, Partition, RowMask, Vectors


@dataclass(frozen=True, slots=True)
class RowSet:
    """The rows of one new segment, in storage order.

    `lsns` (rows,) int64 says when each row was inserted; `vectors` may be given as several blocks
    of one width.
    """

    segment_id: int
    partition: Partition
    ids: Ids
    lsns: NDArray[np.int64]
    vectors: Iterable[Vectors]
    replaces: tuple[int, ...] = ()


def write_rows(
    storage: Storage,
    name: str,
    collection: Collection,
    sets: Sequence[RowSet],
    index_rows_min: int = INDEX_ROWS_MIN,
) -> int:
    """Write one pack file with a segment for each row set, durably; those of fewer rows will never
    have an index.

    Returns how many of the rows no search finds (`milvine.index.finite`). The footer
    says it of each segment.

    Raises:
        StorageFailed: nothing of the file remains.
    """
    with storage.create(name) as sink:
        writer = ComponentWriter(sink)
        small = [rows for rows in sets if len(rows.ids) < index_rows_min]
        large = [rows for rows in sets if len(rows.ids) >= index_rows_min]
        entries = [_write_segment(writer, collection, rows) for rows in large]
        entries += _write_neighbours(writer, collection, small)
        writer.finish("rows", entries)
    return sum(entry["nonfinite"] for entry in entries)


def segment_record(collection: Collection, rows: RowSet, name: str) -> SegmentRecord:
    """The catalog record of a segment just written into file `name`."""
    return SegmentRecord(
        id=rows.segment_id,
        collection_id=collection.id,
        partition_id=rows.partition.id,
        rows_file=name,
        rows=len(rows.ids),
        data_bytes=len(rows.ids) * (collection.row_bytes + 8),
        min_lsn=int(rows.lsns.min()),
        max_lsn=int(rows.lsns.max()),
    )


def _write_segment(writer: ComponentWriter, collection: Collection, rows: RowSet) -> Footer:
    """A segment that may be indexed: its vectors follow a faiss Flat header, so that kernels can
    share them.
    """
    nonfinite: list[int] = []
    start, length = _write_flat(writer, collection, rows, nonfinite)
    sections: dict[str, Any] = {"flat": (start, length)}
    sections["vectors"] = (start + FLAT_HEADER_BYTES, length - FLAT_HEADER_BYTES)
    sections["ids"] = writer.section(_bytes(rows.ids))
    return _describe_rows(writer, collection, rows, sections, sum(nonfinite))


def _write_neighbours(
    writer: ComponentWriter, collection: Collection, sets: Sequence[RowSet]
) -> list[Footer]:
    """Segments too small for an index, one after another without a gap: a search scans all of them
    in one call.
    """
    writer.align()
    nonfinite: list[list[int]] = [[] for _ in sets]
    vectors = [
        _write_plain(writer, _counted(rows.vectors, each))
        for rows, each in zip(sets, nonfinite, strict=True)
    ]
    writer.align()
    ids = [_write_plain(writer, [rows.ids]) for rows in sets]
    spans = ({"vectors": a, "ids": b} for a, b in zip(vectors, ids, strict=True))
    each = zip(sets, spans, nonfinite, strict=True)
    return [
        _describe_rows(writer, collection, rows, sections, sum(odd)) for rows, sections, odd in each
    ]


def _counted(blocks: Iterable[Vectors], nonfinite: list[int]) -> Iterator[Vectors]:
    """The same blocks; `nonfinite` gets for each how many of its rows no search finds."""
    for block in blocks:
        nonfinite.append(len(nonfinite_rows(block)))
        yield block


def _write_plain(writer: ComponentWriter, arrays: Iterable[NDArray[Any]]) -> SectionSpan:
    start = writer.position
    for array in arrays:
        writer.write(_bytes(array))
    return start, writer.position - start


def _describe_rows(
    writer: ComponentWriter, collection: Collection, rows: RowSet, sections: Footer, nonfinite: int
) -> Footer:
    """The footer's entry of a segment, its remaining sections written on the way."""
    if np.any(rows.ids[1:] < rows.ids[:-1]):
        sections["order"] = writer.section(
            _bytes(np.argsort(rows.ids, kind="stable").astype(np.uint32))
        )
    starts = np.flatnonzero(np.r_[True, rows.lsns[1:] != rows.lsns[:-1]])
    sections["lsn_starts"] = writer.section(_bytes(starts.astype(np.uint32)))
    sections["lsns"] = writer.section(_bytes(rows.lsns[starts]))
    return {
        "id": rows.segment_id,
        "collection": described(collection),
        "partition": {"id": rows.partition.id, "tag": rows.partition.tag},
        "rows": len(rows.ids),
        "lsn_range": [int(rows.lsns.min()), int(rows.lsns.max())],
        "id_range": [int(rows.ids.min()), int(rows.ids.max())],
        "replaces": list(rows.replaces),
        "nonfinite": nonfinite,
        "sections": sections,
    }


def _write_flat(
    writer: ComponentWriter, collection: Collection, rows: RowSet, nonfinite: list[int]
) -> tuple[int, int]:
    """A faiss Flat image whose payload is aligned: kernels and numpy share the one copy of the
    vectors.

    Binary collections have the same room before their bytes, so that all segments are laid out
    alike.
    """
    writer.align(after=FLAT_HEADER_BYTES)
    start = writer.position
    metric = MetricType.L2 if collection.metric.is_binary else collection.metric
    writer.write(flat_header(collection.dimension, len(rows.ids), metric))
    for block in _counted(rows.vectors, nonfinite):
        writer.write(_bytes(block))
    return start, writer.position - start


def write_tombstones(
    storage: Storage,
    name: str,
    collection: Collection,
    masks: Sequence[tuple[int, RowMask]],
    lsn: int,
) -> None:
    """Write one pack file with the live bitmap of each (segment id, mask), durably. They hold
    deletes up to `lsn`.
    """
    with storage.create(name) as sink:
        writer = ComponentWriter(sink)
        segments = []
        for segment_id, mask in masks:
            sections = {"live": writer.section(_bytes(mask.bits))}
            entry = {
                "id": segment_id,
                "collection": described(collection),
                "rows": mask.rows,
                "dead": mask.dead,
            }
            segments.append({**entry, "lsn": lsn, "sections": sections})
        writer.finish("tombstones", segments)


def _bytes(array: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
