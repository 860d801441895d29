"""The port for lanes: what reaches the operations, what comes back, whom it sends away, and what
harms nobody.
"""

from __future__ import annotations

import errno
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import pytest

from milvine.client.address import ServerAddress
from milvine.client.transports.lane import Lane
from milvine.deadline import Deadline
from milvine.server.doors.door import DoorFailed
from milvine.server.lanes import callers, listeners, port
from milvine.server.lanes.connection import Connection
from milvine.server.lanes.port import LaneDoor
from milvine.server.operations import MalformedRequest, Refused
from milvine.wire import http2, lanes
from milvine.wire.http2 import PREFIX, frame
from milvine.wire.lanes import CALLS, REQUEST_BYTES_MAX, Place
from tests.server.lanes import (
    FAMILIES,
    HELLO,
    PING,
    Caller,
    Where,
    asking,
    calling,
    headers,
    message,
    where,
)

TIMEOUT = 30


class Script:
    """A `call` whose rpcs the test replaces; it echoes otherwise."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[bytes], bytes]] = {}

    def __call__(self, rpc: str, request: bytes) -> bytes:
        answer = self.answers.get(rpc)
        return answer(request) if answer else rpc.encode() + b":" + request


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


_chosen = {"family": "tcp"}


@pytest.fixture(autouse=True, params=FAMILIES)
def family(request: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test for callers of either kind."""
    monkeypatch.setitem(_chosen, "family", request.param)


def way_to(door: LaneDoor) -> Where:
    return where(door, _chosen["family"])


def listener_at(door: LaneDoor) -> socket.socket:
    address = door.place.unix if _chosen["family"] == "unix" else door.port
    (found,) = (
        each
        for each in door._callers._listeners._sockets.values()
        if str(address) in str(each.getsockname())
    )
    return found


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
def door(script: Script, ends: list[Any]) -> Iterator[LaneDoor]:
    door = LaneDoor(script, None, "127.0.0.1", 0, local=True)
    door.start()
    yield door
    door.stop(1)
    assert not [thread for thread in door._threads if thread.is_alive()]
    assert ends == []


def kept_bytes(door: LaneDoor) -> int:
    """Bytes of replies that the door keeps for its callers."""
    return sum(each.held for each in list(door._callers.connections))


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + TIMEOUT
    while not done():
        assert time.monotonic() < end
        time.sleep(0.005)


def answers(door: LaneDoor) -> bool:
    with calling(way_to(door)) as caller:
        return bool(caller.ask("HasCollection", b"x") == b"HasCollection:x")


# calls


def test_every_call_of_lanes(door: LaneDoor) -> None:
    with calling(way_to(door)) as caller:
        for _ in range(2):
            for rpc in sorted(CALLS):
                for text in (b"", b"x", bytes(REQUEST_BYTES_MAX)):
                    assert caller.ask(rpc, text) == rpc.encode() + b":" + text


@pytest.mark.parametrize("piece", [1, 7, 9, 1000])
def test_pieces_of_any_size(door: LaneDoor, piece: int) -> None:
    said = HELLO + b"".join(asking("Search", text, 1) for text in (b"y" * 300,))
    with calling(way_to(door), b"") as caller:
        caller.stream = 1
        for at in range(0, len(said), piece):
            caller.say(said[at : at + piece])
        assert caller.answer() == b"Search:" + b"y" * 300


def test_words_about_the_connection_between_and_within_calls(door: LaneDoor) -> None:
    around = PING + http2.settings({http2.INITIAL_WINDOW: 1 << 20, 99: 7}) + http2.window_update(10)
    around += frame(http2.SETTINGS, http2.ACK, 0, b"") + frame(
        http2.PING, http2.ACK, 0, b"8 bytes!"
    )
    around += frame(99, 255, 0, b"unheard of") + frame(http2.WINDOW_UPDATE, 0, 1, b"\0\0\0\1")
    with calling(way_to(door)) as caller:
        for stream in (1, 3, 5):
            caller.stream = stream
            caller.say(around + headers("Search", stream) + around + message(b"x", stream))
            assert caller.answer() == b"Search:x"
        assert caller.acknowledged == 1 + 3 * 4


def test_replies_of_many_frames(door: LaneDoor, script: Script) -> None:
    script.answers["Search"] = lambda request: bytes(int(request))
    with calling(way_to(door)) as caller:
        for size in (0, 16_379, 16_380, 100_000, 5_000_000):
            assert caller.ask("Search", str(size).encode()) == bytes(size)


