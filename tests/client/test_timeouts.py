"""One rule for timeouts, whichever way a call takes: seconds of 0 or more, and with 0 the time is
over before anything is sent (specification 5.7).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from milvine.client.exceptions import FutureTimeoutError, TransportFailed
from milvine.config import Settings
from milvine.server.app import Server
from milvus import AsyncMilvus, Milvus, NotConnectError, ParamError
from tests.client.fakes import FakeTransport, reply_of

PARAM = {"collection_name": "a", "dimension": 2}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server.start(tmp_path_factory.mktemp("timeouts"), Settings(port=0, http_port=0))
    yield running
    running.stop(5)


@pytest.fixture(params=["embedded", "GRPC", "HTTP"])
def arguments(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Of a client of each kind."""
    if request.param == "embedded":
        return {"uri": (tmp_path / "data").as_uri()}
    server = request.getfixturevalue("server")
    address = server.http_address if request.param == "HTTP" else f"127.0.0.1:{server.port}"
    host, _, port = address.rpartition(":")
    return {"host": host, "port": port, "handler": request.param}


@pytest.fixture
def milvus(arguments: dict[str, Any]) -> Iterator[Milvus]:
    client = Milvus(**arguments)
    client.create_collection(PARAM)
    client.insert("a", [[1.0, 2.0]], [1])
    yield client
    client.drop_collection("a")
    client.close()


@pytest.mark.parametrize("zero", [0, 0.0, "0", -0.0])
def test_with_no_time_nothing_is_begun(milvus: Milvus, zero: Any) -> None:
    """Reads, which a lane may carry or the process itself answer, and what changes something."""
    calls = [
        milvus.count_entities("a", timeout=zero),
        milvus.search("a", 1, [[1.0, 2.0]], params={}, timeout=zero),
        milvus.search("a", 1, [[1.0, 2.0]], params={"x": 1.5}, timeout=zero),
        milvus.insert("a", [[3.0, 4.0]], [2], timeout=zero),
        (milvus.drop_collection("a", timeout=zero), None),
    ]
    assert [status.code for status, _ in calls] == [grpc.StatusCode.DEADLINE_EXCEEDED] * len(calls)
    assert milvus.count_entities("a") == (0, 1)


def test_with_no_time_an_asynchronous_call_fails_too(milvus: Milvus) -> None:
    with pytest.raises(TransportFailed) as late:
        milvus.flush(["a"], timeout=0, _async=True).result(10)
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("timeout", [-1, -0.001, "-1", float("-inf"), True, False])
def test_less_than_no_time_means_nothing(milvus: Milvus, timeout: Any) -> None:
    for call in (milvus.count_entities, milvus.compact, milvus.drop_index):
        with pytest.raises(ParamError, match="^`timeout` value .* is illegal"):
            call("a", timeout=timeout)
    with pytest.raises(ParamError, match="^`timeout` value .* is illegal"):
        milvus.search("a", 1, [[1.0, 2.0]], params={}, timeout=timeout)
    with pytest.raises(ParamError, match="^`timeout` value .* is illegal"):
        milvus.flush(["a"], timeout=timeout, _async=True)


def test_awaited(arguments: dict[str, Any]) -> None:
    async def calls() -> None:
        async with AsyncMilvus(**arguments) as milvus:
            with pytest.raises(ParamError, match="seconds are 0 or more"):
                await milvus.list_collections(timeout=-1)
            status, names = await milvus.list_collections(timeout=0)
            assert status.code is grpc.StatusCode.DEADLINE_EXCEEDED and names == []

    asyncio.run(calls())


def test_parts_that_are_not_begun_in_time_are_not_stored(milvus: Milvus) -> None:
    status, stored = milvus.insert("a", [[1.0, 2.0]], [5], split=True, timeout=0)
    assert status.code is grpc.StatusCode.DEADLINE_EXCEEDED and stored == []


@pytest.mark.parametrize("seconds", [0, -1, "-5", True, float("nan")])
def test_an_attempt_to_connect_takes_time(tmp_path: Path, seconds: Any) -> None:
    for where in ({"uri": tmp_path.as_uri()}, {"host": "127.0.0.1", "port": 1}):
        with pytest.raises(ParamError, match="^`wait_timeout` value .* is illegal"):
            Milvus(**where, wait_timeout=seconds)


def test_a_result_that_is_not_waited_for() -> None:
    milvus = Milvus(transport=FakeTransport(Compact=reply_of("Compact")), try_connect=False)
    future = milvus.compact("a", _async=True)
    for wrong in (-1, True, "soon", float("nan")):
        with pytest.raises(ParamError, match="`timeout` value"):
            future.result(wrong)
    assert future.result("10").OK() and future.result(1e300).OK() and future.result(0).OK()


def test_a_result_that_is_not_there() -> None:
    release = threading.Event()

    class Hangs(FakeTransport):
        def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
            assert release.wait(10)
            return super().call(method, request, timeout)

    milvus = Milvus(transport=Hangs(Compact=reply_of("Compact")), try_connect=False)
    future = milvus.compact("a", _async=True)
    with pytest.raises(FutureTimeoutError):
        future.result(0)
    release.set()
    assert future.result(10).OK()


def test_a_server_that_is_gone_is_not_waited_for_with_no_time() -> None:
    for handler in ("GRPC", "HTTP"):
        milvus = Milvus(host="127.0.0.1", port=1, handler=handler, try_connect=False)
        status, _ = milvus.list_collections(timeout=0)
        assert status.code is grpc.StatusCode.DEADLINE_EXCEEDED
        with pytest.raises(NotConnectError):
            milvus.list_collections(timeout=0.2)
