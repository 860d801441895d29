"""One server for all tests of the client, in this process, and fresh folders for the embedded
database.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from milvine.config import Settings
from milvine.server.app import Server
from milvus import Milvus


@pytest.fixture(scope="session")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    server = Server.start(tmp_path_factory.mktemp("server"), Settings(port=0))
    yield server.port
    server.stop(5)


@pytest.fixture
def server_port(_server: int) -> Iterator[int]:
    """The port of a server without collections."""
    yield _server
    milvus = Milvus(host="127.0.0.1", port=_server)
    for name in milvus.list_collections()[1]:
        milvus.drop_collection(name)
    milvus.close()


@pytest.fixture(params=["embedded", "server"])
def database_address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Arguments of `Milvus(...)` as text, for an empty database."""
    if request.param == "embedded":
        return f"uri={(tmp_path / 'data').as_uri()!r}"
    return f"host='localhost', port='{request.getfixturevalue('server_port')}'"
