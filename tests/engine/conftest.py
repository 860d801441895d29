import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.events import Events

QUIET = Settings(background=False, search_threads=2, build_threads=1)


@pytest.fixture
def events():
    """Every event the database of this test emits, in order."""
    return []


@pytest.fixture
def database(tmp_path, events):
    with Database.open(tmp_path / "db", QUIET, Events(events.append)) as opened:
        yield opened


@pytest.fixture
def vectors():
    return np.random.default_rng(7).random((60, 8), dtype=np.float32)
