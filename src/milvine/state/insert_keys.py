"""Inserts that came with an idempotency key: one that is sent again is answered as the first was,
and stores nothing.

Who may send an insert again is whoever got no answer. The key is in the log record of the rows, so
it is known exactly when they are stored, and it is remembered beyond the log: the flush that takes
the rows out of it stores the key in the catalog.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import takewhile

import numpy as np

from milvine.catalog.model import InsertKey
from milvine.errors import IllegalArgument
from milvine.limits import INSERT_KEYS_MAX
from milvine.storage.checksum import crc32c
from milvine.types import Ids
from milvine.wal.record import KEY_BYTES, InsertRecord


def key_of(text: str) -> bytes:
    """The 16 bytes kept of a key, which may be any text; empty for none."""
    return hashlib.blake2b(text.encode(), digest_size=KEY_BYTES).digest() if text else b""


class RecentInserts:
    """The last INSERT_KEYS_MAX keyed inserts of a collection, oldest first. The writer thread owns
    it.
    """

    def __init__(self, stored: Sequence[InsertKey] = ()) -> None:
        self._by_key = {each.key: each for each in stored[-INSERT_KEYS_MAX:]}

    def add(self, lsn: int, record: InsertRecord) -> None:
        """Remember a logged insert, if it has a key."""
        if not record.key:
            return
        self._by_key[record.key] = entry(lsn, record)
        if len(self._by_key) > INSERT_KEYS_MAX:
            del self._by_key[next(iter(self._by_key))]

    def find(self, key: bytes) -> InsertKey | None:
        return self._by_key.get(key) if key else None

    def since(self, flushed_lsn: int, lsn: int) -> tuple[InsertKey, ...]:
        """Those above `flushed_lsn` and up to `lsn`, oldest first."""
        newer = takewhile(lambda each: each.lsn > flushed_lsn, reversed(self._by_key.values()))
        return tuple(each for each in newer if each.lsn <= lsn)[::-1]


def entry(lsn: int, record: InsertRecord) -> InsertKey:
    first_id_or_checksum = int(record.ids[0]) if record.generated else _sum(record.ids)
    return InsertKey(record.key, lsn, first_id_or_checksum, len(record.ids), record.generated)


def repeated_ids(earlier: InsertKey, ids: Ids | None, count: int) -> Ids:
    """The ids to answer an insert of `count` rows with `ids` with, whose key was that of the insert
    `earlier`: the ids of that one.

    Raises:
        IllegalArgument: they are two different inserts.
    """
    same = (
        earlier.generated
        if ids is None
        else not earlier.generated and earlier.first_id_or_checksum == _sum(ids)
    )
    if not same or earlier.count != count:
        raise IllegalArgument(
            f"The idempotency key was used before, for an insert of {earlier.count} rows with "
            f"{'generated' if earlier.generated else 'given'} ids; one key is for one insert"
        )
    return (
        np.arange(
            earlier.first_id_or_checksum, earlier.first_id_or_checksum + count, dtype=np.int64
        )
        if ids is None
        else ids
    )


def _sum(ids: Ids) -> int:
    return crc32c(np.ascontiguousarray(ids).view(np.uint8).data)
