"""The port for lanes: what reaches the operations, what comes back, whom it sends away, and what
harms nobody.
"""

from __future__ import annotations

import errno
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import pytest

from milvine.deadline import Deadline
from milvine.lanes import http2, listener, server, server_connections
from milvine.lanes.agreement import CALLS, REQUEST_BYTES_MAX, Endpoint
from milvine.lanes.client import Lane
from milvine.lanes.http2 import frame
from milvine.lanes.server import LanePort
from milvine.lanes.server_protocol import Refusal, Request, ServerProtocol
from tests.lanes.caller import HELLO, PING, Caller, asking, calling, headers, message
from tests.lanes.foreign import FOREIGN

TIMEOUT = 30


class Script:
    """A service whose rpcs the test replaces; it echoes otherwise."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[bytes], bytes | Refusal]] = {}
        self.passes: list[int] = []  # how many searches each had
        self.refusals: dict[str, Refusal] = {}
        self.errors: list[BaseException] = []

    def admit(self, request: Request, peer: tuple[str, int]) -> Refusal | None:
        return self.refusals.get(request.authorization)

    def answer(self, request: Request) -> bytes | Refusal:
        answer = self.answers.get(request.rpc)
        return answer(request.message) if answer else request.rpc.encode() + b":" + request.message

    def answer_batch(self, searches: Sequence[Request]) -> Sequence[bytes | Refusal]:
        self.passes.append(len(searches))
        return [self.answer(each) for each in searches]

    def tell_of_error(self) -> None:
        error = sys.exc_info()[1]
        assert error is not None
        self.errors.append(error)


def listening(port: int = 0, host: str = "127.0.0.1") -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=128)


def opened(script: Script, port: int = 0, batches: bool = True, unsent: int = 64) -> LanePort:
    return LanePort(listening(port), script, batches, unsent << 20)


class Held:
    """An rpc that answers when it is let go."""

    def __init__(self, script: Script, rpc: str) -> None:
        self.begun, self.go = threading.Semaphore(0), threading.Event()
        script.answers[rpc] = self._answer

    def _answer(self, request: bytes) -> bytes:
        self.begun.release()
        assert self.go.wait(TIMEOUT)
        return b"held:" + request

    def wait(self, count: int = 1) -> None:
        for _ in range(count):
            assert self.begun.acquire(timeout=TIMEOUT)


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Errors that would have ended a thread."""
    seen: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", seen.append)
    return seen


@pytest.fixture
def lanes(script: Script, ends: list[Any]) -> Iterator[LanePort]:
    lanes = opened(script)
    lanes.start()
    yield lanes
    lanes.stop(1)
    assert not [thread for thread in lanes.threads if thread.is_alive()]
    assert ends == []


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + TIMEOUT
    while not done():
        assert time.monotonic() < end
        time.sleep(0.005)


def answers(lanes: LanePort) -> bool:
    with calling(lanes.port) as caller:
        return bool(caller.ask("HasCollection", b"x") == b"HasCollection:x")


# calls


def test_every_call_of_lanes(lanes: LanePort) -> None:
    with calling(lanes.port) as caller:
        for _ in range(2):
            for rpc in sorted(CALLS):
                for text in (b"", b"x", bytes(REQUEST_BYTES_MAX)):
                    assert caller.ask(rpc, text) == rpc.encode() + b":" + text


@pytest.mark.parametrize("piece", [1, 7, 9, 1000])
def test_pieces_of_any_size(lanes: LanePort, piece: int) -> None:
    said = HELLO + b"".join(asking("Search", text, 1) for text in (b"y" * 300,))
    with calling(lanes.port, b"") as caller:
        caller.stream = 1
        for at in range(0, len(said), piece):
            caller.say(said[at : at + piece])
        assert caller.answer() == b"Search:" + b"y" * 300


