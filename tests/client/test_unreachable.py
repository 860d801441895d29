"""What a client says of a server that it cannot reach: address, attempts, seconds and reason."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from milvine.client.transports.base import SILENCE
from milvus import Milvus, NotConnectError
from tests.client.tiny_server import serving

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a full queue refuses elsewhere")
WAYS: list[dict[str, Any]] = [
    {"handler": "GRPC"},
    {"handler": "GRPC", "secure": True},
    {"handler": "HTTP"},
    {"handler": "HTTP", "secure": True},
]


@pytest.fixture
def silent() -> Iterator[int]:
    """Where the system takes connections, and nobody answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


@pytest.fixture
def dropping() -> Iterator[int]:
    """Where what is sent to begin a connection is dropped: the queue of connections is full."""
    with ExitStack() as opened:
        listening = opened.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            filling = opened.enter_context(socket.socket())
            filling.setblocking(False)
            with suppress(BlockingIOError):
                filling.connect(listening.getsockname())
        yield listening.getsockname()[1]


def told(port: int, **arguments: Any) -> str:
    with pytest.raises(NotConnectError) as caught:
        Milvus(host="127.0.0.1", port=port, wait_timeout=0.4, max_retry=2, **arguments)
    text = str(caught.value)
    began = f"Fail connecting to server on 127.0.0.1:{port}. Timeout: "
    assert text.startswith(began)
    said = re.fullmatch(r"(\d+) attempts? in ([\d.]+) seconds\. (.+)", text[len(began) :])
    assert said and int(said[1]) >= 2 and float(said[2]) >= 0.2
    return said[3]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_host_that_drops_what_is_sent(dropping: int, way: dict[str, Any]) -> None:
    assert told(dropping, **way) == SILENCE


# Plain HTTP has nothing to say before the request: there the call is begun, and not answered.
@pytest.mark.parametrize("way", [way for way in WAYS if way != {"handler": "HTTP"}], ids=str)
def test_a_server_that_hangs(silent: int, way: dict[str, Any]) -> None:
    assert told(silent, **way) == SILENCE


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_host_where_nobody_listens(way: dict[str, Any]) -> None:
    assert "Connection refused" in told(1, **way)


def test_a_server_without_tls() -> None:
    """Which is about trust, not about silence."""
    with serving({}) as port:
        for handler in ("GRPC", "HTTP"):
            assert "SSL" in told(port, handler=handler, secure=True)
