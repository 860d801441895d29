"""Inserts whose reply was lost: stored once, and answered, however the reply was lost."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from milvine.client import insert_retry
from milvine.client.transports import TransportFailed
from milvine.wire import packed
from milvus import Milvus, ParamError, Prepare
from tests.client.cutting_proxy import CuttingProxy, proxied
from tests.client.fakes import FakeTransport, reply_of
from tests.serving import Served

ROWS = np.arange(12, dtype=np.float32).reshape(3, 4)
LOST = TransportFailed(grpc.StatusCode.UNAVAILABLE, "Socket closed", lost=True)
UNSENT = TransportFailed(grpc.StatusCode.UNAVAILABLE, "nobody", unsent=True)
STORED = reply_of("Insert", vector_id_array=[4])
KNOWS = reply_of("Cmd", string_reply="idempotency_key")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """As often as a busy machine needs."""
    pauses = (0.05,) * 1200
    monkeypatch.setattr(insert_retry, "insert", partial(insert_retry.insert, pauses=pauses))


@pytest.fixture
def direct(server_port: int) -> Iterator[Milvus]:
    milvus = Milvus(host="127.0.0.1", port=server_port)
    milvus.create_collection({"collection_name": "a", "dimension": 4})
    yield milvus
    milvus.close()


@pytest.fixture
def proxy(server_port: int) -> Iterator[CuttingProxy]:
    with proxied(server_port) as made:
        yield made


def wait_for_rows(milvus: Milvus, count: int) -> None:
    deadline = time.monotonic() + 30
    while milvus.count_entities("a")[1] != count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def in_thread(work: Any) -> tuple[threading.Thread, list[Any]]:
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(work()))
    thread.start()
    return thread, answers


@pytest.mark.parametrize("how", ["plain", "future", "message", "parts"])
def test_the_connection_breaks_before_the_reply(
    direct: Milvus, proxy: CuttingProxy, how: str
) -> None:
    milvus = Milvus(host="127.0.0.1", port=proxy.port)
    work = {
        "plain": lambda: milvus.insert("a", ROWS),
        "future": lambda: milvus.insert("a", ROWS, _async=True).result(60),
        "message": lambda: milvus.insert(
            None, None, insert_param=Prepare.insert_param("a", ROWS, None)
        ),
        "parts": lambda: milvus.insert("a", ROWS, split=True),
    }[how]
    proxy.holding = True
    thread, answers = in_thread(work)
    wait_for_rows(direct, 3)
    proxy.cut()
    thread.join(60)
    status, ids = answers[0]
    assert status.OK() and len(ids) == 3
    assert (
        direct.count_entities("a")[1] == 3 and direct.get_entity_by_id("a", ids)[1] == ROWS.tolist()
    )
    assert milvus.insert("a", ROWS)[0].OK() and direct.count_entities("a")[1] == 6, (
        "another insert is another"
    )
    milvus.close()


def test_after_a_timeout_the_caller_sends_it_again(direct: Milvus, proxy: CuttingProxy) -> None:
    milvus = Milvus(host="127.0.0.1", port=proxy.port)
    proxy.holding = True
    status, ids = milvus.insert("a", ROWS, timeout=0.5, idempotency_key="monday's")
    assert status.code is grpc.StatusCode.DEADLINE_EXCEEDED and ids == []
    wait_for_rows(direct, 3)
    proxy.cut()
    status, ids = milvus.insert("a", ROWS, idempotency_key="monday's")
    assert status.OK() and direct.get_entity_by_id("a", ids)[1] == ROWS.tolist()
    assert direct.count_entities("a")[1] == 3
    status, _ = milvus.insert("a", ROWS[:1], idempotency_key="monday's")
    assert status.code == status.ILLEGAL_ARGUMENT and "one key is for one insert" in status.message
    milvus.close()


def test_the_server_is_killed_before_the_reply(tmp_path: Path) -> None:
    """The rows are in the log when it dies; it comes back with them, and with their key."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    options = ("--port", port, "--data", tmp_path, "--set", "network.http.enable=false")
    with proxied(port) as proxy:
        server = Served(*options).wait()
        direct, milvus = (
            Milvus(host="127.0.0.1", port=port),
            Milvus(host="127.0.0.1", port=proxy.port),
        )
        direct.create_collection({"collection_name": "a", "dimension": 4})
        proxy.holding = True
        thread, answers = in_thread(lambda: milvus.insert("a", ROWS))
        wait_for_rows(direct, 3)
        server.kill()
        proxy.holding = False
        server = Served(*options).wait()
        thread.join(60)
        status, ids = answers[0]
        milvus.close()
        direct.close()
        other = Milvus(host="127.0.0.1", port=port)
        assert status.OK() and other.get_entity_by_id("a", ids)[1] == ROWS.tolist()
        assert other.count_entities("a")[1] == 3
        other.close()
        server.process.terminate()
        assert server.end()[0] == 0


class Faltering(FakeTransport):
    """Gives the outcomes of Insert one after another."""

    def __init__(self, *outcomes: Any, features: Any = KNOWS) -> None:
        super().__init__(Cmd=features)
        self.outcomes = list(outcomes)

    def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        if method == "Insert":
            self.replies["Insert"] = self.outcomes.pop(0)
        return super().call(method, request, timeout)

    def inserts(self) -> list[bytes]:
        return [request for method, request, _ in self.sent if method == "Insert"]


def client(transport: Faltering) -> Milvus:
    return Milvus(transport=transport, try_connect=False)


def test_it_is_the_same_request_each_time() -> None:
    transport = Faltering(LOST, LOST, UNSENT, STORED)
    assert client(transport).insert("a", ROWS)[1] == [4]
    sent = transport.inserts()
    assert len(sent) == 4 and len(set(sent)) == 1 and len(packed.decode_insert(sent[0]).key) == 32


def test_a_server_of_1_x_is_not_asked_again() -> None:
    transport = Faltering(LOST, STORED, features=reply_of("Cmd", string_reply="Unknown command"))
    status, ids = client(transport).insert("a", ROWS)
    assert (
        status.code is grpc.StatusCode.UNAVAILABLE and ids == [] and len(transport.inserts()) == 1
    )


def test_what_was_not_lost_is_not_sent_again() -> None:
    late = TransportFailed(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
    for outcome in (late, UNSENT, reply_of("Insert", 4, "gone")):
        transport = Faltering(outcome)
        assert not client(transport).insert("a", ROWS)[0].OK() and len(transport.sent) == 1


def test_attempts_end_with_the_timeout_and_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    transport = Faltering(*[LOST] * 1000)
    began = time.monotonic()
    assert client(transport).insert("a", ROWS, timeout=0.3)[0].code is grpc.StatusCode.UNAVAILABLE
    assert time.monotonic() - began < 5 and 1 < len(transport.inserts()) < 10
    monkeypatch.setattr(insert_retry, "insert", partial(insert_retry.insert, pauses=(0.0,) * 3))
    transport = Faltering(*[LOST] * 4)
    assert client(transport).insert("a", ROWS)[0].message == "Error occurred. Socket closed"
    assert len(transport.inserts()) == 4


def test_a_key_is_a_text() -> None:
    transport = Faltering(STORED)
    for wrong in ("", 5, b"x"):
        with pytest.raises(ParamError, match="`idempotency_key` value"):
            client(transport).insert("a", ROWS, idempotency_key=wrong)  # type: ignore[arg-type]
    client(transport).insert("a", ROWS, idempotency_key="mine")
    assert packed.decode_insert(transport.inserts()[0]).key == "mine"
