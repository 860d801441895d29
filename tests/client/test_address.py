"""Where the constructor's arguments lead (specification 5.2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from milvine.client.address import FolderAddress, ServerAddress, parse_address
from milvus import Milvus, ParamError


@pytest.mark.parametrize(
    ("arguments", "address"),
    [
        ({}, ServerAddress("127.0.0.1", 19530)),
        ({"uri": ""}, ServerAddress("127.0.0.1", 19530)),
        ({"host": "localhost"}, ServerAddress("localhost", 19530)),
        ({"host": "localhost", "port": "19530"}, ServerAddress("localhost", 19530)),
        ({"host": "h", "port": 1, "uri": "tcp://other:2"}, ServerAddress("h", 1)),
        ({"uri": "tcp://localhost:19530"}, ServerAddress("localhost", 19530)),
        ({"uri": "anything://h:65535"}, ServerAddress("h", 65535)),
        ({"uri": "tcp://[::1]:19530"}, ServerAddress("::1", 19530)),
        ({"uri": "file:///tmp/data"}, FolderAddress(Path("/tmp/data"))),
        ({"uri": "file://localhost/tmp/a%20b%23"}, FolderAddress(Path("/tmp/a b#"))),
    ],
)
def test_addresses(arguments: Any, address: Any) -> None:
    assert parse_address(**arguments) == address


def test_ipv6_is_bracketed() -> None:
    assert str(ServerAddress("::1", 5)) == "[::1]:5" and str(ServerAddress("h", 5)) == "h:5"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"port": 19530}, "Param is not complete. Please invoke as follow:"),
        ({"host": 1}, "host 1 or port 19530 is illegal"),
        ({"host": ""}, "host  or port 19530 is illegal"),
        ({"host": "h", "port": "x"}, "host h or port x is illegal"),
        ({"host": "h", "port": 0}, "host h or port 0 is illegal"),
        ({"host": "h", "port": 65536}, "host h or port 65536 is illegal"),
        ({"uri": "tcp://localhost"}, "uri is illegal: "),
        ({"uri": "localhost:19530"}, "uri is illegal: "),
        ({"uri": "tcp://localhost:70000"}, "uri is illegal: "),
        ({"uri": "tcp://localhost:0"}, "host localhost or port 0 is illegal"),
        ({"uri": 5}, "uri is illegal: "),
        ({"uri": "file://elsewhere/tmp"}, "uri is illegal: "),
        ({"uri": "file:///"}, "uri is illegal: "),
        ({"uri": "file:rel/x"}, "uri is illegal: 'file:rel/x' names no folder of this machine"),
        ({"uri": "file:x"}, "uri is illegal: "),
        ({"uri": "file:"}, "uri is illegal: "),
        ({"uri": "file:///tmp/a#b"}, "uri is illegal: "),
    ],
)
def test_illegal_addresses(arguments: Any, message: str) -> None:
    with pytest.raises(ParamError) as caught:
        Milvus(**arguments)
    assert str(caught.value).startswith(message)


def test_illegal_handlers_and_pools() -> None:
    with pytest.raises(ValueError, match=r"^Unknown handler type\. Use GRPC or HTTP$"):
        Milvus(handler="X")
    with pytest.raises(ParamError, match=r"^Unknown pool value: X$"):
        Milvus(pool="X")
