"""Checksums of collections as catalogs of format 1 have them: one over all the rows of a
collection.

They are read and never written. A collection gets a sum by rows (see `sums`) with its next change.
"""

from __future__ import annotations

import json

from sqlalchemy import Connection, delete, inspect, select

from milvine.catalog.tables import COLLECTIONS, FACTS, OLD_SUMS, PARTITIONS, SEGMENTS
from milvine.storage.checksum import crc32c

_FACTS = 0


def wrong_of_old(connection: Connection) -> set[int]:
    """Numbers of the collections that are not what they were when their old sum
    was made; 0: the facts."""
    if not inspect(connection).has_table(OLD_SUMS.name):
        return set()
    sums = {row.collection_id: row.value for row in connection.execute(select(OLD_SUMS))}
    return {number for number, value in sums.items() if value != _sum(connection, number)}


def forget_old(connection: Connection, numbers: list[int]) -> None:
    """These have a sum by rows now."""
    connection.execute(delete(OLD_SUMS).where(OLD_SUMS.c.collection_id.in_(numbers)))


def _sum(connection: Connection, number: int) -> int | None:
    """None for a collection that does not exist."""
    if number == _FACTS:
        rows = connection.execute(select(FACTS).order_by(FACTS.c.key)).all()
        return _crc([list(row) for row in rows])
    chosen = select(COLLECTIONS).where(COLLECTIONS.c.id == number)
    collection = connection.execute(chosen).first()
    if collection is None:
        return None
    held = [[list(collection)]]
    for table in (PARTITIONS, SEGMENTS):
        inside = select(table).where(table.c.collection_id == number).order_by(table.c.id)
        held.append([list(row) for row in connection.execute(inside)])
    return _crc(held)


def _crc(value: object) -> int:
    return crc32c(json.dumps(value, separators=(",", ":"), default=repr).encode())
