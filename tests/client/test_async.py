"""`_async=True`: the same call by a thread of the client, as a future (specification 5.10)."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest

from milvine.client.exceptions import FutureTimeoutError
from milvine.client.futures import (
    CompactFuture,
    CreateIndexFuture,
    FlushFuture,
    InsertFuture,
    SearchFuture,
)
from milvus import Milvus, Status
from milvus.client.exceptions import TransportFailed
from tests.client.fakes import FakeTransport, reply_of

SEARCHED = "Search successfully!"
CALLS: list[tuple[Any, str, Any, str]] = [
    (InsertFuture, "Insert", lambda m, **kw: m.insert("a", [[1.0]], **kw),
     "Add vectors successfully!"),
    (SearchFuture, "Search", lambda m, **kw: m.search("a", 1, [[1.0]], **kw), SEARCHED),
    (SearchFuture, "SearchInFiles", lambda m, **kw: m.search_in_segment("a", [1], [[1.0]], 1, **kw),
     SEARCHED),
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
        with pytest.raises(TransportFailed, match="gone") as failed:
            raising()
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE  # as of what grpc raises
        assert failed.value.details() == "gone"
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


def test_callbacks_that_wait_for_other_calls() -> None:
    """As many as there are threads, and each of them starts a call and waits for it, its callback
    and all.
    """
    transport = FakeTransport(Compact=reply_of("Compact"), Flush=reply_of("Flush"))
    milvus, together, inner = milvus_of(transport), threading.Barrier(8), list[Any]()

    def wait_for_another(status: Status) -> None:
        together.wait(30)
        other = milvus.flush(["a"], _async=True, _callback=inner.append)
        assert other.result(30).OK()
        other.done()
        together.wait(30)

    started = [milvus.compact("a", _async=True, _callback=wait_for_another) for _ in range(8)]
    assert all(future.result(60).OK() for future in started)
    assert not together.broken


def test_a_callback_that_raises_changes_nothing_about_its_call(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reply = reply_of("Insert", vector_id_array=[7])
    milvus, over = milvus_of(FakeTransport(Insert=reply)), list[int]()

    def raises(status: Status, ids: list[int]) -> None:
        over.append(len(ids))
        raise ZeroDivisionError

    started = milvus.insert("a", [[1.0]], _async=True, _callback=raises)
    status, ids = started.result(30)
    assert status.OK() and ids == [7] and over == [1] and started.is_done()
    assert started.exception() is None
    assert "Insert: the callback failed" in caplog.text and "ZeroDivisionError" in caplog.text


def test_calls_go_on_while_callbacks_take_their_time() -> None:
    milvus, gate = milvus_of(FakeTransport(Compact=reply_of("Compact"))), threading.Event()
    slow = [
        milvus.compact("a", _async=True, _callback=lambda status: gate.wait(30)) for _ in range(9)
    ]
    assert milvus.compact("a", _async=True).result(30).OK()
    assert not any(future.is_done() for future in slow)
    gate.set()
    assert all(future.result(30).OK() for future in slow)


def test_what_was_begun_is_ended_before_the_process_is(tmp_path: Path) -> None:
    program = f"""
import os
from milvus import Milvus
milvus = Milvus(uri="file://{tmp_path}/db")
milvus.create_collection({{"collection_name": "a", "dimension": 2}})
done = lambda status, ids: os.write(1, f"{{status.OK()}} {{len(ids)}}\\n".encode())
for _ in range(20):
    milvus.insert("a", [[1.0, 2.0]], _async=True, _callback=done)
"""
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )
    assert shown.stderr == "" and shown.stdout == "True 1\n" * 20
