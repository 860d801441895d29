"""What the catalog should say: from itself where it is sound, else from definitions, footers and
the log.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from milvine.catalog.definition_files import Definition, read_definitions
from milvine.catalog.encoding import collection_of
from milvine.catalog.model import SegmentRecord
from milvine.catalog.sql import DEFINITIONS
from milvine.offline.component import Component
from milvine.offline.stored_rows import Live, Logged, Piece, bury, live_bits, read_piece
from milvine.offline.survey import Survey
from milvine.segment.layout import Footer
from milvine.types import Collection, Partition


@dataclass
class Resolved:
    """One collection: segments that stay as they are, pieces of damaged ones, and what the log
    adds.

    `whole` pairs each segment with the rows that are live; `parts` gives for each damaged segment
    the rows to save; `unreadable` has live rows and range of LSNs of segments of which nothing can
    be read; `lost` counts live rows that nothing holds any more. `given`: LSNs of the inserts that
    are taken from the log.
    """

    collection: Collection
    partitions: tuple[Partition, ...]
    flushed_lsn: int
    whole: list[tuple[SegmentRecord, Piece]] = field(default_factory=list)
    parts: list[tuple[Piece, Live]] = field(default_factory=list)
    unreadable: list[tuple[int, int, int]] = field(default_factory=list)
    given: set[int] = field(default_factory=set)
    lost: int = 0
    returning: int = 0  # deleted rows that may come back, at most
    damaged: bool = False
    notes: list[str] = field(default_factory=list)

    def held_lsns(self) -> set[int]:
        """LSNs of the inserts that segments hold, whole or as far as anything does."""
        held = [piece.lsns for _, piece in self.whole] + [
            piece.lsns[piece.sound] for piece, _ in self.parts
        ]
        return set(np.unique(np.concatenate(held)).tolist()) if held else set()

    def supplement(self, logged: Logged) -> set[int]:
        """Leave to the log what it has whole and a damaged segment has in part; count what is lost.
        Returns the LSNs that the log has to give."""
        held, there = self.held_lsns(), {lsn: len(each.ids) for lsn, each in logged.inserts.items()}
        for piece, rows in self.parts:
            broken = set(np.unique(piece.lsns[~piece.sound]).tolist()) & there.keys()
            held -= broken
            from_log = np.isin(piece.lsns, list(broken))
            rows &= ~from_log
            self.lost += int((piece.live & ~piece.sound & ~from_log).sum())
        for rows_there, first, last in self.unreadable:
            given = sum(
                count for lsn, count in there.items() if first <= lsn <= last and lsn not in held
            )
            self.lost += max(rows_there - given, 0)
        return {
            lsn for lsn in there if lsn not in held and (self.damaged or lsn > self.flushed_lsn)
        }


def definitions_of(survey: Survey) -> list[Definition]:
    """Collections and partitions: of the catalog, of the definitions beside it, or of the
    footers.
    """
    if survey.trusted is not None:
        return [(each.collection, each.partitions) for each in survey.trusted.collections]
    definitions, damaged = read_definitions(survey.root / DEFINITIONS)
    ids = {collection.id for collection, _ in definitions}
    described = _described(survey)
    if not definitions and not damaged:
        return list(described.values())
    # a collection without a file was dropped, unless its file is the damaged one
    return definitions + [
        described[number] for number in sorted(damaged.keys() - ids) if number in described
    ]


def _described(survey: Survey) -> dict[int, Definition]:
    """What the newest footers say, by collection id; of two collections of one name the older one
    was dropped.
    """
    newest: dict[int, Footer] = {}
    partitions: dict[int, dict[int, str]] = defaultdict(dict)
    for component in survey.components.values():
        for entry in component.entries:
            number = entry["collection"]["id"]
            if "name" in entry["collection"] and entry["id"] >= newest.get(number, {"id": 0})["id"]:
                newest[number] = entry
            if "partition" in entry:
                partitions[number][entry["partition"]["id"]] = entry["partition"]["tag"]
    by_name: dict[str, Collection] = {}
    for number in sorted(newest):
        collection = collection_of(newest[number]["collection"])
        by_name[collection.name] = collection
    return {
        each.id: (
            each,
            tuple(Partition(p, each.id, tag) for p, tag in sorted(partitions[each.id].items())),
        )
        for each in by_name.values()
    }


def resolve(survey: Survey, definition: Definition, logged: Logged) -> Resolved:
    """The segments of one collection, damaged ones in pieces, with every row that is known to be
    dead marked so.
    """
    collection, partitions = definition
    collections = survey.trusted.collections if survey.trusted else ()
    stored = next((each for each in collections if each.collection.id == collection.id), None)
    out = Resolved(collection, partitions, stored.flushed_lsn if stored else 0)
    if stored:
        for record in stored.segments:
            _take_record(survey, record, out)
    else:
        _take_footers(survey, out)
    for record, piece in out.whole:
        piece.live = piece.live & ~logged.killed(piece.ids, piece.lsns, record.partition_id)
    for piece, rows in out.parts:
        killed = logged.killed(piece.ids, piece.lsns, piece.partition)
        piece.live = piece.live & ~killed
        rows &= ~killed
    return out


def _take_record(survey: Survey, record: SegmentRecord, out: Resolved) -> None:
    """A segment that a sound catalog names."""
    component = survey.components.get(record.rows_file)
    entry = component.entry(record.id) if component else None
    live, as_committed = _live(survey, record, out)
    piece = read_piece(component, entry, live) if component and entry else None
    if piece is None:
        out.damaged = True
        out.unreadable.append((record.rows - record.dead, record.min_lsn, record.max_lsn))
        out.notes.append(
            f"segment {record.id} in {record.rows_file} cannot be read: {record.rows - record.dead}"
            " rows"
        )
        return
    if not as_committed:
        out.damaged = True
    _take(piece, record, out)


def _live(survey: Survey, record: SegmentRecord, out: Resolved) -> tuple[Live | None, bool]:
    """The live rows as tombstone files have them (None: all), and whether that is what the catalog
    meant.
    """
    if record.tombstone_file is None:
        return None, True
    component = survey.components.get(record.tombstone_file)
    entry = component.entry(record.id) if component else None
    live = live_bits(component, entry) if component and entry else None
    if live is not None:
        return live, True
    others = list(_generations(survey, record.id))
    joined = np.logical_and.reduce(others) if others else None
    missing = record.dead - (0 if joined is None else int((~joined).sum()))
    out.returning += max(missing, 0)
    out.notes.append(
        f"{record.tombstone_file} cannot be read: up to {max(missing, 0)} deleted rows may come"
        " back"
    )
    return joined, False


def _generations(survey: Survey, segment_id: int) -> Iterator[Live]:
    for component in survey.components.values():
        entry = component.entry(segment_id) if component.name.startswith("dead-") else None
        live = live_bits(component, entry) if entry else None
        if live is not None:
            yield live


def _take(piece: Piece, record: SegmentRecord, out: Resolved) -> None:
    if piece.sound.all() and piece.component.sound(piece.entry):
        out.whole.append((record, piece))
        return
    out.damaged = True
    lost = int((piece.live & ~piece.sound).sum())
    out.notes.append(
        f"segment {piece.number} in {piece.component.name} is damaged: {lost} of its rows cannot be"
        " read"
    )
    out.parts.append((piece, piece.sound & piece.live))


def _take_footers(survey: Survey, out: Resolved) -> None:
    """Without a catalog: the newest sound segments, and of those they replaced what they do not
    hold.
    """
    partitions = {partition.id for partition in out.partitions}
    pieces: list[Piece] = []
    unreadable: list[tuple[Component, Footer]] = []
    replaced: set[int] = set()
    for component in survey.components.values():
        for entry in component.entries:
            if "ids" not in entry["sections"] or entry["collection"]["id"] != out.collection.id:
                continue
            joined = list(_generations(survey, entry["id"]))
            piece = read_piece(component, entry, np.logical_and.reduce(joined) if joined else None)
            if entry["partition"]["id"] not in partitions:
                continue
            if piece is None:
                unreadable.append((component, entry))
                continue
            pieces.append(piece)
            replaced |= set(entry["replaces"]) if piece.sound.all() else set()
    bury(pieces)
    held: set[int] = set()
    for piece in sorted(pieces, key=lambda p: -p.number):
        if piece.number in replaced:
            continue
        fresh = ~np.isin(piece.lsns, list(held))
        held |= set(np.unique(piece.lsns[piece.sound]).tolist())
        if fresh.all():
            _take(piece, _record(survey, piece, out.collection), out)
        elif (fresh & piece.sound & piece.live).any():
            out.parts.append((piece, fresh & piece.sound & piece.live))
    for component, entry in unreadable:
        if entry["id"] not in replaced:
            out.damaged = True
            out.unreadable.append((entry["rows"], *entry["lsn_range"]))
            out.notes.append(
                f"segment {entry['id']} in {component.name} cannot be read: {entry['rows']} rows"
            )
    out.whole.sort(key=lambda pair: pair[0].id)


def _record(survey: Survey, piece: Piece, collection: Collection) -> SegmentRecord:
    """The catalog's record of a segment, from footers alone."""
    entry = piece.entry
    record = SegmentRecord(
        id=piece.number,
        collection_id=collection.id,
        partition_id=piece.partition,
        rows_file=piece.component.name,
        rows=entry["rows"],
        data_bytes=entry["rows"] * (collection.row_bytes + 8),
        min_lsn=entry["lsn_range"][0],
        max_lsn=entry["lsn_range"][1],
    )
    return indexed(survey, record, collection)


def indexed(survey: Survey, record: SegmentRecord, collection: Collection) -> SegmentRecord:
    """The record with the newest sound index over it that has the collection's setting, if there is
    one.
    """
    found: list[Component] = []
    for component in survey.components.values():
        entry = component.entry(record.id) if component.name.startswith("index-") else None
        if entry is None or component.bad:
            continue
        built_for = (entry["index_type"], entry["index_params"], entry["rows_file"])
        if built_for == (
            int(collection.index.type),
            collection.index.params_json,
            record.rows_file,
        ):
            found.append(component)
    if not found:
        return record
    newest = max(found, key=lambda component: component.name)
    return replace(record, index=collection.index, index_file=newest.name, index_bytes=newest.size)
