"""What the handler of a signal raises in the middle of a call reaches the caller, and the client
goes on.
"""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milvine.deadline import Deadline
from milvine.engine.collection import OpenCollection
from milvine.engine.database import Database
from milvine.errors import StorageFailed
from milvine.interrupts import foreign
from milvine.lanes import client as lanes_client
from milvine.lanes import per_thread
from milvine.lanes.agreement import Endpoint
from milvine.lanes.per_thread import Lanes
from milvine.maintenance import flush, process
from milvine.storage.durable import refusal
from milvus import IndexType, Milvus


class SoftTimeLimit(Exception):
    pass


ERRORS = [SoftTimeLimit, TimeoutError, OSError, ValueError, KeyboardInterrupt]


@pytest.fixture(params=ERRORS)
def ring(request: pytest.FixtureRequest) -> Iterator[Callable[[], None]]:
    """Sends this process a signal, whose handler raises."""

    def handler(*received: Any) -> None:
        raise request.param("time is over")

    before = signal.signal(signal.SIGUSR1, handler)
    yield lambda: signal.raise_signal(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Milvus]:
    milvus = Milvus(uri=f"file://{tmp_path}/db")
    milvus.create_collection({"collection_name": "a", "dimension": 4})
    yield milvus
    milvus.close()


CALLS: list[tuple[tuple[type, str], Callable[[Milvus], Any]]] = [
    ((OpenCollection, "find"), lambda m: m.search("a", 1, np.ones((1, 4), np.float32))),
    (
        (OpenCollection, "find"),
        lambda m: m.search("a", 1, np.ones((1, 4), np.float32), params={"nprobe": 1.5}),
    ),
    ((OpenCollection, "insert"), lambda m: m.insert("a", np.ones((1, 4), np.float32))),
    ((Database, "flush"), lambda m: m.flush(["a"])),
]


@pytest.mark.parametrize(("operation", "call"), CALLS)
def test_embedded(
    embedded: Milvus,
    monkeypatch: pytest.MonkeyPatch,
    ring: Callable[[], None],
    operation: tuple[type, str],
    call: Any,
) -> None:
    with monkeypatch.context() as patch:
        owner, name = operation
        patch.setattr(owner, name, lambda *arguments, **more: ring())
        with pytest.raises(BaseException, match="time is over") as raised:
            call(embedded)
    assert type(raised.value) in ERRORS
    assert embedded.count_entities("a")[0].OK()


def test_errors_of_the_database_stay_answers(
    embedded: Milvus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: Any, **more: Any) -> Any:
        raise ZeroDivisionError("unforeseen")

    assert embedded.search("none", 1, [[1.0] * 4])[0].code == 4
    monkeypatch.setattr(OpenCollection, "find", fails)
    for _, call in CALLS[:2]:
        assert call(embedded)[0].code == 1


def test_on_a_lane(monkeypatch: pytest.MonkeyPatch, ring: Callable[[], None]) -> None:
    """Before there is one, and in the middle of a call."""
    made: list[Any] = []

    class Interrupted:
        worn = False

        def __init__(self, *arguments: Any) -> None:
            self.closed = False
            made.append(self)

        def call(self, *arguments: Any) -> bytes:
            ring()
            return b""

        def close(self) -> None:
            self.closed = True

    own = Lanes(Endpoint("127.0.0.1", 1, "localhost:1"))
    for place in (
        (lanes_client.socket, "create_connection", lambda *arguments: ring()),
        (per_thread, "Lane", Interrupted),
    ):
        monkeypatch.setattr(*place)
        with pytest.raises(BaseException, match="time is over"):
            own.call("Search", b"", Deadline(30.0))
    # The lane of a call that was interrupted would give its reply to the next.
    assert own.port is None and own.count == 0


def test_over_http_no_answer_is_taken_for_that_of_another_request(
    monkeypatch: pytest.MonkeyPatch, ring: Callable[[], None]
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        numbers: list[int] = []

        def serve() -> None:
            for number in range(2):
                connection, _ = listener.accept()
                with connection, suppress(ConnectionError):  # the first is hung up on
                    connection.recv(1 << 16)
                    body = b'{"count":%d}' % number
                    numbers.append(number)
                    connection.sendall(
                        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
                    )
                    connection.recv(1)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        milvus = Milvus(host="127.0.0.1", port=port, handler="HTTP", try_connect=False)
        with monkeypatch.context() as patch:
            patch.setattr(HTTPConnection, "getresponse", lambda connection: ring())
            with pytest.raises(BaseException, match="time is over"):
                milvus.count_entities("a")
        assert milvus.count_entities("a")[1] == 1 and numbers == [0, 1]
        milvus.close()
        thread.join(30)


def test_a_refusal_of_the_system_is_told_from_a_handlers_error(ring: Callable[[], None]) -> None:
    try:
        open("/no such file")  # noqa: SIM115  # it is not there
    except OSError as error:
        assert not foreign(error) and isinstance(refusal("look", error), StorageFailed)
    try:
        ring()
    except BaseException as error:
        assert foreign(error)
        if isinstance(error, OSError):
            with pytest.raises(OSError, match="time is over"):
                raise refusal("look", error) from error


def test_a_build_and_a_flush(
    embedded: Milvus, monkeypatch: pytest.MonkeyPatch, ring: Callable[[], None]
) -> None:
    """What may fail of one segment or collection alone is told from what ends the call."""
    embedded.insert("a", np.ones((5000, 4), np.float32))
    with monkeypatch.context() as patch:
        patch.setattr(flush, "write", lambda *arguments: ring())
        with pytest.raises(BaseException, match="time is over"):
            embedded.flush(["a"])
    with monkeypatch.context() as patch:
        patch.setattr(process.Builders, "run", lambda *arguments, **more: ring())
        with pytest.raises(BaseException, match="time is over"):
            embedded.create_index("a", IndexType.IVF_FLAT, {"nlist": 4})
    assert (
        embedded.create_index("a", IndexType.FLAT).OK() and embedded.count_entities("a")[1] == 5000
    )
