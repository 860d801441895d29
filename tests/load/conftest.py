"""A server in a process of its own, at each door."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator

import pytest

from milvine.client.milvus import Milvus
from milvine.testing.load.serving import ServerProcess, memory_of

BUDGET_BYTES = 32 << 20
DOORS = [
    "grpc",
    pytest.param(
        "native",
        marks=pytest.mark.skipif(
            not importlib.util.find_spec("pygrpc_native"), reason="no pygrpc-native"
        ),
    ),
]


@pytest.fixture(scope="module", params=DOORS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("server")
    settings = {"network.door": request.param, "network.request_bytes_max": str(BUDGET_BYTES)}
    server = ServerProcess(folder / "data", settings, folder / "server.err", sample=False)
    yield server
    assert server.stop() == ""


@pytest.fixture
def milvus(server: ServerProcess) -> Iterator[Milvus]:
    milvus = Milvus(host="127.0.0.1", port=server.port)
    yield milvus
    for name in milvus.list_collections()[1]:
        milvus.drop_collection(name)
    milvus.close()


def anonymous(server: ServerProcess) -> int:
    return memory_of(server.pid)["RssAnon"]


def until(what: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not what() and time.monotonic() < end:
        time.sleep(0.01)
    assert what()
