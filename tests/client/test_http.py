"""handler="HTTP": the client over the REST API, against a server in this process."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from milvine.client.address import FolderAddress, HttpAddress, parse_http_address
from milvine.client.transports.http import open_transport
from milvine.client.transports.rest_calls import CALLS
from milvine.config import Settings
from milvine.engine.database import Database
from milvine.server.doors.http_door import HttpDoor
from milvine.server.operations import Operations
from milvine.server.rest.app import create_app
from milvine.wire.schema import HYBRID_RPCS, RPCS
from milvus import Milvus, NotConnectError
from tests.client.cutting_proxy import proxied
from tests.real_clients import drive_http


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpDoor]:
    settings = Settings(background=False, search_threads=1)
    with Database.open(tmp_path_factory.mktemp("http") / "data", settings) as database:
        door = HttpDoor(
            create_app(Operations(database, settings), database, settings), "127.0.0.1", 0
        )
        door.start()
        try:
            yield door
        finally:
            door.stop(10)


@pytest.fixture
def milvus(door: HttpDoor) -> Iterator[Milvus]:
    client = Milvus(host="127.0.0.1", port=door.port, handler="HTTP")
    assert client.handler == "HTTP"
    yield client
    client.close()


@pytest.fixture
def answers(milvus: Milvus) -> dict[str, Any]:
    return drive_http.life(milvus)


def test_a_life(answers: dict[str, Any]) -> None:
    assert not [
        label
        for label, answer in answers.items()
        if isinstance(answer, list) and answer[:1] == ["raised"]
    ]
    failing = {"create again": 9, "index that cannot be": 5, "drop again": 4}
    for label, code in failing.items():
        assert answers[label][0] == code
    assert answers["search none"][0][0] == 1 and answers["no such collection"][0][0] == 4
    assert (
        answers["has"][1] is True
        and answers["has none"][1] is False
        and answers["has partition"][1] is True
    )
    assert answers["insert"][1] == list(range(300)) and answers["count"][1] == 302
    assert answers["got what was stored"] and answers["get"][1][1] == []
    assert [row[0] for row in answers["search"][1]] == [[5, 0.0], [6, 0.0]]
    assert [hit[0] for hit in answers["search p"][1][0]] == [1000, 1001]
    assert answers["search in segment"][1] == [[[1000, 0.0]]] and answers["ids in segment"][1] == [
        1000,
        1001,
    ]
    assert answers["get binary"][1] == ["00ff"] and answers["search binary"][1] == [[[1, 0.0]]]
    assert answers["got config"][1] == "2GB"


def test_every_rpc_is_there_or_says_that_it_is_not(milvus: Milvus) -> None:
    assert set(RPCS) - set(CALLS) - set(HYBRID_RPCS) == {"SearchByID", "ReloadSegments"}
    with pytest.raises(NotImplementedError, match="ReloadSegments is not there over HTTP"):
        milvus.reload_segments("c", ["1"])


def test_more_than_a_page_of_partitions_and_keys(milvus: Milvus) -> None:
    milvus.create_collection({"collection_name": "many", "dimension": 2})
    for number in range(12):
        milvus.create_partition("many", f"p{number}")
    assert milvus.has_partition("many", "p11")[1] and len(milvus.list_partitions("many")[1]) == 13
    first = milvus.insert("many", [[1.0, 2.0]], idempotency_key="once")
    assert milvus.insert("many", [[1.0, 2.0]], idempotency_key="once")[1] == first[1]
    assert milvus.count_entities("many")[1] == 1


def test_a_server_that_hangs_up_between_calls(door: HttpDoor) -> None:
    with proxied(door.port) as proxy:
        milvus = Milvus(host="127.0.0.1", port=proxy.port, handler="HTTP", pre_ping=False)
        assert milvus.list_collections()[0].OK()
        proxy.cut()
        assert milvus.list_collections()[0].OK()
        milvus.close()


def test_nobody_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    transport = open_transport(HttpAddress("127.0.0.1", port), 0.2, 1, True)
    with pytest.raises(NotConnectError, match=f"127.0.0.1:{port}"):
        transport.call("ShowCollections", b"", 1)
    transport.close()


def test_addresses(tmp_path: Path) -> None:
    assert parse_http_address() == HttpAddress("127.0.0.1", 19121)
    assert parse_http_address("db") == HttpAddress("db", 19121)
    assert parse_http_address("db", 443) == HttpAddress("db", 443, True)
    assert parse_http_address(uri="https://db:8443") == HttpAddress("db", 8443, True)
    assert parse_http_address(uri="http://db:80") == HttpAddress("db", 80)
    assert isinstance(parse_http_address(uri=tmp_path.as_uri()), FolderAddress)