def test_a_reply_that_is_larger_than_the_window(door: LaneDoor, script: Script) -> None:
    script.answers["Search"] = lambda request: bytes(100_000)
    with calling(way_to(door), http2.PREFACE + http2.settings({})) as caller:
        assert caller.ask("Search") is None  # by gRPC it would come piece by piece


def test_refusals_are_grpc_statuses(door: LaneDoor, script: Script) -> None:
    def refuse(request: bytes) -> bytes:
        raise MalformedRequest.undecodable("ü\n%" * 10_000)

    script.answers["Search"] = refuse
    with calling(way_to(door)) as caller:
        assert caller.ask("Search") == 13
        assert caller.ask("CountCollection") == b"CountCollection:"


def test_a_call_that_breaks_is_told_of_and_the_door_goes_on(
    door: LaneDoor, script: Script, ends: list[Any]
) -> None:
    script.answers["Search"] = lambda request: bytes(1 // 0)
    with calling(way_to(door)) as caller:
        assert [caller.ask("Search") for _ in range(6)] == [2] * 6
        assert caller.ask("CountCollection") == b"CountCollection:"
    assert [each.exc_type for each in ends] == [ZeroDivisionError] * 6
    ends.clear()


def test_want_of_memory_for_a_reply_costs_one_connection(
    door: LaneDoor, monkeypatch: pytest.MonkeyPatch, ends: list[Any]
) -> None:
    def fail(self: Connection, stream: int, reply: bytes) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(Connection, "reply", fail)
        for _ in range(6):
            with calling(way_to(door)) as caller:
                assert caller.ask("Search") is None
    assert [each.exc_type for each in ends] == [MemoryError] * 6
    ends.clear()
    assert answers(door)


def test_many_callers_at_once(door: LaneDoor) -> None:
    def work(number: int) -> None:
        with calling(way_to(door)) as caller:
            for n in range(30):
                text = f"{number}-{n}".encode()
                assert caller.ask("Search", text) == b"Search:" + text

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(24)))


# long calls


def test_long_calls_hold_up_nobody_and_each_other_hardly(door: LaneDoor, script: Script) -> None:
    workers = len(door._threads) - 1
    with ExitStack() as stack:
        short = stack.enter_context(calling(way_to(door)))
        # Known to be short.
        assert all(short.ask("HasCollection", b"x") == b"HasCollection:x" for _ in range(20))
        held = Held(script, "CountCollection")
        long = [stack.enter_context(calling(way_to(door))) for _ in range(workers + 3)]
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
def at_once(where: Where, script: Script, count: int) -> Iterator[list[Caller]]:
    """So many callers; what they say within is heard together at the end, for the leader is kept
    busy.
    """
    callers = [Caller(where) for _ in range(count)]
    with calling(where) as first:
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


def test_short_calls_that_arrive_with_a_long_one(door: LaneDoor, script: Script) -> None:
    long = Held(script, "CountCollection")
    with at_once(way_to(door), script, 6) as callers:
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


def test_searches_that_arrive_together_share_a_pass(script: Script, ends: list[Any]) -> None:
    passes: list[int] = []

    def together(requests: Sequence[bytes]) -> list[bytes | Refused]:
        passes.append(len(requests))
        return [
            MalformedRequest.bad_json() if b"bad" in each else b"together:" + each
            for each in requests
        ]

    door = LaneDoor(script, together, "127.0.0.1", 0, local=True)
    door.start()
    with at_once(way_to(door), script, 100) as callers:
        for number, each in enumerate(callers):
            each.begin(
                "Search" if number % 10 else "CountCollection",
                b"\n\1c" + (b"bad" if number == 5 else b"%03d" % number),
            )
    for number, each in enumerate(callers):
        with closing(each):
            if number % 10:
                assert each.answer() == (2 if number == 5 else b"together:\n\1c%03d" % number)
            else:
                assert each.answer() == b"CountCollection:\n\1c%03d" % number
    door.stop(1)
    assert sorted(passes)[-2:] == [26, 64]
    assert ends == []


