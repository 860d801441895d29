"""The end of a run: in each collection every row that was acknowledged, none that was deleted, and
no other.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from milvine.client.milvus import Milvus
from milvine.limits import GET_IDS_MAX
from milvine.testing.by_name import DatabaseByName
from milvine.testing.load.clients import Wrong, check
from milvine.testing.races.lives import ids_of
from milvine.testing.races.shapes import SHAPES, numbers_of, vectors_of
from milvine.types import Ids


def check_collections(milvus: Milvus, expected: dict[str, dict[str, Any]]) -> int:
    """How many rows there are. `expected` is from `Lives.expected`."""
    rows = 0
    for name, life in expected.items():
        status, counted = milvus.count_entities(name)
        check(status)
        there = [
            _there(milvus, name, ids_of(life[kind]), life["shape"])
            for kind in ("stored", "deleted", "unsure")
        ]
        stored, deleted, unsure = there if counted else (np.zeros(0, bool),) * 3
        if (counted and not stored.all()) or (not counted and life["stored"]):
            raise Wrong(f"{name}: {int((~stored).sum()) or 'all'} acknowledged rows are lost")
        if deleted.any():
            raise Wrong(f"{name}: {int(deleted.sum())} deleted rows are there")
        if counted != int(stored.sum()) + int(unsure.sum()):
            raise Wrong(
                f"{name} counts {counted} rows, {int(stored.sum())} + {int(unsure.sum())} are known"
            )
        rows += counted
    return rows


def _there(milvus: Milvus, name: str, ids: Ids, number: int) -> Any:
    """Which ids are stored, (n,); those that are must have their vectors."""
    there = np.zeros(len(ids), bool)
    fitting = np.flatnonzero(numbers_of(ids) == number)
    for start in range(0, len(fitting), GET_IDS_MAX):
        some = fitting[start : start + GET_IDS_MAX]
        status, rows = milvus.get_entity_by_id(name, ids[some].tolist())
        if not status.OK():
            return there
        there[some] = [len(row) > 0 for row in rows]
        shape = SHAPES[number]
        kind = np.uint8 if shape.is_binary else np.float32
        found = [
            np.frombuffer(row, kind) if shape.is_binary else np.array(row, kind)
            for row in rows
            if len(row)
        ]
        expected = vectors_of(ids[some][there[some]], shape)
        if found and not np.array_equal(np.stack(found), expected):
            raise Wrong(f"{name}: rows have other vectors")
    return there


def check_rows(database: DatabaseByName) -> None:
    """Every flushed row of every collection has the vector that its id stands for."""
    database.flush()
    for name in database.collections():
        segments = [
            segment.name for part in database.stats(name).partitions for segment in part.segments
        ]
        for segment in segments:
            ids = database.segment_ids(name, segment)
            numbers = set(numbers_of(ids).tolist())
            if len(numbers) > 1:
                raise Wrong(f"{name}: rows of the shapes {numbers} together")
            for number in numbers:
                found, vectors = database.get(name, ids)
                if not found.all() or not np.array_equal(vectors, vectors_of(ids, SHAPES[number])):
                    raise Wrong(f"{name}: rows have other vectors")
