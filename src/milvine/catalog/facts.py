"""Numbers that only ever grow: the LSN up to which the log had been durable, and the last id that
was generated.
"""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from milvine.catalog.sums import store_sums
from milvine.catalog.tables import FACTS

_DURABLE_LSN, _LAST_ID = "durable_lsn", "last_id"


def raise_facts(connection: Connection, durable_lsn: int = 0, last_id: int = 0) -> None:
    """Let them be at least so much."""
    current = dict(zip((_DURABLE_LSN, _LAST_ID), facts(connection), strict=True))
    wanted = {_DURABLE_LSN: durable_lsn, _LAST_ID: last_id}
    grown = {key: value for key, value in wanted.items() if value > current[key]}
    for key, value in grown.items():
        if current[key]:
            connection.execute(update(FACTS).where(FACTS.c.key == key).values(value=value))
        else:
            connection.execute(insert(FACTS).values(key=key, value=value))
    if grown:
        store_sums(connection, [0])


def facts(connection: Connection) -> tuple[int, int]:
    """The durable LSN and the last id, 0 where there is none."""
    found = {row.key: row.value for row in connection.execute(select(FACTS.c.key, FACTS.c.value))}
    return found.get(_DURABLE_LSN, 0), found.get(_LAST_ID, 0)
