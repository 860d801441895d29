"""What the tests of operations share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.server.operations import Operations
from tests.server.calling import Caller


@pytest.fixture
def caller(tmp_path: Path) -> Iterator[Caller]:
    settings = Settings(background=False, search_threads=1)
    with Database.open(tmp_path / "data", settings) as database:
        yield Caller(Operations(database, settings))
