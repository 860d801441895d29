"""A REST API on a real socket, and an HTTP client for it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.events import Event, Events
from milvine.server.doors.http_door import HttpDoor
from milvine.server.operations import Operations
from milvine.server.rest.app import create_app
from tests.server.rest.asking import Asking


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Asking, list[Event]]]:
    told: list[Event] = []
    settings, events = (
        Settings(background=False, search_threads=1, request_bytes_max=8 << 20),
        Events(told.append),
    )
    with Database.open(tmp_path_factory.mktemp("rest") / "data", settings, events) as database:
        door = HttpDoor(
            create_app(Operations(database, settings, events), database, settings), "127.0.0.1", 0
        )
        door.start()
        try:
            with httpx.Client(
                base_url=f"http://127.0.0.1:{door.port}", timeout=60, trust_env=False
            ) as client:
                yield Asking(client, database), told
        finally:
            door.stop(10)


@pytest.fixture
def rest(served: tuple[Asking, list[Event]]) -> Iterator[Asking]:
    """The server of the module; what a test made is dropped after it."""
    asking, _ = served
    yield asking
    for name in asking.database.collections():
        asking.database.collection(name).drop()


@pytest.fixture
def told(served: tuple[Asking, list[Event]]) -> list[Event]:
    """The events of the server from now on, as they come."""
    served[1].clear()
    return served[1]
