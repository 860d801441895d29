"""What the tests of operations share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.memory_plan import UNBOUNDED, MemoryPlan
from milvine.server.operations import Operations
from tests.server.calling import Caller


@pytest.fixture
def memory() -> MemoryPlan:
    """Of the database. Tests of what memory bounds have another: `parametrize("memory", ...)`."""
    return UNBOUNDED


@pytest.fixture
def caller(tmp_path: Path, memory: MemoryPlan) -> Iterator[Caller]:
    settings = Settings(background=False, search_threads=1)
    with Database.open(tmp_path / "data", settings, memory=memory) as database:
        yield Caller(Operations(database, settings))