def test_a_pass_that_breaks(script: Script, ends: list[Any]) -> None:
    door = LaneDoor(script, lambda requests: [bytes(1 // 0)], "127.0.0.1", 0, local=True)
    door.start()
    with at_once(way_to(door), script, 5) as callers:
        for each in callers:
            each.begin("Search", b"x")
    for each in callers:
        with closing(each):
            assert each.answer() == 2
            assert each.ask("CountCollection") == b"CountCollection:"
    door.stop(1)
    assert {each.exc_type for each in ends} == {ZeroDivisionError}


# foreigners

FOREIGN = {
    "HTTP/1": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "TLS": bytes.fromhex("160301020001000001fc0303") + bytes(100),
    "half a preface, then something else": http2.PREFACE[:10] + b"x" * 20,
    "an unknown path": HELLO + asking("DropCollection", b""),
    "a header in a code": HELLO + frame(1, 4, 1, b"\x83\x86\x04\x85" + bytes(5)) + message(b""),
    "a dynamic table": HELLO + frame(1, 4, 1, b"\x83\x86\x44\x01/") + message(b""),
    "a header block that is cut off": HELLO + frame(1, 4, 1, b"\x83\x86\x04\x20/") + message(b""),
    "a number without an end": HELLO + frame(1, 4, 1, b"\x0f" + b"\xff" * 20) + message(b""),
    "no text": HELLO + frame(1, 4, 1, b"\x04\x01\xff") + message(b""),
    "a header block of 10 KB": HELLO
    + frame(1, 4, 1, headers("Search")[9:] + b"\x00\x01x" + http2.text("y" * 10_000))
    + message(b""),
    "two paths": HELLO
    + frame(1, 4, 1, headers("Search")[9:] + headers("Search")[11:])
    + message(b""),
    "no header block": HELLO + message(b""),
    "an empty header block": HELLO + frame(1, 4, 1, b"") + message(b""),
    "two header blocks": HELLO + headers("Search") + asking("Search", b"", 3),
    "headers in two frames": HELLO + headers("Search").replace(b"\x01\x04", b"\x01\x00", 1),
    "padded headers": HELLO + headers("Search").replace(b"\x01\x04", b"\x01\x0c", 1),
    "headers that end the stream": HELLO + headers("Search").replace(b"\x01\x04", b"\x01\x05", 1),
    "an even stream": HELLO + asking("Search", b"", 2),
    "stream 0": HELLO + asking("Search", b"", 0),
    "another stream's message": HELLO + headers("Search", 1) + message(b"", 3),
    "a message that goes on": HELLO + headers("Search") + frame(0, 0, 1, PREFIX.pack(0, 0)),
    "a padded message": HELLO + headers("Search") + frame(0, 9, 1, b"\0" + PREFIX.pack(0, 0)),
    "a compressed message": HELLO + headers("Search") + frame(0, 1, 1, PREFIX.pack(1, 1) + b"x"),
    "a message that is longer than it says": HELLO
    + headers("Search")
    + frame(0, 1, 1, PREFIX.pack(0, 0) + b"x"),
    "a message that is shorter than it says": HELLO
    + headers("Search")
    + frame(0, 1, 1, PREFIX.pack(0, 9) + b"x"),
    "no message": HELLO + headers("Search") + frame(0, 1, 1, b""),
    "a frame of 16 MiB": HELLO + b"\xff\xff\xff\0\0\0\0\0\1",
    "a message that is too long": HELLO
    + headers("Search")
    + message(bytes(REQUEST_BYTES_MAX + 1))[:100],
    "settings that are cut off": HELLO + frame(http2.SETTINGS, 0, 0, b"12345"),
    "a window of a kilobyte": HELLO + frame(http2.WINDOW_UPDATE, 0, 0, b"\xff" * 1000),
    "a stream that is reset": HELLO + frame(http2.RST_STREAM, 0, 1, bytes(4)),
    "goodbye": HELLO + frame(http2.GOAWAY, 0, 0, bytes(8)),
    "pings without an end": HELLO + PING * 70,
    "frames of no kind without an end": HELLO + frame(77, 0, 0, b"") * 70,
    "two calls at once": HELLO + asking("Search", b"", 1) + asking("Search", b"", 3),
}


@pytest.mark.parametrize("words", FOREIGN.values(), ids=FOREIGN)
def test_whoever_is_no_lane_is_hung_up_on(door: LaneDoor, words: bytes) -> None:
    with calling(way_to(door)) as beside:
        for _ in range(2 + len(door._threads)):  # each could cost a thread
            with calling(way_to(door), words) as stranger:
                assert stranger.hung_up()
        assert beside.ask("Search", b"x") == b"Search:x"


def test_who_hung_up_before_he_greeted_is_forgotten(
    script: Script, ends: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers, "GREETING_SECONDS", 0.2)
    door = LaneDoor(script, None, "127.0.0.1", 0, local=True)
    door.start()
    for _ in range(10):
        with calling(way_to(door), b"GET / HTTP/1.1\r\n\r\n") as stranger:
            assert stranger.hung_up()
    time.sleep(0.3)
    assert answers(door)
    door.stop(1)
    assert ends == []


def test_silence_is_not_waited_for(
    script: Script, ends: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers, "GREETING_SECONDS", 0.3)
    door = LaneDoor(script, None, "127.0.0.1", 0, local=True)
    door.start()
    with calling(way_to(door)) as known, ExitStack() as stack:
        assert known.ask("Search") == b"Search:"
        silent = [stack.enter_context(calling(way_to(door), http2.PREFACE[:n])) for n in (0, 1, 23)]
        assert all(each.hung_up() for each in silent)
        time.sleep(0.1)
        assert known.ask("Search") == b"Search:"  # who has greeted may be silent
    door.stop(1)
    assert ends == []


def test_a_second_call_before_the_answer_ends_the_connection_alone(
    door: LaneDoor, script: Script
) -> None:
    held = Held(script, "CountCollection")
    with calling(way_to(door)) as hasty, calling(way_to(door)) as patient:
        hasty.begin("CountCollection")
        patient.begin("CountCollection", b"x")
        held.wait(2)
        hasty.say(asking("Search", b"", 3))
        assert hasty.hung_up()
        held.go.set()
        assert patient.answer() == b"held:x"
        assert patient.ask("Search") == b"Search:"


def test_callers_who_leave_before_the_answer(door: LaneDoor, script: Script) -> None:
    held, workers = Held(script, "CountCollection"), len(door._threads) - 1
    callers = [Caller(way_to(door)) for _ in range(workers)]
    for each in callers:
        each.begin("CountCollection")
    held.wait(workers)
    for each in callers:
        each.close()
    until(lambda: not door._callers.connections)
    held.go.set()
    assert answers(door)


# slow readers


def test_megabytes_to_a_slow_reader_come_whole_and_delay_nobody(
    door: LaneDoor, script: Script
) -> None:
    whole = bytes(range(256)) * (24 << 12)  # 24 MiB, more than any socket takes
    script.answers["Search"] = lambda request: whole
    with calling(way_to(door)) as slow, calling(way_to(door)) as other:
        slow.begin("Search")
        until(lambda: bool(kept_bytes(door)))
        for _ in range(100):
            assert other.ask("CountCollection") == b"CountCollection:"
        assert slow.answer() == whole
        assert slow.ask("CountCollection") == b"CountCollection:"
        assert not kept_bytes(door)


def test_who_reads_nothing_is_hung_up_on(
    script: Script, ends: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers, "READING_SECONDS", 0.3)
    door = LaneDoor(script, None, "127.0.0.1", 0, local=True)
    door.start()
    script.answers["Search"] = lambda request: bytes(24 << 20)
    with calling(way_to(door)) as deaf:
        deaf.begin("Search")
        until(lambda: bool(kept_bytes(door)))
        until(lambda: not door._callers.connections)
        assert deaf.answer() is None
    door.stop(1)
    assert ends == []


def test_replies_that_nobody_reads_are_bounded_together(
    door: LaneDoor, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers, "UNSENT_BYTES_MAX", 40 << 20)
    script.answers["Search"] = lambda request: bytes(24 << 20)
    with ExitStack() as stack:
        deaf = [stack.enter_context(calling(way_to(door))) for _ in range(8)]
        for each in deaf:
            each.begin("Search")
        until(lambda: len(door._callers.connections) < 8 and kept_bytes(door) >= 40 << 20)
        time.sleep(0.1)
        assert kept_bytes(door) <= (40 + (len(door._threads)) * 25) << 20
        assert answers(door)
        kept = [each for each in deaf if each.answer() == bytes(24 << 20)]
        assert 1 <= len(kept) < 8


def test_a_deaf_talker_is_hung_up_on(door: LaneDoor, script: Script) -> None:
    script.answers["Search"] = lambda request: bytes(24 << 20)
    with calling(way_to(door)) as deaf:
        deaf.begin("Search")
        until(lambda: bool(kept_bytes(door)))
        deaf.say(PING)
        until(lambda: not door._callers.connections)


# connections


def test_no_more_connections_than_there_may_be(
    door: LaneDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers, "CONNECTIONS_MAX", 3)
    with ExitStack() as stack:
        known = [stack.enter_context(calling(way_to(door))) for _ in range(3)]
        assert all(each.ask("Search") == b"Search:" for each in known)
        with calling(way_to(door), b"") as late:
            assert late.hung_up()
        assert known[0].ask("Search") == b"Search:"
    until(lambda: not door._callers.connections)
    assert answers(door)


class OutOfFiles:
    """A listener at which accepting fails until it is mended."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener, self.tried, self.mended = listener, 0, False

    def accept(self) -> Any:
        self.tried += 1
        if not self.mended:
            raise OSError(errno.EMFILE, "Too many open files")
        return self._listener.accept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._listener, name)


def test_a_process_out_of_files_waits_and_recovers(
    script: Script, ends: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "_DEAF_SECONDS", 0.1)
    door = LaneDoor(script, None, "127.0.0.1", 0, local=True)
    with calling(way_to(door)) as known:
        listener = listener_at(door)
        broken: Any = OutOfFiles(listener)
        door._callers._waiting.unregister(listener)
        door._callers._waiting.register(broken, 1)
        door._callers._listeners._sockets[listener.fileno()] = broken
        broken.mended = True
        door.start()
        assert known.ask("Search") == b"Search:"
        broken.tried, broken.mended = 0, False
        with calling(way_to(door), b"") as late:
            time.sleep(0.5)
            assert 1 <= broken.tried <= 8  # not as fast as it can
            assert known.ask("Search") == b"Search:"
            broken.mended = True
            late.say(HELLO)
            assert late.ask("Search") == b"Search:"
    door.stop(1)
    assert ends == []


def test_a_connection_that_the_system_will_not_watch(
    door: LaneDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with calling(way_to(door)) as known:
        assert known.ask("Search") == b"Search:"
        with monkeypatch.context() as patched:
            patched.setattr(door._callers._waiting, "register", refuse)
            for _ in range(6):
                with calling(way_to(door), b"") as late:
                    assert late.hung_up()
        assert known.ask("Search") == b"Search:"


def test_no_room_to_listen_again_is_waited_for(
    door: LaneDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(listeners, "_DEAF_SECONDS", 0.05)
    with calling(way_to(door)) as known:
        assert known.ask("Search") == b"Search:"
        with monkeypatch.context() as patched:
            for each in door._callers._listeners._sockets.values():
                door._callers._waiting.unregister(each)
                door._callers._listeners._deaf.append(each)
            patched.setattr(door._callers._waiting, "register", refuse)
            door._callers._listeners.deaf_until = time.monotonic()
            for _ in range(10):
                assert known.ask("Search") == b"Search:"
                time.sleep(0.02)
        assert answers(door)


def test_an_error_of_the_leader_ends_no_thread_and_leaves_nobody_waiting(
    door: LaneDoor, script: Script, monkeypatch: pytest.MonkeyPatch, ends: list[Any]
) -> None:
    def fail(*arguments: Any) -> None:
        raise KeyError("nobody foresaw this")

    monkeypatch.setattr(port, "_RECOVERY_SECONDS", 0.05)
    held = Held(script, "CountCollection")
    with calling(way_to(door)) as waiting, calling(way_to(door)) as asking_now:
        waiting.begin("CountCollection")
        held.wait()
        with monkeypatch.context() as patched:
            patched.setattr(door._callers, "_hear", fail)
            assert asking_now.ask("Search") is None
        assert waiting.answer() is None
    held.go.set()
    assert answers(door)
    assert {each.exc_type for each in ends} == {KeyError}
    ends.clear()


def test_a_socket_told_of_twice_is_closed_once(door: LaneDoor) -> None:
    with calling(way_to(door)) as caller:
        assert caller.ask("Search") == b"Search:"
        (connection,) = door._callers.connections
    until(lambda: not door._callers.connections)
    # As kqueue does, which tells of reading and of writing one after the other.
    door._callers._hang_up(connection)
    assert answers(door)


# beginning and end


def test_stop_before_start_and_twice(script: Script) -> None:
    door = LaneDoor(script, None, "127.0.0.1", 0, local=True)
    with calling(way_to(door), b"") as waiting:
        door.stop(1)
        door.stop(1)
        assert waiting.hung_up()
    started = LaneDoor(script, None, "127.0.0.1", door.port, local=True)
    started.start()
    assert answers(started)
    started.stop(None)
    started.stop(None)


def test_stopping_lets_calls_finish(script: Script, ends: list[Any]) -> None:
    door, held = LaneDoor(script, None, "127.0.0.1", 0, local=True), Held(script, "CountCollection")
    door.start()
    with calling(way_to(door)) as caller, calling(way_to(door)) as idle:
        assert idle.ask("Search") == b"Search:"
        caller.begin("CountCollection", b"x")
        held.wait()
        stopper = threading.Thread(target=door.stop, args=(None,))
        stopper.start()
        time.sleep(0.1)
        assert stopper.is_alive()
        held.go.set()
        assert caller.answer() == b"held:x"
        stopper.join(TIMEOUT)
        assert caller.hung_up() and idle.hung_up()
    with pytest.raises(ConnectionError):
        Caller(way_to(door))
    assert ends == []


def test_stopping_waits_no_longer_than_its_grace(script: Script, ends: list[Any]) -> None:
    door, held = LaneDoor(script, None, "127.0.0.1", 0, local=True), Held(script, "CountCollection")
    door.start()
    with calling(way_to(door)) as caller:
        caller.begin("CountCollection")
        held.wait()
        began = time.monotonic()
        door.stop(0.2)
        assert time.monotonic() - began < 10
        assert caller.answer() is None
    held.go.set()
    for thread in door._threads:
        thread.join(TIMEOUT)
    assert ends == []


def test_stop_while_callers_call(script: Script, ends: list[Any]) -> None:
    door = LaneDoor(script, None, "127.0.0.1", 0, local=True)
    door.start()
    answered = threading.Semaphore(0)

    def work(number: int) -> list[Any]:
        told: list[Any] = []
        try:
            with calling(way_to(door)) as caller:
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
        door.stop(5)
        for number, each in enumerate(working):
            assert set(each.result(TIMEOUT)) <= {b"Search:%d" % number, None}
    assert ends == []


def test_a_taken_port_is_refused(door: LaneDoor, script: Script) -> None:
    with pytest.raises(
        DoorFailed, match=rf"^Cannot listen on 127\.0\.0\.1:{door.port}: the address is in use"
    ):
        LaneDoor(script, None, "127.0.0.1", door.port, local=True)


@pytest.mark.parametrize("address", ["::1", "[::1]"])
def test_ipv6(script: Script, address: str) -> None:
    try:
        door = LaneDoor(script, None, address, 0)
    except DoorFailed:
        pytest.skip("no IPv6 here")
    door.start()
    with calling(door.port, host="::1") as caller:
        assert caller.ask("Search", b"x") == b"Search:x"
        assert next(iter(door._callers.connections)).peer.startswith("[::1]:")
    door.stop(1)


def test_all_addresses_of_both_kinds(script: Script) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("no sockets for both kinds here")
    door = LaneDoor(script, None, "::", 0)
    door.start()
    for host in ("127.0.0.1", "::1"):
        with calling(door.port, host=host) as caller:
            assert caller.ask("Search", b"x") == b"Search:x"
    door.stop(1)


def test_our_client_and_another_server_at_its_port(door: LaneDoor) -> None:
    address = ServerAddress("127.0.0.1", 1)
    lane = Lane(address, door.place)
    assert [lane.call("Search", text, Deadline(TIMEOUT)) for text in (b"x", b"", b"y" * 9000)] == [
        b"Search:x", b"Search:", b"Search:" + b"y" * 9000,
    ]  # fmt: skip
    lane.close()
    with pytest.raises(ConnectionError):
        Lane(address, door.place._replace(instance=door.place.instance ^ 1))


def test_what_is_told_of_a_port() -> None:
    for known in (Place(4711, 17), Place(4711, 17, "0a" * 16)):
        assert lanes.place(lanes.told(known)) == known
    for other in (
        "",
        "Unknown command",
        "lane",
        "lane 1",
        "lane 70000 1",
        "lane 1 4294967296",
        "lane 1 2 3",
        "lane 1 2 " + "0g" * 16,
        "lane 1 2 " + "0a" * 17,
        "lane 1 2 ../" + "0a" * 16,
        " lane 1 2",
    ):
        assert lanes.place(other) is None


def test_no_connection_keeps_much(door: LaneDoor) -> None:
    """Header blocks that are all different, each with a call."""
    with calling(way_to(door)) as caller:
        for number in range(60):
            assert caller.ask("Search", b"", f"{number:01500}") == b"Search:"
        (connection,) = door._callers.connections
        assert sum(len(block) for block in connection._blocks) < 32 << 10
        caller.say(
            struct.pack(">BHBBI", 0, REQUEST_BYTES_MAX, 0, 1, caller.stream)
            + bytes(REQUEST_BYTES_MAX - 1)
        )
        until(lambda: len(connection._data) == REQUEST_BYTES_MAX + 8)
