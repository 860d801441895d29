"""Checksums of what the catalog says: SQLite has none, and a flipped bit in a count or an LSN would
be believed.

Every row has a hash. The sum of a collection is that of its row, its partitions and its segments,
modulo 2^64; number 0 is the sum of the facts. A change takes the hashes of the rows that go from
the sum and adds those of the rows that come, so it costs what it changes, however much the
collection holds, and what was damaged before stays so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import islice
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Table,
    bindparam,
    delete,
    insert,
    inspect,
    select,
    update,
)

from milvine.catalog.encoding import Row
from milvine.catalog.old_sums import forget_old, wrong_of_old
from milvine.catalog.tables import COLLECTIONS, FACTS, PARTITIONS, SEGMENTS, SUMS

_FACTS = 0
_AT_ONCE = 5000  # ids in one statement: databases have a bound
_SOME_SUMS = select(SUMS).where(SUMS.c.collection_id.in_(bindparam("of", expanding=True)))
_SET_SUM = (
    update(SUMS).where(SUMS.c.collection_id == bindparam("of")).values(value=bindparam("sum"))
)
"""Made once: to build a statement takes longer than to run it."""


class SummedRows:
    """The rows of collections as one transaction changes them. `settle` makes their sums follow."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._changes: dict[int, int] = defaultdict(int)

    def create(self, table: Table, values: Row) -> int:
        """Insert a row; returns the id that it got."""
        key = self._connection.execute(insert(table), values).inserted_primary_key
        assert key is not None
        self._count(table, [{**values, "id": int(key[0])}], 1)
        return int(key[0])

    def insert(self, table: Table, rows: Sequence[Row]) -> None:
        """Insert rows that have their ids."""
        if rows:
            self._connection.execute(insert(table), rows)
            self._count(table, rows, 1)

    def delete(self, table: Table, which: ColumnElement[bool]) -> None:
        """Delete the rows that the condition is true of."""
        gone = self._connection.execute(select(table).where(which)).mappings().all()
        if gone:
            self._connection.execute(delete(table).where(which))
            self._count(table, gone, -1)

    def delete_ids(self, table: Table, ids: Iterable[int]) -> None:
        for some in _portions(ids):
            self.delete(table, table.c.id.in_(some))

    def change_collections(self, changes: Mapping[int, Row]) -> list[tuple[Row, Row]]:
        """Change values of collections, by id; returns the rows that differ now, as they
        were and as they are."""
        before: list[RowMapping] = []
        for some in _portions(changes):
            chosen = select(COLLECTIONS).where(COLLECTIONS.c.id.in_(some))
            before += self._connection.execute(chosen).mappings().all()
        pairs = [(dict(row), {**row, **changes[row["id"]]}) for row in before]
        changed = [(was, now) for was, now in pairs if was != now]
        if changed:
            self._update([now for _, now in changed])
            self._count(COLLECTIONS, [was for was, _ in changed], -1)
            self._count(COLLECTIONS, [now for _, now in changed], 1)
        return changed

    def _update(self, rows: Sequence[Row]) -> None:
        columns = [column.name for column in COLLECTIONS.columns]
        values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in columns}
        statement = update(COLLECTIONS).where(COLLECTIONS.c.id == bindparam("new_id"))
        given = [{f"new_{name}": row[name] for name in columns} for row in rows]
        self._connection.execute(statement.values(values), given)

    def drop(self, collection_id: int) -> None:
        """Delete a collection with all its rows, and its sum."""
        for table in (SEGMENTS, PARTITIONS):
            self._connection.execute(delete(table).where(table.c.collection_id == collection_id))
        self._connection.execute(delete(COLLECTIONS).where(COLLECTIONS.c.id == collection_id))
        self._connection.execute(delete(SUMS).where(SUMS.c.collection_id == collection_id))
        forget_old(self._connection, [collection_id])

    def settle(self) -> None:
        """Bring the sums of all collections up to date that were changed."""
        changes = {number: change for number, change in self._changes.items() if change}
        self._changes.clear()
        stored: dict[int, int] = {}
        for some in _portions(changes):
            found = self._connection.execute(_SOME_SUMS, {"of": some})
            stored |= {row.collection_id: row.value for row in found}
        if stored:
            values = [{"of": n, "sum": _wrapped(v + changes[n])} for n, v in stored.items()]
            self._connection.execute(_SET_SUM, values)
        fresh = sorted(changes.keys() - stored.keys())
        if fresh:
            store_sums(self._connection, fresh)

    def _count(
        self, table: Table, rows: Iterable[Mapping[str, Any] | RowMapping], sign: int
    ) -> None:
        columns = [column.name for column in table.columns]
        for row in rows:
            self._changes[row[_owner(table)]] += sign * _hash(table, map(row.get, columns))


def store_sums(connection: Connection, numbers: Iterable[int]) -> None:
    """Sums of collections as they are, whatever was known of them; number 0: of the facts."""
    for some in _portions(numbers):
        totals = _totals(connection, some)
        connection.execute(delete(SUMS).where(SUMS.c.collection_id.in_(some)))
        rows = [{"collection_id": n, "value": total} for n, total in totals.items()]
        if rows:
            connection.execute(insert(SUMS), rows)
        forget_old(connection, some)


def wrong(connection: Connection) -> list[str]:
    """What differs from its sum: sentences, empty when all is as it was written."""
    found = wrong_of_old(connection)
    if inspect(connection).has_table(SUMS.name):
        totals = _totals(connection)
        stored = connection.execute(select(SUMS)).all()
        found |= {row.collection_id for row in stored if totals.get(row.collection_id) != row.value}
    whose = (
        f"of collection {n}" if n else "of the durable LSN and the last id" for n in sorted(found)
    )
    return [f"the entries {what} are not what was written" for what in whose]


def _totals(connection: Connection, numbers: Sequence[int] | None = None) -> dict[int, int]:
    """The sums as they should be, of some collections or of all."""
    totals: dict[int, int] = {}
    if numbers is None or _FACTS in numbers:
        totals[_FACTS] = sum(_hash(FACTS, row) for row in connection.execute(select(FACTS)))
    for table in (COLLECTIONS, PARTITIONS, SEGMENTS):
        owner = table.c[_owner(table)]
        chosen = select(owner, table)
        if numbers is not None:
            chosen = chosen.where(owner.in_(numbers))
        for number, *row in connection.execute(chosen):
            if table is COLLECTIONS or number in totals:
                totals[number] = totals.get(number, 0) + _hash(table, row)
    return {number: _wrapped(total) for number, total in totals.items()}


def _owner(table: Table) -> str:
    return "id" if table is COLLECTIONS else "collection_id"


def _hash(table: Table, values: Iterable[object]) -> int:
    """Of the values of a row in the order of the table's columns."""
    text = ascii((table.name, *values))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def _wrapped(total: int) -> int:
    """As the signed number of 64 bits that SQL has room for."""
    return (total + (1 << 63)) % (1 << 64) - (1 << 63)


def _portions(values: Iterable[int]) -> Iterator[list[int]]:
    left = iter(values)
    while some := list(islice(left, _AT_ONCE)):
        yield some