def test_words_about_the_connection_between_and_within_calls(lanes: LanePort) -> None:
    around = PING + http2.settings({http2.INITIAL_WINDOW: 1 << 20, 99: 7}) + http2.window_update(10)
    around += frame(http2.SETTINGS, http2.ACK, 0, b"") + frame(
        http2.PING, http2.ACK, 0, b"8 bytes!"
    )
    around += frame(99, 255, 0, b"unheard of") + frame(http2.WINDOW_UPDATE, 0, 1, b"\0\0\0\1")
    with calling(lanes.port) as caller:
        for stream in (1, 3, 5):
            caller.stream = stream
            caller.say(around + headers("Search", stream) + around + message(b"x", stream))
            assert caller.answer() == b"Search:x"
        assert caller.acknowledged == 1 + 3 * 4


def test_replies_of_many_frames(lanes: LanePort, script: Script) -> None:
    script.answers["Search"] = lambda request: bytes(int(request))
    with calling(lanes.port) as caller:
        for size in (0, 16_379, 16_380, 100_000, 5_000_000):
            assert caller.ask("Search", str(size).encode()) == bytes(size)


def test_a_reply_that_is_larger_than_the_window(lanes: LanePort, script: Script) -> None:
    script.answers["Search"] = lambda request: bytes(100_000)
    with calling(lanes.port, http2.PREFACE + http2.settings({})) as caller:
        assert caller.ask("Search") is None  # by gRPC it would come piece by piece


def test_refusals_are_grpc_statuses(lanes: LanePort, script: Script) -> None:
    script.answers["Search"] = lambda request: Refusal(13, "ü\n%" * 10_000)
    with calling(lanes.port) as caller:
        assert caller.ask("Search") == 13
        assert caller.reason.startswith("ü\n%ü\n%")
        assert caller.ask("CountCollection") == b"CountCollection:"


def test_who_is_not_admitted_reaches_nothing(lanes: LanePort, script: Script) -> None:
    script.refusals["nobody"] = Refusal(16, "no")
    with calling(lanes.port) as caller:
        assert caller.ask("Search", b"\x0a\x01c", "nobody") == 16
        assert lanes.durations.kinds == 0  # and says nothing of how long calls take
        assert caller.ask("Search", b"x", "somebody") == b"Search:x"


def test_want_of_memory_for_a_reply_costs_one_connection(
    lanes: LanePort, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: ServerProtocol, request: Request, reply: bytes) -> bytes:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(ServerProtocol, "reply", fail)
        for _ in range(6):
            with calling(lanes.port) as caller:
                assert caller.ask("Search") is None
    assert [type(each) for each in script.errors] == [MemoryError] * 6
    assert answers(lanes)


def test_many_callers_at_once(lanes: LanePort) -> None:
    def work(number: int) -> None:
        with calling(lanes.port) as caller:
            for n in range(30):
                text = f"{number}-{n}".encode()
                assert caller.ask("Search", text) == b"Search:" + text

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(24)))


# long calls


def test_long_calls_hold_up_nobody_and_each_other_hardly(lanes: LanePort, script: Script) -> None:
    workers = len(lanes.threads) - 1
    with ExitStack() as stack:
        short = stack.enter_context(calling(lanes.port))
        # Known to be short.
        assert all(short.ask("HasCollection", b"x") == b"HasCollection:x" for _ in range(20))
        held = Held(script, "CountCollection")
        long = [stack.enter_context(calling(lanes.port)) for _ in range(workers + 3)]
        for number, each in enumerate(long):
            each.begin("CountCollection", str(number).encode())
        held.wait(workers)
        for _ in range(50):
            assert short.ask("HasCollection", b"x") == b"HasCollection:x"
        assert not held.begun.acquire(timeout=0.05)  # the others wait for a thread
        held.go.set()
        assert [each.answer() for each in long] == [f"held:{n}".encode() for n in range(len(long))]
        assert short.ask("HasCollection", b"x") == b"HasCollection:x"


