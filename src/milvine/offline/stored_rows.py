"""Which rows there are: in undamaged parts of segments and in the log, and which of them are dead.

A row is known by the LSN of its insert and its id. Segments say which LSN each row has, so that a
row that lies in a segment and in the log, or in a merged segment and in one that it replaced, is
taken once. A row that any tombstone file or any later delete of the log calls dead is dead: rows do
not rise again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from milvine.catalog.model import InsertKey
from milvine.offline.component import Component
from milvine.offline.contents import ids_of, lsns_of
from milvine.segment.layout import BLOCK, Footer
from milvine.state.insert_keys import entry
from milvine.types import Collection, Ids, Vectors
from milvine.wal.record import DeleteRecord, InsertRecord, Record

_PAIR = np.dtype([("lsn", np.int64), ("id", np.int64)])
Live = NDArray[np.bool_]


@dataclass
class Piece:
    """A segment as far as it can be read. `sound` (rows,): which rows are; `live` (rows,): which
    are not deleted.
    """

    component: Component
    entry: Footer
    sound: Live
    live: Live
    ids: Ids
    lsns: NDArray[np.int64]

    @property
    def number(self) -> int:
        return int(self.entry["id"])

    @property
    def partition(self) -> int:
        return int(self.entry["partition"]["id"])

    def vectors(self, collection: Collection, rows: NDArray[np.int64]) -> Vectors:
        """Those of some rows, shape (n, width)."""
        whole = self.component.section(self.entry, "vectors", collection.dtype)
        assert whole is not None
        chosen: Vectors = whole.reshape(-1, collection.width)[rows]
        return chosen


def read_piece(component: Component, entry: Footer, live: Live | None) -> Piece | None:
    """What can be read of a segment; None when its ids, or when they were inserted, cannot be."""
    if component.footer is None or not component.sound(entry, "lsn_starts", "lsns"):
        return None
    rows = entry["rows"]
    sound = _sound(component, entry, "vectors") & _sound(component, entry, "ids")
    lsns = lsns_of(component, entry)
    if not sound.any() or len(lsns) != rows:
        return None
    live = np.ones(rows, bool) if live is None else live
    return Piece(component, entry, sound, live, ids_of(component, entry), lsns)


def _sound(component: Component, entry: Footer, section: str) -> Live:
    """Which rows lie in undamaged blocks, (rows,) bool."""
    start, size = entry["sections"][section]
    rows = entry["rows"]
    ends = start + np.arange(rows + 1) * (size // rows)
    good = np.ones(rows, bool)
    for number in component.bad:
        good[(ends[:-1] < (number + 1) * BLOCK) & (ends[1:] > number * BLOCK)] = False
    return good


def live_bits(component: Component, entry: Footer) -> Live | None:
    """The rows that a tombstone file calls live; None when it is damaged."""
    if component.footer is None or not component.sound(entry, "live"):
        return None
    bits = component.section(entry, "live")
    return (
        None
        if bits is None
        else np.unpackbits(bits, count=entry["rows"], bitorder="little").view(np.bool_)
    )


@dataclass
class Logged:
    """The records of one collection that were read from the log."""

    inserts: dict[int, InsertRecord] = field(default_factory=dict)
    deletes: list[tuple[int, DeleteRecord]] = field(default_factory=list)

    def add(self, lsn: int, record: Record) -> None:
        if isinstance(record, InsertRecord):
            self.inserts[lsn] = record
        elif isinstance(record, DeleteRecord):
            self.deletes.append((lsn, record))

    def keys(self, stored: Sequence[InsertKey]) -> tuple[InsertKey, ...]:
        """Idempotency keys, oldest first: `stored` ones, and those of the inserts here."""
        here = {r.key: entry(lsn, r) for lsn, r in self.inserts.items() if r.key}
        both = {each.key: each for each in stored} | here
        return tuple(sorted(both.values(), key=lambda each: each.lsn))

    def killed(self, ids: Ids, lsns: NDArray[np.int64], partition: int) -> Live:
        """Which rows a later delete kills, (rows,) bool."""
        scope = [(lsn, r.ids) for lsn, r in self.deletes if r.partition_id in (0, partition)]
        if not scope or not len(ids):
            return np.zeros(len(ids), bool)
        gone = np.concatenate([each for _, each in scope])
        when = np.repeat([lsn for lsn, _ in scope], [len(each) for _, each in scope])
        order = np.lexsort((when, gone))
        gone, when = gone[order], when[order]
        at = np.searchsorted(gone, ids, "right") - 1  # the newest delete of each id
        found = (at >= 0) & (gone[np.maximum(at, 0)] == ids)
        killed: Live = found & (when[np.maximum(at, 0)] > lsns)
        return killed


def pairs(lsns: NDArray[np.int64], ids: Ids) -> NDArray[Any]:
    """Rows by what they are known by."""
    out = np.empty(len(ids), _PAIR)
    out["lsn"], out["id"] = lsns, ids
    return out


def bury(pieces: Iterable[Piece]) -> None:
    """A row that is dead in one of the pieces is dead in all."""
    pieces = list(pieces)
    dead = [pairs(p.lsns[~p.live], p.ids[~p.live]) for p in pieces if not p.live.all()]
    if dead:
        buried = np.unique(np.concatenate(dead))
        for piece in pieces:
            piece.live = piece.live & ~np.isin(pairs(piece.lsns, piece.ids), buried)
