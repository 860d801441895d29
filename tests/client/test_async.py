"""`_async=True`: the same call by a thread of the client, as a future (specification 5.10)."""

from __future__ import annotations

import threading
from typing import Any

import grpc
import pytest

from milvine.client.exceptions import FutureTimeoutError
from milvine.client.futures import CompactFuture, CreateIndexFuture, FlushFuture, InsertFuture, SearchFuture
from milvine.client.transports import TransportFailed
from milvus import Milvus, Status
from tests.client.fakes import FakeTransport, reply_of

SEARCHED = "Search successfully!"
CALLS: list[tuple[Any, str, Any, str]] = [
    (InsertFuture, "Insert", lambda m, **kw: m.insert("a", [[1.0]], **kw), "Add vectors successfully!"),
    (SearchFuture, "Search", lambda m, **kw: m.search("a", 1, [[1.0]], **kw), SEARCHED),
    (SearchFuture, "SearchInFiles", lambda m, **kw: m.search_in_segment("a", [1], [[1.0]], 1, **kw), SEARCHED),
    (CreateIndexFuture, "CreateIndex", lambda m, **kw: m.create_index("a", **kw), "OK"),
    (FlushFuture, "Flush", lambda m, **kw: m.flush(["a"], **kw), "OK"),
    (CompactFuture, "Compact", lambda m, **kw: m.compact("a", **kw), "OK"),
]  # fmt: skip


class Gate(FakeTransport):
    """Lets no call through before `open` is set."""

    def __init__(self, **replies: Any) -> None:
        super().__init__(**replies)
        self.open = threading.Event()

    def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        assert self.open.wait(10)
        return super().call(method, request, timeout)


def milvus_of(transport: FakeTransport) -> Milvus:
    return Milvus(transport=transport, try_connect=False)


@pytest.mark.parametrize(("future", "rpc", "call", "message"), CALLS)
def test_futures(future: Any, rpc: str, call: Any, message: str) -> None:
    seen: list[Any] = []
    transport = FakeTransport(**{rpc: reply_of(rpc)})
    milvus = milvus_of(transport)
    started = call(milvus, _async=True, _callback=lambda *args: seen.append(args))
    result = started.result()
    status = result if isinstance(result, Status) else result[0]
    assert type(started) is future and repr(status) == f"Status(code=0, message='{message}')"
    assert seen == [result if isinstance(result, tuple) else (result,)]
    assert started.is_done() and started.done() is None and started.exception() is None
    assert type(started.result(raw=True)).__name__ == type(reply_of(rpc)).__name__


@pytest.mark.parametrize(("future", "rpc", "call", "message"), CALLS)
def test_refused(future: Any, rpc: str, call: Any, message: str) -> None:
    seen: list[Any] = []
    milvus = milvus_of(FakeTransport(**{rpc: reply_of(rpc, 4, "no")}))
    result = call(milvus, _async=True, _callback=lambda *args: seen.append(args)).result()
    assert seen[0][0] == 4 and (result if isinstance(result, Status) else result[0]) == 4
    if future is SearchFuture:
        assert result[1] is None


@pytest.mark.parametrize(("future", "rpc", "call", "message"), CALLS)
def test_unanswered(future: Any, rpc: str, call: Any, message: str) -> None:
    seen: list[Any] = []
    milvus = milvus_of(FakeTransport(**{rpc: TransportFailed(grpc.StatusCode.UNAVAILABLE, "gone")}))
    started = call(milvus, _async=True, _callback=lambda *args: seen.append(args))
    for raising in (started.result, started.exception):
        with pytest.raises(TransportFailed, match="gone"):
            raising()
    started.done()
    assert seen == []


def test_waiting() -> None:
    transport = Gate(Compact=reply_of("Compact"))
    started = milvus_of(transport).compact("a", _async=True)
    assert not started.is_done()
    with pytest.raises(FutureTimeoutError):
        started.result(timeout=0.01)
    transport.open.set()
    assert started.result(timeout=10).OK()


def test_cancel_before_the_call_began() -> None:
    transport = Gate(Compact=reply_of("Compact"))
    milvus = milvus_of(transport)
    started = [milvus.compact("a", _async=True) for _ in range(32)]
    assert started[-1].cancel() and started[-1].is_done()
    started[-1].done()
    transport.open.set()
    assert all(future.result(10).OK() for future in started[:-1])


def test_flush_of_everything_is_synchronous() -> None:
    milvus = milvus_of(FakeTransport(Flush=reply_of("Flush")))
    assert milvus.flush(_async=True).OK() and milvus.flush([], _async=True).OK()


def test_wrong_arguments_raise_at_once() -> None:
    with pytest.raises(ValueError):
        milvus_of(FakeTransport()).insert("a", [], _async=True)
