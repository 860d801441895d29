"""Which keyed inserts of a collection are remembered, in memory and in the catalog."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import create_engine

from milvine.catalog.keys import drop_keys, store_keys, stored_keys
from milvine.catalog.model import InsertKey
from milvine.catalog.tables import METADATA
from milvine.limits import INSERT_KEYS_MAX
from milvine.state import insert_keys
from milvine.state.insert_keys import RecentInserts
from milvine.wal.record import InsertRecord

IDS = np.array([5, 6, 7], np.int64)


def key(number: int) -> InsertKey:
    return InsertKey(number.to_bytes(16, "little"), number, number, 1, True)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(insert_keys, "INSERT_KEYS_MAX", 5)
    recent = RecentInserts([key(number) for number in range(1, 9)])
    rows = np.zeros((3, 16), np.uint8)
    recent.add(9, InsertRecord(1, 1, IDS, rows, False, (9).to_bytes(16, "little")))
    assert [each.lsn for each in recent.since(0, 99)] == [5, 6, 7, 8, 9]
    assert [each.lsn for each in recent.since(6, 8)] == [7, 8]
    assert recent.find(key(4).key) is None and recent.find(b"") is None


def test_the_catalog_keeps_as_many_as_are_remembered(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'catalog.sqlite'}")
    METADATA.create_all(engine)
    with engine.begin() as connection:
        number = 0
        for size in (3000, 1, 4000, 6000, 500):
            store_keys(connection, 1, [key(number := number + 1) for _ in range(size)])
        store_keys(connection, 2, [key(1)])
        kept = stored_keys(connection)
        assert INSERT_KEYS_MAX <= len(kept[1]) < INSERT_KEYS_MAX + 4000
        assert kept[1][-1] == key(number)
        drop_keys(connection, 1)
        assert stored_keys(connection) == {2: (key(1),)}
    engine.dispose()