@contextmanager
def at_once(port: int, script: Script, count: int) -> Iterator[list[Caller]]:
    """So many callers; what they say within is heard together at the end, for the leader is kept
    busy.
    """
    callers = [Caller(port) for _ in range(count)]
    with calling(port) as first:
        for _ in range(20):
            assert first.ask("HasCollection", b"x") == b"HasCollection:x"  # known to be short
        assert all(each.ask("GetVectorsByID") == b"GetVectorsByID:" for each in callers)
        keeping = Held(script, "HasCollection")
        first.begin("HasCollection", b"x")
        keeping.wait()
        yield callers
        time.sleep(0.05)
        keeping.go.set()
        assert first.answer() == b"held:x"


def test_short_calls_that_arrive_with_a_long_one(lanes: LanePort, script: Script) -> None:
    long = Held(script, "CountCollection")
    with at_once(lanes.port, script, 6) as callers:
        slow, *quick = callers
        slow.begin("CountCollection")
        for each in quick:
            each.begin("HasCollection", b"x")
    for each in quick:
        with closing(each):
            assert each.answer() == b"held:x"
    long.go.set()
    with closing(slow):
        assert slow.answer() == b"held:"


# searches together


@pytest.mark.parametrize("batches", [True, False])
def test_searches_that_arrive_together_are_answered_together(
    script: Script, batches: bool, ends: list[Any]
) -> None:
    bad = Refusal(2, "bad")
    script.answers["Search"] = lambda request: bad if b"bad" in request else b"found:" + request
    lanes = opened(script, batches=batches)
    lanes.start()
    with at_once(lanes.port, script, 100) as callers:
        for number, each in enumerate(callers):
            each.begin(
                "Search" if number % 10 else "CountCollection",
                b"\n\1c" + (b"bad" if number == 5 else b"%03d" % number),
            )
    for number, each in enumerate(callers):
        with closing(each):
            if number % 10:
                assert each.answer() == (2 if number == 5 else b"found:\n\1c%03d" % number)
            else:
                assert each.answer() == b"CountCollection:\n\1c%03d" % number
    lanes.stop(1)
    assert sorted(script.passes)[-2:] == ([26, 64] if batches else [])
    assert ends == []


# foreigners


@pytest.mark.parametrize("words", FOREIGN.values(), ids=FOREIGN)
def test_whoever_is_no_lane_is_hung_up_on(lanes: LanePort, words: bytes) -> None:
    with calling(lanes.port) as beside:
        for _ in range(2 + len(lanes.threads)):  # each could cost a thread
            with calling(lanes.port, words) as stranger:
                assert stranger.hung_up()
        assert beside.ask("Search", b"x") == b"Search:x"


def test_who_hung_up_before_he_greeted_is_forgotten(
    script: Script, ends: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_connections, "GREETING_SECONDS", 0.2)
    lanes = opened(script)
    lanes.start()
    for _ in range(10):
        with calling(lanes.port, b"GET / HTTP/1.1\r\n\r\n") as stranger:
            assert stranger.hung_up()
    time.sleep(0.3)
    assert answers(lanes)
    lanes.stop(1)
    assert ends == []


def test_silence_is_not_waited_for(
    script: Script, ends: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_connections, "GREETING_SECONDS", 0.3)
    lanes = opened(script)
    lanes.start()
    with calling(lanes.port) as known, ExitStack() as stack:
        assert known.ask("Search") == b"Search:"
        silent = [stack.enter_context(calling(lanes.port, http2.PREFACE[:n])) for n in (0, 1, 23)]
        assert all(each.hung_up() for each in silent)
        time.sleep(0.1)
        assert known.ask("Search") == b"Search:"  # who has greeted may be silent
    lanes.stop(1)
    assert ends == []


def test_a_second_call_before_the_answer_ends_the_connection_alone(
    lanes: LanePort, script: Script
) -> None:
    held = Held(script, "CountCollection")
    with calling(lanes.port) as hasty, calling(lanes.port) as patient:
        hasty.begin("CountCollection")
        patient.begin("CountCollection", b"x")
        held.wait(2)
        hasty.say(asking("Search", b"", 3))
        assert hasty.hung_up()
        held.go.set()
        assert patient.answer() == b"held:x"
        assert patient.ask("Search") == b"Search:"


