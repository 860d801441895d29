"""The gRPC transport against servers that are slow, gone, back again or none (specification 5.2,
5.7).
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from milvus import Milvus, NotConnectError, Status
from milvus.client.exceptions import TransportFailed
from tests.client.fakes import reply_of
from tests.client.tiny_server import Answer, serving

OWN = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
VERSION = reply_of("Cmd", string_reply="1.1.1").SerializeToString()
OK = reply_of("Compact").SerializeToString()


def answers(**more: Answer) -> dict[str, Answer]:
    return {"Cmd": lambda request: VERSION, "Compact": lambda request: OK, **more}


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture
def port() -> Iterator[int]:
    with serving(answers()) as bound:
        yield bound


def test_by_host_and_by_uri(port: int) -> None:
    for milvus in (Milvus(host="localhost", port=str(port)), Milvus(uri=f"tcp://127.0.0.1:{port}")):
        assert milvus.server_version()[1] == "1.1.1"
        milvus.close()


@pytest.mark.parametrize("seconds", [None, float("inf"), 1e12, 1e300])
def test_times_beyond_measure_are_for_ever(port: int, seconds: float | None) -> None:
    milvus = Milvus(host="127.0.0.1", port=port, wait_timeout=seconds, max_retry=2**62)
    assert milvus.server_version(timeout=seconds)[0].OK()
    milvus.close()


def test_nobody_listens(free_port: int) -> None:
    started = time.monotonic()
    told = (
        rf"^Fail connecting to server on 127.0.0.1:{free_port}. Timeout: \d+ attempts .* refused$"
    )
    with pytest.raises(NotConnectError, match=told):
        Milvus(host="127.0.0.1", port=free_port, wait_timeout=0.5)
    assert time.monotonic() - started < 8


def test_a_client_that_starts_before_its_server(free_port: int) -> None:
    made: list[Milvus] = []
    caller = threading.Thread(target=lambda: made.append(Milvus(host="127.0.0.1", port=free_port)))
    caller.start()
    time.sleep(1.0)
    assert not made
    with serving(answers(), free_port):
        caller.join(30)
        assert made[0].compact("a").OK()


def test_somebody_listens_who_never_answers() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(NotConnectError):
            Milvus(host="127.0.0.1", port=silent.getsockname()[1], wait_timeout=0.3, max_retry=2)


def test_connecting_later(free_port: int) -> None:
    milvus = Milvus(host="127.0.0.1", port=free_port, try_connect=False)
    with serving(answers(), free_port):
        assert milvus.compact("a").OK()


def test_a_server_that_went_and_came_back(free_port: int) -> None:
    with serving(answers(), free_port):
        milvus = Milvus(host="127.0.0.1", port=free_port, wait_timeout=0.1)
    with pytest.raises(NotConnectError):
        # A call that meets the end of the connection is answered with a status.
        while not milvus.compact("a").OK():
            pass
    with serving(answers(), free_port):
        deadline = time.monotonic() + 10
        while True:
            try:
                assert milvus.compact("a").OK()
                break
            except NotConnectError:
                assert time.monotonic() < deadline


def test_a_call_waits_for_a_server_that_is_started_again(free_port: int) -> None:
    with serving(answers(), free_port):
        milvus = Milvus(host="127.0.0.1", port=free_port)
    told: list[Status] = []
    caller = threading.Thread(target=lambda: told.append(milvus.compact("a")))
    caller.start()
    time.sleep(0.8)
    assert caller.is_alive() and not told
    with serving(answers(), free_port):
        caller.join(30)
    assert [status.code for status in told] == [0]


def test_it_waits_no_longer_than_the_call_may_take(free_port: int) -> None:
    with serving(answers(), free_port):
        milvus = Milvus(host="127.0.0.1", port=free_port)
    started = time.monotonic()
    with pytest.raises(NotConnectError):
        milvus.compact("a", timeout=0.2)
    assert time.monotonic() - started < 10


def test_without_pre_ping_the_call_fails(free_port: int) -> None:
    with serving(answers(), free_port):
        milvus = Milvus(host="127.0.0.1", port=free_port, pre_ping=False)
    status = milvus.compact("a")
    assert status.code is grpc.StatusCode.UNAVAILABLE and status.message.startswith(
        "Error occurred. "
    )


def test_deadline() -> None:
    release = threading.Event()

    def slow(request: bytes) -> bytes:
        release.wait(10)
        return OK

    with serving(answers(Flush=slow)) as port:
        milvus = Milvus(host="127.0.0.1", port=port)
        for timeout in (0.1, "0.1", 0):
            status = milvus.flush(timeout=timeout)
            assert status.code is grpc.StatusCode.DEADLINE_EXCEEDED
            assert status.message == "Error occurred. Deadline Exceeded"
        future = milvus.flush(["a"], timeout=0.1, _async=True)
        with pytest.raises(grpc.RpcError) as late:
            future.result()
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert isinstance(late.value, TransportFailed)
        release.set()
        milvus.close()


def test_a_server_that_dies_during_a_call_is_not_asked_again() -> None:
    calls: list[bytes] = []
    begun = threading.Event()

    def hangs(request: bytes) -> bytes:
        calls.append(request)
        begun.set()
        time.sleep(0.3)
        return OK

    statuses = []
    with serving(answers(Insert=hangs)) as port:
        milvus = Milvus(host="127.0.0.1", port=port, wait_timeout=0.1)
        caller = threading.Thread(target=lambda: statuses.append(milvus.insert("a", [[1.0]])))
        caller.start()
        assert begun.wait(10)
    caller.join(60)
    status, ids = statuses[0]
    assert (
        status.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        and ids == []
        and len(calls) == 1
    )


def test_unknown_rpc(port: int) -> None:
    status = Milvus(host="127.0.0.1", port=port).load_collection("a")
    assert status.code is grpc.StatusCode.UNIMPLEMENTED


def test_large_messages() -> None:
    sizes: list[int] = []

    def insert(request: bytes) -> bytes:
        sizes.append(len(request))
        return bytes(reply_of("Insert", vector_id_array=range(1_000_000)).SerializeToString())

    with serving(answers(Insert=insert)) as port:
        milvus = Milvus(host="127.0.0.1", port=port)
        status, ids = milvus.insert("a", np.zeros((20_000, 256), dtype=np.float32))
    assert status.OK() and sizes[0] > 20_000 * 256 * 4 and ids[-1] == 999_999


def test_threads_share_a_client(port: int) -> None:
    milvus = Milvus(host="127.0.0.1", port=port)
    outcomes: list[bool] = []

    def work() -> None:
        outcomes.extend(milvus.compact("a").OK() for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [True] * 160


FORKING = """
import os, sys, threading
from milvine.client.transports import remote
from milvus import Milvus, NotConnectError

