"""A database that tells what happened to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.events import Event, Events
from milvine.types import MetricType

QUIET = Settings(
    background=False,
    build_in_subprocess=False,
    search_threads=1,
    build_threads=1,
    index_rows_min=64,
)
Open = Callable[..., Database]


@pytest.fixture
def told() -> list[Event]:
    """Every event of the databases of a test, in order."""
    return []


@pytest.fixture
def open_database(tmp_path: Path, told: list[Event]) -> Iterator[Open]:
    """Open the database of the test; closed at its end."""
    opened = []

    def open_it(**changes: object) -> Database:
        settings = Settings(**{**QUIET.__dict__, **changes})
        opened.append(Database.open(tmp_path / "db", settings, Events(told.append)))
        return opened[-1]

    yield open_it
    for database in opened:
        database.close()


def fill(database: Database, name: str, rows: int, dimension: int = 8) -> np.ndarray:
    """A collection `name` with `rows` rows of ids 0, 1, ..., flushed; its vectors."""
    database.create_collection(name, dimension, 1024, MetricType.L2)
    vectors = np.random.default_rng(rows).random((rows, dimension), dtype=np.float32)
    database.collection(name).insert(vectors, np.arange(rows))
    database.flush([name])
    return vectors


def flip(path: Path, at: int) -> None:
    """Change one byte of a file, in place."""
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))
