"""Checksums of what the catalog says: SQLite has none, and a flipped bit in a count or an LSN would be believed.

One sum per collection (its row, its partitions, its segments) and one for the facts, renewed in the transaction that
changes them. A catalog of before has none; it gets them as it changes.
"""

from __future__ import annotations

import json

from sqlalchemy import Connection, delete, insert, inspect, select

from milvine.catalog.tables import COLLECTIONS, FACTS, PARTITIONS, SEGMENTS, SUMS
from milvine.storage.checksum import crc32c

_FACTS = 0


def renew(connection: Connection, collection_id: int) -> None:
    """Make the sums of a collection and of the facts right."""
    connection.execute(delete(SUMS).where(SUMS.c.collection_id.in_([_FACTS, collection_id])))
    sums = {number: _sum(connection, number) for number in (_FACTS, collection_id)}
    rows = [{"collection_id": number, "value": value} for number, value in sums.items() if value is not None]
    connection.execute(insert(SUMS), rows)


def wrong(connection: Connection) -> list[str]:
    """What differs from its sum: sentences, empty when all is as it was written."""
    if not inspect(connection).has_table(SUMS.name):
        return []
    known = {row.collection_id: row.value for row in connection.execute(select(SUMS))}
    there = {_FACTS, *connection.execute(select(COLLECTIONS.c.id)).scalars()}
    found = []
    for number in sorted(known.keys() | there):
        if number in known and known[number] != _sum(connection, number):
            what = f"of collection {number}" if number else "of the durable LSN and the last id"
            found.append(f"the entries {what} are not what was written")
    return found


def _sum(connection: Connection, number: int) -> int | None:
    """None for a collection that does not exist."""
    if number == _FACTS:
        rows = connection.execute(select(FACTS).order_by(FACTS.c.key)).all()
        return _crc([list(row) for row in rows])
    collection = connection.execute(select(COLLECTIONS).where(COLLECTIONS.c.id == number)).first()
    if collection is None:
        return None
    held = [[list(collection)]]
    for table in (PARTITIONS, SEGMENTS):
        chosen = select(table).where(table.c.collection_id == number).order_by(table.c.id)
        held.append([list(row) for row in connection.execute(chosen)])
    return _crc(held)


def _crc(value: object) -> int:
    return crc32c(json.dumps(value, separators=(",", ":"), default=repr).encode())
