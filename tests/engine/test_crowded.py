"""Files of more bytes than stay in memory are mapped twice, and every answer stays what it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.index.inverted.ivf import OpenIvf
from milvine.memory_plan import UNBOUNDED, MemoryPlan
from milvine.storage.local import LocalStorage
from milvine.types import IndexSetting, IndexType, MetricType

ROWS = 6000
CROWDED = replace(UNBOUNDED, mapped_files=1 << 10)


def answers(folder: Path, memory: MemoryPlan | None = None) -> list[Any]:
    """Searches and rows by id of all collections."""
    found: list[Any] = []
    queries = np.random.default_rng(5).random((20, 24), dtype=np.float32)
    with Database.open(folder, Settings(background=False), memory=memory) as database:
        for name in database.collections():
            for nq in (1, 20):
                hits = database.collection(name).search(queries[:nq], 10, {"nprobe": 3, "ef": 40})
                found += [hits.ids, hits.distances]
            found += database.collection(name).get(np.array([5, ROWS - 1, 77, ROWS + 5]))
            found.append(
                database.collection(name)
                .search_by_id(np.array([9, 3000]), 4, {"nprobe": 3, "ef": 40})
                .ids
            )
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = np.random.default_rng(4).random((ROWS, 24), dtype=np.float32)
    kinds = {
        "plain": IndexSetting(),
        "lists": IndexSetting(IndexType.IVF_FLAT, '{"nlist": 30}'),
        "codes": IndexSetting(IndexType.IVF_SQ8, '{"nlist": 30}'),
        "graph": IndexSetting(IndexType.HNSW, '{"M": 8, "efConstruction": 40}'),
    }
    settings = Settings(background=False, build_in_subprocess=False)
    with Database.open(tmp_path / "data", settings) as database:
        for name, setting in kinds.items():
            database.create_collection(name, 24, 1024, MetricType.L2)
            database.collection(name).insert(rows, np.arange(ROWS))
            database.collection(name).delete(np.arange(100, 200))
            database.flush([name])
            database.collection(name).create_index(setting)
    return tmp_path / "data"


def test_answers_are_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scattered: list[str] = []
    read = LocalStorage.read

    def noted(self: LocalStorage, name: str, apart: bool = False) -> Any:
        scattered.extend([name] if apart else [])
        return read(self, name, apart)

    monkeypatch.setattr(LocalStorage, "read", noted)
    asked: list[int] = []
    ahead = OpenIvf.read_ahead
    monkeypatch.setattr(
        OpenIvf, "read_ahead", lambda self, most: asked.append(most) or ahead(self, most)
    )
    roomy = answers(folder)
    assert not scattered and not asked
    crowded = answers(folder, CROWDED)
    assert asked == [CROWDED.prefetch] * 2
    assert {name.partition("-")[0] for name in scattered} == {"rows", "index"}
    for left, right in zip(roomy, crowded, strict=True):
        assert np.array_equal(left, right)


def test_files_read_into_memory_are_never_read_twice(folder: Path) -> None:
    settings, memory = Settings(background=False, mmap=False), replace(CROWDED, mapped=False)
    with Database.open(folder, settings, memory=memory) as database:
        database.collection("lists").search(np.zeros((1, 24), np.float32), 1, {"nprobe": 1})
        assert not database.stores.files.crowded