def test_callers_who_leave_before_the_answer(lanes: LanePort, script: Script) -> None:
    held, workers = Held(script, "CountCollection"), len(lanes.threads) - 1
    callers = [Caller(lanes.port) for _ in range(workers)]
    for each in callers:
        each.begin("CountCollection")
    held.wait(workers)
    for each in callers:
        each.close()
    until(lambda: not lanes.connections.open)
    held.go.set()
    assert answers(lanes)


# slow readers


def test_megabytes_to_a_slow_reader_come_whole_and_delay_nobody(
    lanes: LanePort, script: Script
) -> None:
    whole = bytes(range(256)) * (24 << 12)  # 24 MiB, more than any socket takes
    script.answers["Search"] = lambda request: whole
    with calling(lanes.port) as slow, calling(lanes.port) as other:
        slow.begin("Search")
        until(lambda: bool(lanes.connections.unsent_bytes))
        for _ in range(100):
            assert other.ask("CountCollection") == b"CountCollection:"
        assert slow.answer() == whole
        assert slow.ask("CountCollection") == b"CountCollection:"
        assert not lanes.connections.unsent_bytes


def test_who_reads_nothing_is_hung_up_on(
    script: Script, ends: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_connections, "READING_SECONDS", 0.3)
    lanes = opened(script)
    lanes.start()
    script.answers["Search"] = lambda request: bytes(24 << 20)
    with calling(lanes.port) as deaf:
        deaf.begin("Search")
        until(lambda: bool(lanes.connections.unsent_bytes))
        until(lambda: not lanes.connections.open)
        assert deaf.answer() is None
    lanes.stop(1)
    assert ends == []


def test_replies_that_nobody_reads_are_bounded_together(script: Script) -> None:
    lanes = opened(script, unsent=40)
    lanes.start()
    script.answers["Search"] = lambda request: bytes(24 << 20)
    with ExitStack() as stack:
        deaf = [stack.enter_context(calling(lanes.port)) for _ in range(8)]
        for each in deaf:
            each.begin("Search")
        until(
            lambda: len(lanes.connections.open) < 8 and lanes.connections.unsent_bytes >= 40 << 20
        )
        time.sleep(0.1)
        assert lanes.connections.unsent_bytes <= (40 + (len(lanes.threads)) * 25) << 20
        assert answers(lanes)
        answered = [each for each in deaf if each.answer() == bytes(24 << 20)]
        assert 1 <= len(answered) < 8
    lanes.stop(1)


def test_a_deaf_talker_is_hung_up_on(lanes: LanePort, script: Script) -> None:
    script.answers["Search"] = lambda request: bytes(24 << 20)
    with calling(lanes.port) as deaf:
        deaf.begin("Search")
        until(lambda: bool(lanes.connections.unsent_bytes))
        deaf.say(PING)
        until(lambda: not lanes.connections.open)


# connections


def test_no_more_connections_than_there_may_be(
    lanes: LanePort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_connections, "CONNECTIONS_MAX", 3)
    with ExitStack() as stack:
        known = [stack.enter_context(calling(lanes.port)) for _ in range(3)]
        assert all(each.ask("Search") == b"Search:" for each in known)
        with calling(lanes.port, b"") as late:
            assert late.hung_up()
        assert known[0].ask("Search") == b"Search:"
    until(lambda: not lanes.connections.open)
    assert answers(lanes)


class OutOfFiles:
    """A listening socket at which accepting fails until it is mended."""

    def __init__(self) -> None:
        self.under = listening()
        self.tried, self.mended = 0, True

    def accept(self) -> Any:
        self.tried += 1
        if not self.mended:
            raise OSError(errno.EMFILE, "Too many open files")
        return self.under.accept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.under, name)


