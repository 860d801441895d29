"""Lanes: conversations with things done to them, at a real port, at the protocol behind it, and at
the client's end.
"""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

from milvine.deadline import Deadline
from milvine.lanes import http2
from milvine.lanes.agreement import CALLS, REQUEST_BYTES_MAX, Endpoint, LaneAddress
from milvine.lanes.client import Lane
from milvine.lanes.client_protocol import GREETING
from milvine.lanes.http2 import HEAD, PREFIX, ProtocolError, frame
from milvine.lanes.server_protocol import ServerProtocol
from milvine.server.doors.lane_door import LaneDoor
from milvine.testing.fuzz.mutate import INTEGERS, lying, mutated, some_bytes, text
from milvine.testing.fuzz.ops import Called, some_request
from milvine.testing.fuzz.target import Wrong
from milvine.wire import schema
from milvine.wire.schema import method_path

_SECONDS = 30.0
_HELLO = http2.PREFACE + http2.settings({http2.INITIAL_WINDOW: http2.WINDOW_MAX})
_RPCS = sorted(CALLS)
_KEPT_MAX = REQUEST_BYTES_MAX + PREFIX.size + HEAD.size + 2 * len(CALLS) * 2048  # and header blocks


class LaneTarget:
    """One case is a stranger at the port, a conversation for the parser, a header block, or a reply
    for the client.
    """

    def __init__(self, folder: Path) -> None:
        self.called = Called(folder)
        self._ended: list[Any] = []
        self._hook, threading.excepthook = threading.excepthook, self._ended.append
        self._door = LaneDoor(self.called.operations.call, None, "127.0.0.1", 0)
        self._door.start()
        self._reference = self._lane()
        self._replying = _Replying()
        name = schema.CollectionName(collection_name="c").SerializeToString()
        self._asked = [(rpc, name) for rpc in ("HasCollection", "CountCollection")]

    def run(self, random: Random) -> str:
        pick = random.random()
        if pick < 0.4:
            return _parsed_in_any_pieces(random, self._conversation(random))
        if pick < 0.55:
            return _read_a_block(random)
        return self._at_the_client(random) if pick < 0.7 else self._at_the_port(random)

    def _conversation(self, random: Random) -> bytes:
        said, stream = _HELLO, 1
        for _ in range(random.choice((0, 1, 1, 1, 2, 5))):
            said += b"".join(_aside(random) for _ in range(random.choice((0, 0, 1, 3))))
            rpc = random.choice(_RPCS)
            request = some_request(random, rpc, self.called.database)[
                : REQUEST_BYTES_MAX + random.choice((0, 1))
            ]
            said += _call(random, rpc, request, stream)
            stream += random.choice((2, 2, 2, 1, 0))
        return mutated(random, said) if random.random() < 0.7 else said

    def _at_the_port(self, random: Random) -> str:
        said = self._conversation(random)
        with self._connected() as stranger, suppress(OSError):
            for piece in _pieces(random, said):
                stranger.sendall(piece)
            if random.random() < 0.3:  # gone without a word: what is on its way is thrown away
                stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                stranger.shutdown(socket.SHUT_WR)
                while stranger.recv(1 << 16):
                    pass
        self._check(repr(said[:600]))
        return "stranger"

    def _check(self, what: str) -> None:
        """Others are answered, and rightly; no thread has ended; nothing is left over."""
        for rpc, request in self._asked:
            if self._reference.call(
                rpc, request, Deadline(_SECONDS)
            ) != self.called.operations.call(rpc, request):
                raise Wrong(f"a wrong answer to {rpc} after {what}")
        if self._ended or self._door.ended:
            raise Wrong(f"{what}: {self._ended.pop() if self._ended else self._door.ended}")
        self.called.check(what, lambda: (0, ""))

    def _at_the_client(self, random: Random) -> str:
        message = some_bytes(random, 40_000)
        greeting = http2.settings({http2.INSTANCE: 7})
        said = frame(http2.PING, 0, 0, bytes(8)) + _success(random, message)
        changed = random.random() < 0.7
        if changed:
            around = _aside(random) + _aside(random)
            said = mutated(random, greeting + said.replace(frame(6, 0, 0, bytes(8)), around))
            greeting = b""
        self._replying.greeting, self._replying.words = greeting, list(_pieces(random, said))
        port = self._replying.port
        try:
            lane = Lane(_endpoint(port), LaneAddress(port, 7))
            try:
                reply = lane.call("Search", b"", Deadline(_SECONDS))
            finally:
                lane.close()
        except TimeoutError:
            raise Wrong(f"waits without an end for {said[:600]!r}") from None
        except (ProtocolError, OSError):
            if not changed:
                raise Wrong(f"no reply in {said[:600]!r}") from None
            return "no reply"
        if not changed and reply != message:
            raise Wrong(f"another reply than {said[:600]!r}")
        return "reply"

    def _lane(self) -> Lane:
        return Lane(_endpoint(self._door.port), self._door.address)

    def _connected(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._door.port), timeout=_SECONDS)

    def close(self) -> None:
        self._reference.close()
        self._door.stop(1)
        self._replying.close()
        threading.excepthook = self._hook
        self.called.close()


