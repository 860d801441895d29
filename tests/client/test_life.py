"""From the constructor to close() (specification 5.2, 5.3)."""

from __future__ import annotations

import gc
from typing import Any

import grpc
import pytest

import milvine
from milvine.client.exceptions import DeprecatedError
from milvine.client.transports import TransportFailed
from milvus import Milvus, NotConnectError, VersionError
from tests.client.fakes import FakeTransport, reply_of


def version(text: str) -> Any:
    return reply_of("Cmd", string_reply=text)


@pytest.mark.parametrize("text", ["1.1.1", "1.0.0", "1.2.3", "0.10.6", "0.9.1"])
def test_versions_that_are_spoken_to(text: str) -> None:
    transport = FakeTransport(Cmd=version(text))
    Milvus(transport=transport, wait_timeout=5)
    assert transport.sent[0][2] == 15.0  # all three attempts


@pytest.mark.parametrize("text", ["2.3.0", "0.8.0", "11.0.0", "", "Unknown command"])
def test_versions_that_are_not(text: str) -> None:
    transport = FakeTransport(Cmd=version(text))
    with pytest.raises(VersionError, match=r"Version of python SDK.* not match that of server"):
        Milvus(transport=transport)
    assert transport.closed == 1


@pytest.mark.parametrize(
    "reply", [reply_of("Cmd", 1, "no"), TransportFailed(grpc.StatusCode.UNAVAILABLE, "gone away")]
)
def test_a_version_that_cannot_be_had(reply: Any) -> None:
    transport = FakeTransport(Cmd=reply)
    with pytest.raises(NotConnectError, match=r"^Cannot check server version: "):
        Milvus(transport=transport)
    assert transport.closed == 1


def test_close() -> None:
    transport = FakeTransport(Cmd=version("1.1.1"))
    milvus = Milvus(transport=transport)
    assert milvus.close() is None
    milvus.close()
    assert transport.closed == 1
    for call in (
        milvus.server_version,
        lambda: milvus.insert("a", [[1.0]]),
        lambda: milvus.compact("a", _async=True),
    ):
        with pytest.raises(AttributeError, match="^The client was closed$"):
            call()


def test_close_on_garbage_collection() -> None:
    transport = FakeTransport()
    milvus = Milvus(transport=transport, try_connect=False)
    del milvus
    gc.collect()
    assert transport.closed == 1


def test_leaving_a_with_block_does_not_close() -> None:
    transport = FakeTransport(Cmd=version("1.1.1"))
    with Milvus(transport=transport) as milvus:
        assert milvus.server_version()[1] == "1.1.1"
    assert milvus.server_version()[1] == "1.1.1" and transport.closed == 0


@pytest.mark.parametrize("name", ["connect", "disconnect", "connected", "set_hook"])
def test_deprecated(name: str) -> None:
    milvus = Milvus(transport=FakeTransport(), try_connect=False)
    with pytest.raises(DeprecatedError, match=f"^Function {name} has been deprecated$"):
        getattr(milvus, name)()


def test_properties() -> None:
    milvus = Milvus(transport=FakeTransport(), try_connect=False, name="me", pool="QueuePool")
    assert (milvus.name, milvus.handler, milvus.client_version()) == (
        "me",
        "GRPC",
        milvine.__version__,
    )