milvus = Milvus(host="127.0.0.1", port=sys.argv[1])
assert milvus.compact("a").OK() and milvus.compact("a", _async=True).result().OK()
for round in range(5):
    child = os.fork()
    if not child:
        assert milvus.compact("a").OK() and milvus.compact("a", _async=True).result(10).OK()
        assert Milvus(host="127.0.0.1", port=sys.argv[1]).compact("a").OK()
        sys.exit(0) if round % 2 else os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert milvus.compact("a").OK()
remote._calling.add(-1)  # as if another thread were in a call now
child = os.fork()
if not child:
    try:
        milvus.compact("a")
    except NotConnectError as error:
        os._exit(0 if "forked while another thread was in a call" in str(error) else 1)
    os._exit(1)
assert os.waitpid(child, 0)[1] == 0
"""


def test_after_a_fork(port: int) -> None:
    """The child connects anew, with the client it was given or with one of its own; the parent goes
    on.
    """
    command = [sys.executable, "-W", "ignore", "-c", FORKING, str(port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=OWN)
    assert done.returncode == 0, done.stderr[-4000:]


def test_ipv6() -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    with serving(answers(), host="[::1]") as port:
        for milvus in (Milvus(host="::1", port=port), Milvus(uri=f"tcp://[::1]:{port}")):
            assert milvus.compact("a").OK()