class _Replying:
    """A server that says its words to whoever comes, and hangs up; if it has a greeting, it hears a
    call in between.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.greeting, self.words = b"", list[bytes]()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            with caller, suppress(OSError):
                caller.sendall(self.greeting)
                heard = 0
                while self.greeting and heard <= len(GREETING):
                    heard += len(caller.recv(1 << 16)) or len(GREETING)
                for piece in self.words:
                    caller.sendall(piece)
                caller.shutdown(socket.SHUT_WR)
                while caller.recv(1 << 16):
                    pass

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(_SECONDS)


def _endpoint(port: int) -> Endpoint:
    return Endpoint("127.0.0.1", port, f"127.0.0.1:{port}")


def _heard(pieces: list[bytes]) -> list[tuple[Any, ...]] | None:
    """The requests of a conversation, of which none is answered before the next piece; None for one
    that is no lane's.
    """
    protocol, found = ServerProtocol(), []
    try:
        for piece in pieces:
            request = protocol.receive(piece)
            if request is not None:
                found.append((request.stream, request.rpc, request.authorization, request.message))
            if protocol.buffered > _KEPT_MAX:
                raise Wrong(f"{protocol.buffered} bytes are kept")
    except ProtocolError:
        return None
    return found


def _parsed_in_any_pieces(random: Random, said: bytes) -> str:
    whole, split = _heard([said] if said else []), _heard(list(_pieces(random, said)))
    if whole != split:
        raise Wrong(f"{whole} and in pieces {split}: {said[:600]!r}")
    return "foreign" if whole is None else "heard"


def _read_a_block(random: Random) -> str:
    path, shown = text(random)[:200], text(random)[:200]
    block = http2.request_block(path, "localhost:1", shown)
    if random.random() < 0.1:
        if http2.read_block(block).get("authorization", "") != shown:
            raise Wrong(f"another token than {shown!r}")
        return "block"
    try:
        fields = http2.read_block(mutated(random, block))
    except ProtocolError:
        return "foreign block"
    if not all(isinstance(each, str) for pair in fields.items() for each in pair):
        raise Wrong(f"{fields}")
    return "block"


def _call(random: Random, rpc: str, request: bytes, stream: int) -> bytes:
    pick = random.random()
    path = (
        method_path(rpc)
        if pick < 0.9
        else random.choice((method_path("Insert"), "/", text(random)[:300]))
    )
    block = http2.request_block(path, "localhost:1", "" if pick < 0.5 else text(random)[:600])
    message = PREFIX.pack(0, len(request)) + request
    if pick < 0.8:
        return frame(1, 4, stream, block) + _aside(random, 0.1) + frame(0, 1, stream, message)
    flags = (random.choice((4, 5, 0, 12, 36, 255)), random.choice((1, 0, 9, 255)))
    if random.random() < 0.5:
        message = random.choice(
            (message[:-1], message + b"x", b"\x01" + message[1:], b"", lying(random))
        )
    return frame(1, flags[0], stream, block) + frame(0, flags[1], stream, message)


def _success(random: Random, message: bytes) -> bytes:
    headers, trailers = http2.response_blocks(0)
    body, size = PREFIX.pack(0, len(message)) + message, random.choice((1 << 14, 100, 1 << 20))
    data = b"".join(frame(0, 0, 1, body[at : at + size]) for at in range(0, len(body), size))
    return frame(1, 4, 1, headers) + data + frame(1, 5, 1, trailers)


def _aside(random: Random, chance: float = 1.0) -> bytes:
    """A frame about the connection, mostly a good one."""
    if random.random() > chance:
        return b""
    setting = struct.pack(">HI", random.randrange(8), abs(random.choice(INTEGERS)) & 0xFFFFFFFF)
    good = (
        frame(http2.PING, 0, 0, bytes(8)),
        frame(http2.PING, 1, 0, bytes(8)),
        frame(http2.SETTINGS, 1, 0, b""),
        frame(http2.SETTINGS, 0, 0, setting),
        frame(http2.WINDOW_UPDATE, 0, 0, random.randrange(1 << 20).to_bytes(4, "big")),
        frame(77, 3, 0, some_bytes(random)),
    )
    if random.random() < 0.9:
        return random.choice(good)
    kind = random.choice((2, 3, 4, 5, 6, 7, 8, 9, 255))
    return frame(kind, random.randrange(256), random.choice((0, 0, 1, 3)), some_bytes(random))


def _pieces(random: Random, said: bytes) -> list[bytes]:
    size = (
        random.choice((1, 7, 100, 1 << 20)) if len(said) < 2000 else random.choice((1000, 1 << 20))
    )
    return [said[at : at + size] for at in range(0, len(said), size)]