def test_a_process_out_of_files_waits_and_recovers(
    script: Script, ends: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "DEAF_SECONDS", 0.1)
    broken: Any = OutOfFiles()
    lanes = LanePort(broken, script)
    lanes.start()
    with calling(lanes.port) as known:
        assert known.ask("Search") == b"Search:"
        broken.tried, broken.mended = 0, False
        with calling(lanes.port, b"") as late:
            time.sleep(0.5)
            assert 1 <= broken.tried <= 8  # not as fast as it can
            assert known.ask("Search") == b"Search:"
            broken.mended = True
            late.say(HELLO)
            assert late.ask("Search") == b"Search:"
    lanes.stop(1)
    assert ends == []


class Selector(selectors.DefaultSelector):
    """Of the system, which does what a test wants."""

    refusing: OSError | None = None  # raised by register
    failing: Exception | None = None  # raised by select
    twice = False  # events of connections are told twice

    def register(self, *arguments: Any, **named: Any) -> Any:
        if Selector.refusing:
            raise Selector.refusing
        return super().register(*arguments, **named)

    def select(self, timeout: float | None = None) -> Any:
        told = super().select(timeout)
        if Selector.failing:
            raise Selector.failing
        return told + [each for each in told if Selector.twice and each[0].data is not None]


@pytest.fixture
def on_selector(
    script: Script, ends: list[Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[LanePort]:
    """A port on such a selector, which does nothing yet."""
    monkeypatch.setattr(selectors, "DefaultSelector", Selector)
    lanes = opened(script)
    lanes.start()
    yield lanes
    lanes.stop(1)
    assert not [thread for thread in lanes.threads if thread.is_alive()]
    assert ends == []


def test_a_connection_that_the_system_will_not_watch(
    on_selector: LanePort, monkeypatch: pytest.MonkeyPatch
) -> None:
    with calling(on_selector.port) as known:
        assert known.ask("Search") == b"Search:"
        with monkeypatch.context() as patched:
            patched.setattr(Selector, "refusing", OSError(errno.ENOSPC, "No space left on device"))
            for _ in range(6):
                with calling(on_selector.port, b"") as late:
                    assert late.hung_up()
        assert known.ask("Search") == b"Search:"


def test_no_room_to_listen_again_is_waited_for(
    script: Script, ends: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selectors, "DefaultSelector", Selector)
    monkeypatch.setattr(listener, "DEAF_SECONDS", 0.05)
    broken: Any = OutOfFiles()
    lanes = LanePort(broken, script)
    lanes.start()
    with calling(lanes.port) as known:
        assert known.ask("Search") == b"Search:"
        with monkeypatch.context() as patched:
            patched.setattr(Selector, "refusing", OSError(errno.ENOMEM, "Cannot allocate memory"))
            broken.tried, broken.mended = 0, False
            with calling(lanes.port, b""):
                until(lambda: broken.tried == 1)
                broken.mended = True
                for _ in range(10):
                    assert known.ask("Search") == b"Search:"
                    time.sleep(0.02)
                assert broken.tried == 1
        assert answers(lanes)
    lanes.stop(1)
    assert ends == []


def test_an_error_of_the_leader_ends_no_thread_and_leaves_nobody_waiting(
    on_selector: LanePort, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "RECOVERY_SECONDS", 0.05)
    held = Held(script, "CountCollection")
    with calling(on_selector.port) as waiting, calling(on_selector.port) as asking_now:
        waiting.begin("CountCollection")
        held.wait()
        with monkeypatch.context() as patched:
            patched.setattr(Selector, "failing", KeyError("nobody foresaw this"))
            assert asking_now.ask("Search") is None
        assert waiting.answer() is None
    held.go.set()
    assert answers(on_selector)
    assert {type(each) for each in script.errors} == {KeyError}


def test_a_socket_told_of_twice_is_closed_once(
    on_selector: LanePort, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As kqueue does, which tells of reading and of writing one after the other."""
    monkeypatch.setattr(Selector, "twice", True)
    with calling(on_selector.port) as caller:
        assert caller.ask("Search") == b"Search:"
    until(lambda: not on_selector.connections.open)
    assert answers(on_selector)


# beginning and end


def test_stop_before_start_and_twice(script: Script) -> None:
    lanes = opened(script)
    with calling(lanes.port, b"") as waiting:
        lanes.stop(1)
        lanes.stop(1)
        assert waiting.hung_up()
    started = opened(script, lanes.port)
    started.start()
    assert answers(started)
    started.stop(None)
    started.stop(None)


def test_stopping_lets_calls_finish(script: Script, ends: list[Any]) -> None:
    lanes, held = opened(script), Held(script, "CountCollection")
    lanes.start()
    with calling(lanes.port) as caller, calling(lanes.port) as idle:
        assert idle.ask("Search") == b"Search:"
        caller.begin("CountCollection", b"x")
        held.wait()
        stopper = threading.Thread(target=lanes.stop, args=(None,))
        stopper.start()
        time.sleep(0.1)
        assert stopper.is_alive()
        held.go.set()
        assert caller.answer() == b"held:x"
        stopper.join(TIMEOUT)
        assert caller.hung_up() and idle.hung_up()
    with pytest.raises(ConnectionError):
        Caller(lanes.port)
    assert ends == []


def test_stopping_waits_no_longer_than_its_grace(script: Script, ends: list[Any]) -> None:
    lanes, held = opened(script), Held(script, "CountCollection")
    lanes.start()
    with calling(lanes.port) as caller:
        caller.begin("CountCollection")
        held.wait()
        began = time.monotonic()
        lanes.stop(0.2)
        assert time.monotonic() - began < 10
        assert caller.answer() is None
    held.go.set()
    for thread in lanes.threads:
        thread.join(TIMEOUT)
    assert ends == []


def test_stop_while_callers_call(script: Script, ends: list[Any]) -> None:
    lanes = opened(script)
    lanes.start()
    answered = threading.Semaphore(0)

    def work(number: int) -> list[Any]:
        told: list[Any] = []
        try:
            with calling(lanes.port) as caller:
                while not told or told[-1] is not None:
                    told.append(caller.ask("Search", str(number).encode()))
                    answered.release()
        except OSError:  # also one that came when the door was closed already
            told.append(None)
        return told

    with ThreadPoolExecutor(4) as pool:
        working = [pool.submit(work, number) for number in range(4)]
        for _ in range(40):
            assert answered.acquire(timeout=TIMEOUT)
        lanes.stop(5)
        for number, each in enumerate(working):
            assert set(each.result(TIMEOUT)) <= {b"Search:%d" % number, None}
    assert ends == []


@pytest.mark.parametrize("hosts", [("::1",), ("127.0.0.1", "::1")])
def test_ipv6(script: Script, hosts: tuple[str, ...]) -> None:
    try:
        if len(hosts) == 1:
            bound = listening(host="::1")
        else:
            bound = socket.create_server(
                ("::", 0), family=socket.AF_INET6, dualstack_ipv6=socket.has_dualstack_ipv6()
            )
    except OSError:
        pytest.skip("no IPv6 here")
    lanes = LanePort(bound, script)
    lanes.start()
    for host in hosts:
        with calling(lanes.port, host=host) as caller:
            assert caller.ask("Search", b"x") == b"Search:x"
            assert {each.peer[0] for each in lanes.connections.open} & {host, f"::ffff:{host}"}
    lanes.stop(1)


def test_our_client_and_another_server_at_its_port(lanes: LanePort) -> None:
    server_of_it, address = Endpoint("127.0.0.1", 1, "localhost:1"), lanes.connections.address
    lane = Lane(server_of_it, address)
    assert [lane.call("Search", text, Deadline(TIMEOUT)) for text in (b"x", b"", b"y" * 9000)] == [
        b"Search:x", b"Search:", b"Search:" + b"y" * 9000,
    ]  # fmt: skip
    assert lane.port == lanes.port
    lane.close()
    with pytest.raises(ConnectionError):
        Lane(server_of_it, address._replace(instance=address.instance ^ 1))
