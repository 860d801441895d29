"""Calls about segments: their ids, searches in them, bringing them into memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.server.operations import Operations
from tests.server.calling import Caller

VECTORS = np.arange(24, dtype=np.float32).reshape(6, 4)


@pytest.fixture
def caller(tmp_path: Path) -> Iterator[Caller]:
    settings = Settings(background=False, search_threads=1)
    with Database.open(tmp_path / "data", settings) as database:
        yield Caller(Operations(database, settings))


@pytest.fixture
def stocked(caller: Caller) -> Caller:
    """Ids 0 to 3 in `_default`, 4 and 5 in `t`, all flushed; another collection `d` with ids 8 and 9."""
    caller.create()
    caller.insert(VECTORS[:4], np.array([3, 1, 0, 2]))
    caller.ok("CreatePartition", collection_name="c", tag="t")
    caller.insert(VECTORS[4:], np.array([5, 4]), tag="t")
    caller.create("d")
    caller.insert(VECTORS[:2], np.array([8, 9]), name="d")
    caller.ok("Flush")
    return caller


def segments(caller: Caller, name: str = "c", partition: int = 0) -> list[str]:
    stats = json.loads(caller.ok("ShowCollectionInfo", collection_name=name).json_info)
    return [segment["name"] for segment in stats["partitions"][partition]["segments"]]


def ids_of(caller: Caller, segment: str) -> list[int]:
    return list(caller.ok("GetVectorIDs", collection_name="c", segment_name=segment).vector_id_array)


def test_ids_of_a_segment(stocked: Caller) -> None:
    (own,), (partition,) = segments(stocked), segments(stocked, partition=1)
    assert ids_of(stocked, own) == [3, 1, 0, 2]
    assert ids_of(stocked, partition) == [5, 4]
    stocked.ok("DeleteByID", collection_name="c", id_array=[1])
    assert ids_of(stocked, own) == [3, 0, 2]
    stocked.ok("DeleteByID", collection_name="c", id_array=[0, 2, 3])
    assert ids_of(stocked, own) == []


def test_segments_that_are_not_there(stocked: Caller) -> None:
    (own,), (other,) = segments(stocked), segments(stocked, "d")
    for name in ("", "1", "x", f"0{own}", f" {own}"):
        reason = "Segment does not exist"
        assert stocked.fails("GetVectorIDs", collection_name="c", segment_name=name) == (1, reason)
    reason = "Segment does not belong to this collection"
    assert stocked.fails("GetVectorIDs", collection_name="c", segment_name=other) == (1, reason)
