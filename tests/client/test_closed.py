"""A client that was closed, before a call or in the middle of one, says so by whatever
transport.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milvine.client.exceptions import ClientClosedError
from milvine.lanes import per_thread
from milvine.lanes.http2 import ProtocolError
from milvine.search import executor
from milvus import AsyncMilvus, Milvus
from tests.client.tiny_server import serving

WATCHDOG = 60.0
Address = Callable[[Path], dict[str, Any]]


@contextmanager
def call_under_way(work: Callable[[], object]) -> Iterator[list[object]]:
    """`work` on another thread; at the end of the block it must come to its own."""
    told: list[object] = []

    def run() -> None:
        try:
            told.append(work())
        except BaseException as error:
            told.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield told
    thread.join(WATCHDOG)
    assert not thread.is_alive(), "left waiting"


@contextmanager
def silent() -> Iterator[tuple[int, threading.Event]]:
    """A port that takes connections and what is sent, and never answers; an event that something
    was sent.
    """
    sent, over = threading.Event(), threading.Event()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1)
                sent.set()
                over.wait(WATCHDOG)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1], sent
        over.set()


CLOSED: list[tuple[str, Address]] = [
    ("embedded", lambda folder: {"uri": f"file://{folder}/db"}),
    ("grpc", lambda folder: {"host": "127.0.0.1", "port": 1, "try_connect": False}),
    (
        "http",
        lambda folder: {"host": "127.0.0.1", "port": 1, "handler": "HTTP", "try_connect": False},
    ),
]


@pytest.mark.parametrize(("kind", "address"), CLOSED)
def test_before_a_call(tmp_path: Path, kind: str, address: Address) -> None:
    milvus = Milvus(**address(tmp_path))
    milvus.close()
    milvus.close()
    calls: list[Callable[..., Any]] = [
        lambda **kw: milvus.search("a", 1, [[1.0]], **kw),
        lambda **kw: milvus.insert("a", [[1.0]], **kw),
        lambda **kw: milvus.compact("a", **kw),
    ]
    for call in calls:
        for more in ({}, {"_async": True}):
            with pytest.raises(ClientClosedError):
                call(**more)


def test_in_the_middle_of_a_grpc_call() -> None:
    begun, release = threading.Event(), threading.Event()

    def slow(request: bytes) -> bytes:
        begun.set()
        release.wait(WATCHDOG)
        return b""

    with serving({"Insert": slow}) as port:
        milvus = Milvus(host="127.0.0.1", port=port, try_connect=False)
        with call_under_way(lambda: milvus.insert("a", [[1.0]])) as told:
            assert begun.wait(WATCHDOG)
            future = milvus.insert("a", [[1.0]], _async=True)
            milvus.close()
        assert isinstance(told[0], ClientClosedError)
        with pytest.raises(ClientClosedError):
            future.result(WATCHDOG)
        release.set()


def test_in_the_middle_of_a_call_on_a_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()
    with serving({}) as port:
        milvus = Milvus(host="127.0.0.1", port=port, try_connect=False)

        class Held:
            worn = True

            def __init__(self, *arguments: Any) -> None:
                self.closed = threading.Event()

            def call(self, *arguments: Any) -> bytes:
                begun.set()
                assert self.closed.wait(WATCHDOG)
                raise ProtocolError

            def close(self) -> None:
                self.closed.set()

        monkeypatch.setattr(per_thread, "Lane", Held)
        with call_under_way(lambda: milvus.count_entities("a")) as told:
            assert begun.wait(WATCHDOG)
            milvus.close()
        assert isinstance(told[0], ClientClosedError)


def test_in_the_middle_of_an_http_call() -> None:
    with silent() as (port, sent):
        milvus = Milvus(host="127.0.0.1", port=port, handler="HTTP", try_connect=False)
        with call_under_way(lambda: milvus.count_entities("a", timeout=None)) as told:
            assert sent.wait(WATCHDOG)
            milvus.close()
        assert isinstance(told[0], ClientClosedError)


@pytest.mark.parametrize("by_bytes", [False, True])
def test_in_the_middle_of_an_embedded_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_bytes: bool
) -> None:
    """The database is closed with its last client, and what the search needs with it."""
    begun, closed = threading.Event(), threading.Event()
    milvus = Milvus(uri=f"file://{tmp_path}/db")
    milvus.create_collection({"collection_name": "a", "dimension": 4})
    for _ in range(3):
        milvus.insert("a", np.ones((3, 4), np.float32))
        milvus.flush(["a"])
    monkeypatch.setattr(executor, "POOL_WORK_MIN", 1)
    run = executor.ThreadExecutor.run

    def held(*arguments: Any) -> Any:
        begun.set()
        assert closed.wait(WATCHDOG)
        return run(*arguments)

    monkeypatch.setattr(executor.ThreadExecutor, "run", held)
    params = {"nprobe": 1.5} if by_bytes else {}
    with call_under_way(lambda: milvus.search("a", 1, [[1.0] * 4], params=params)) as told:
        assert begun.wait(WATCHDOG)
        milvus.close()
        closed.set()
    assert isinstance(told[0], ClientClosedError)


def test_awaited(tmp_path: Path) -> None:
    async def scene() -> None:
        milvus = AsyncMilvus(uri=f"file://{tmp_path}/db")
        await milvus.list_collections()
        await milvus.close()
        await milvus.close()
        with pytest.raises(ClientClosedError):
            await milvus.list_collections()

    asyncio.run(scene())
