"""Idempotency keys of inserts whose log records are gone: a flush stores those of the rows it takes
out of the log.

One row for each flush, with the keys packed, so that a flush of thousands of small inserts stays
one short commit.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import Connection, delete, func, insert, inspect, select

from milvine.catalog.model import InsertKey
from milvine.catalog.tables import INSERT_KEYS
from milvine.limits import INSERT_KEYS_MAX

_ENTRY = struct.Struct("<16sqqqB7x")


def store_keys(connection: Connection, collection_id: int, keys: Sequence[InsertKey]) -> None:
    """Add keys, oldest first, and let those go that are older than the last INSERT_KEYS_MAX."""
    if not keys:
        return
    of_collection = INSERT_KEYS.c.collection_id == collection_id
    before = (
        connection.execute(select(func.max(INSERT_KEYS.c.total)).where(of_collection)).scalar() or 0
    )
    packed = b"".join(
        _ENTRY.pack(each.key, each.lsn, each.first_id_or_checksum, each.count, each.generated)
        for each in keys
    )
    values = {"collection_id": collection_id, "total": before + len(keys), "packed": packed}
    connection.execute(insert(INSERT_KEYS).values(**values))
    too_old = INSERT_KEYS.c.total <= before + len(keys) - INSERT_KEYS_MAX
    connection.execute(delete(INSERT_KEYS).where(of_collection, too_old))


def drop_keys(connection: Connection, collection_id: int) -> None:
    connection.execute(delete(INSERT_KEYS).where(INSERT_KEYS.c.collection_id == collection_id))


def stored_keys(connection: Connection) -> dict[int, tuple[InsertKey, ...]]:
    """Keys by collection, oldest first; nothing in a catalog of before there were any, opened for
    reading.
    """
    if not inspect(connection).has_table(INSERT_KEYS.name):
        return {}
    found: dict[int, list[InsertKey]] = defaultdict(list)
    for row in connection.execute(
        select(INSERT_KEYS).order_by(INSERT_KEYS.c.collection_id, INSERT_KEYS.c.total)
    ):
        for key, lsn, first_id_or_checksum, count, generated in _ENTRY.iter_unpack(row.packed):
            found[row.collection_id].append(
                InsertKey(key, lsn, first_id_or_checksum, count, bool(generated))
            )
    return {number: tuple(keys) for number, keys in found.items()}
