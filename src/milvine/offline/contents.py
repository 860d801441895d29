"""Whether what undamaged components say of themselves holds: counts, order, ranges, bitmaps,
records of the catalog.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from milvine.catalog.model import SegmentRecord
from milvine.index.finite import nonfinite_rows
from milvine.offline.component import Component
from milvine.offline.findings import Finding, damage
from milvine.segment.layout import Footer
from milvine.types import Collection, Ids


def lsns_of(component: Component, entry: Footer) -> NDArray[np.int64]:
    """When each row was inserted, int64 (rows,); nothing where the footer lies about where
    that is.
    """
    starts = component.section(entry, "lsn_starts", np.uint32)
    values = component.section(entry, "lsns", np.int64)
    assert starts is not None and values is not None
    counts = np.diff(np.append(starts.astype(np.int64), entry["rows"]))
    return np.empty(0, np.int64) if (counts < 0).any() else np.repeat(values, counts)


def ids_of(component: Component, entry: Footer) -> Ids:
    ids = component.section(entry, "ids", np.int64)
    assert ids is not None
    return ids


def check_rows(
    component: Component, entry: Footer, collection: Collection | None
) -> Iterator[Finding]:
    """Counts, order of ids, ranges of one segment of rows."""
    number, rows, spans = entry["id"], entry["rows"], entry["sections"]

    def wrong(section: str, what: str) -> Finding:
        return damage(
            component.file, spans.get(section, (0, 0))[0], f"segment {number}: {what}", number
        )

    width = {"ids": 8 * rows, "order": 4 * rows}
    if collection is not None:
        width["vectors"] = rows * collection.row_bytes
    for section, size in width.items():
        if section in spans and spans[section][1] != size:
            yield wrong(
                section, f"{section} take {spans[section][1]} bytes where {rows} rows take {size}"
            )
            return
    if component.sound(entry, "ids", "order"):
        ids = ids_of(component, entry)
        order = component.section(entry, "order", np.uint32)
        if order is not None and not np.array_equal(np.sort(order), np.arange(rows)):
            yield wrong("order", "the order of the ids is no permutation")
            return
        ordered = ids if order is None else ids[order]
        if np.any(ordered[1:] < ordered[:-1]):
            yield wrong("ids", "the ids do not ascend, so look-ups would miss some")
        if rows and [int(ordered[0]), int(ordered[-1])] != entry["id_range"]:
            yield wrong("ids", f"the footer says that ids are from {entry['id_range']}")
    if component.sound(entry, "lsn_starts", "lsns"):
        lsns = lsns_of(component, entry)
        if len(lsns) != rows or [int(lsns.min()), int(lsns.max())] != entry["lsn_range"]:
            yield wrong("lsns", f"the LSNs do not span {entry['lsn_range']}, as the footer says")


def check_tombstones(component: Component, entry: Footer) -> Iterator[Finding]:
    """The bitmap has a bit for each row, none beyond, and as many dead as the footer says."""
    if not component.sound(entry, "live"):
        return
    bits = component.section(entry, "live")
    rows, at = entry["rows"], entry["sections"]["live"][0]
    if bits is None or len(bits) != -(-rows // 8):
        yield damage(
            component.file, at, f"segment {entry['id']}: no bitmap of {rows} rows", entry["id"]
        )
        return
    live = np.unpackbits(bits, bitorder="little")
    if live[rows:].any() or rows - int(live.sum()) != entry["dead"]:
        what = (
            f"segment {entry['id']}: {rows - int(live[:rows].sum())} rows are dead, the footer says"
            f" {entry['dead']}"
        )
        yield damage(component.file, at, what, entry["id"])


def live_nonfinite(
    record: SegmentRecord, collection: Collection, files: dict[str, Component]
) -> int:
    """How many live rows of a sound segment no search finds (`milvine.index.finite`); 0 of
    one that is not sound."""
    component = files.get(record.rows_file)
    entry = component.entry(record.id) if component and component.footer else None
    if component is None or entry is None or not component.sound(entry, "vectors"):
        return 0
    vectors = component.section(entry, "vectors", collection.dtype)
    if vectors is None or vectors.size != record.rows * collection.width:
        return 0
    rows = nonfinite_rows(vectors.reshape(record.rows, collection.width))
    tombstones = files.get(record.tombstone_file or "")
    dead = tombstones.entry(record.id) if len(rows) and tombstones and tombstones.footer else None
    bits = (
        tombstones.section(dead, "live")
        if tombstones and dead and tombstones.sound(dead, "live")
        else None
    )
    if bits is None or len(bits) * 8 < record.rows:
        return len(rows)
    return int(np.count_nonzero(np.unpackbits(bits, bitorder="little")[rows]))


def check_record(record: SegmentRecord, files: dict[str, Component]) -> Iterator[Finding]:
    """What the catalog says of a segment against the footers of its files."""
    for name, kind in (
        (record.rows_file, "rows"),
        (record.tombstone_file, "dead"),
        (record.index_file, "index"),
    ):
        component = files.get(name or "")
        if name is None or (component is not None and component.footer is None):
            continue  # reported with the file
        if component is None:
            yield _missing(record, name, kind)
            continue
        entry = component.entry(record.id)
        if entry is None:
            what = f"it does not hold segment {record.id}, which the catalog looks for in it"
            yield damage(component.file, component.body_end, what, record.id)
            continue
        for what in _differences(record, kind, entry, component):
            yield damage(
                component.file, component.body_end, f"segment {record.id}: {what}", record.id
            )


def _missing(record: SegmentRecord, name: str, kind: str) -> Finding:
    lost = {
        "rows": f"the {record.rows - record.dead} rows of segment {record.id} are in it",
        "dead": f"it says which {record.dead} rows of segment {record.id} are deleted",
        "index": (
            f"it is the index of segment {record.id}, which is searched exactly until it is built"
            " anew"
        ),
    }[kind]
    return Finding(
        f"segments/{name}", None, f"the file is missing: {lost}", kind != "index", record.id
    )


def _differences(
    record: SegmentRecord, kind: str, entry: Footer, component: Component
) -> Iterator[str]:
    if entry["collection"]["id"] != record.collection_id:
        yield (
            f"it belongs to collection {entry['collection']['id']}, the catalog says"
            f" {record.collection_id}"
        )
    if entry["rows"] != record.rows:
        yield f"the footer says {entry['rows']} rows, the catalog {record.rows}"
    if kind == "rows" and entry["lsn_range"] != [record.min_lsn, record.max_lsn]:
        yield (
            f"the footer says LSNs {entry['lsn_range']}, the catalog"
            f" {[record.min_lsn, record.max_lsn]}"
        )
    if kind == "rows" and entry["partition"]["id"] != record.partition_id:
        yield (
            f"it is of partition {entry['partition']['id']}, the catalog says {record.partition_id}"
        )
    if kind == "dead" and entry["dead"] != record.dead:
        yield f"the footer says {entry['dead']} deleted rows, the catalog {record.dead}"
    if kind == "index" and record.index_bytes != component.size:
        yield f"it has {component.size} bytes, the catalog says {record.index_bytes}"
