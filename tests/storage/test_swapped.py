"""Arrays in files that the system may write out; and a log of more rows than the insert buffer,
read back into them.
"""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.errors import DiskFull
from milvine.ingest import recovery
from milvine.limits import MIB
from milvine.storage.swapped import SwappedMemory
from milvine.types import MetricType


def test_arrays_are_apart_and_leave_no_file(tmp_path: Path) -> None:
    memory = SwappedMemory(tmp_path)
    shapes = [(3, 5), (1, 1), (2 * MIB, 4), (7, 3)]
    arrays = [memory.empty(shape, np.float32) for shape in shapes]
    for number, array in enumerate(arrays):
        assert not array.any()
        array[:] = number
    assert [array.shape for array in arrays] == shapes
    assert all((array == number).all() for number, array in enumerate(arrays))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(DiskFull, match="reserve"):
        SwappedMemory(tmp_path).empty((10, 10), np.float32)


def test_systems_that_reserve_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    assert SwappedMemory(tmp_path).empty((10, 10), np.uint8).shape == (10, 10)


@pytest.mark.parametrize("batch", [100, 5000])  # rows that share a block, rows that are one
def test_a_log_larger_than_the_insert_buffer(
    tmp_path: Path, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.random.default_rng(1).random((10_000, 64), dtype=np.float32)
    plenty = Settings(background=False)
    with Database.open(tmp_path / "data", plenty) as database:
        database.create_collection("c", 64, 1024, MetricType.L2)
        for start in range(0, len(rows), batch):
            database.collection("c").insert(
                rows[start : start + batch], np.arange(start, start + batch)
            )
        database.collection("c").delete(np.arange(10))
        shutil.copytree(tmp_path / "data", tmp_path / "killed")  # the end of the block flushes
    made: list[int] = []
    empty = SwappedMemory.empty
    monkeypatch.setattr(
        SwappedMemory, "empty", lambda self, *how: made.append(1) or empty(self, *how)
    )
    monkeypatch.setattr(recovery, "SwappedMemory", partial(SwappedMemory, region_bytes=MIB))
    with Database.open(tmp_path / "killed", replace(plenty, insert_buffer_size=MIB)) as database:
        assert made and database.collection("c").count() == len(rows) - 10
        made.clear()
        found, vectors = database.collection("c").get(np.arange(len(rows)))
        assert found.sum() == len(rows) - 10 and (vectors[10:] == rows[10:]).all()
        # Flushes what was read back; new rows are in memory.
        database.collection("c").insert(rows[:10], np.arange(10))
        assert not made and database.collection("c").stats().partitions[0].segments
        hits = database.collection("c").search(rows[[3, 9000]], 1)
        assert hits.ids.tolist() == [[3], [9000]]
