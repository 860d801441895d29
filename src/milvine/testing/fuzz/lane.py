"""Lanes: conversations with things done to them, at a real port, at the parser behind it, and at
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

from milvine.client.address import ServerAddress
from milvine.client.transports.lane import Lane, Unusable
from milvine.deadline import Deadline
from milvine.server.lanes.connection import Connection
from milvine.server.lanes.port import LaneDoor
from milvine.testing.fuzz.mutate import INTEGERS, lying, mutated, some_bytes, text
from milvine.testing.fuzz.ops import Called, some_request
from milvine.testing.fuzz.target import Wrong
from milvine.wire import http2, schema
from milvine.wire.http2 import HEAD, PREFIX, Foreign, frame
from milvine.wire.lanes import CALLS, REQUEST_BYTES_MAX, Place, unix_address
from milvine.wire.schema import method_path

_SECONDS = 30.0
_HELLO = http2.PREFACE + http2.settings({http2.INITIAL_WINDOW: http2.WINDOW_MAX})
_RPCS = sorted(CALLS)
_KEPT_MAX = REQUEST_BYTES_MAX + PREFIX.size + HEAD.size


class LaneTarget:
    """One case is a stranger at the port, a conversation for the parser, a header block, or a reply
    for the client.
    """

    def __init__(self, folder: Path) -> None:
        self.called = Called(folder)
        self._ended: list[Any] = []
        self._hook, threading.excepthook = threading.excepthook, self._ended.append
        self._door = LaneDoor(self.called.operations.call, None, "127.0.0.1", 0, local=True)
        self._door.start()
        self._known = self._lane()
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
        with self._connected(random) as stranger, suppress(OSError):
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
            if self._known.call(rpc, request, Deadline(_SECONDS)) != self.called.operations.call(
                rpc, request
            ):
                raise Wrong(f"a wrong answer to {rpc} after {what}")
        if self._ended or not all(thread.is_alive() for thread in self._door._threads):
            raise Wrong(f"{what}: {self._ended.pop() if self._ended else 'a thread has ended'}")
        self.called.check(what, lambda: (0, ""))

    def _at_the_client(self, random: Random) -> str:
        message = some_bytes(random, 40_000)
        said = (
            http2.settings({http2.INSTANCE: 7})
            + frame(http2.PING, 0, 0, bytes(8))
            + _success(random, message)
        )
        changed = random.random() < 0.7
        if changed:
            said = mutated(
                random,
                said.replace(frame(http2.PING, 0, 0, bytes(8)), _aside(random) + _aside(random)),
            )
        self._replying.words = list(_pieces(random, said))
        address = ServerAddress("127.0.0.1", self._replying.port)
        try:
            lane = Lane(address, Place(address.port, 7))
            try:
                told = lane.call("Search", b"", Deadline(_SECONDS))
            finally:
                lane.close()
        except TimeoutError:
            raise Wrong(f"waits without an end for {said[:600]!r}") from None
        except (Unusable, OSError):
            if not changed:
                raise Wrong(f"no reply in {said[:600]!r}") from None
            return "no reply"
        if not changed and told != message:
            raise Wrong(f"another reply than {said[:600]!r}")
        return "reply"

    def _lane(self) -> Lane:
        return Lane(ServerAddress("127.0.0.1", self._door.port), self._door.place)

    def _connected(self, random: Random) -> socket.socket:
        """To the port or to the Unix socket."""
        if not self._door.place.unix or random.random() < 0.5:
            return socket.create_connection(("127.0.0.1", self._door.port), timeout=_SECONDS)
        opened = socket.socket(socket.AF_UNIX)
        opened.settimeout(_SECONDS)
        opened.connect(unix_address(self._door.place.unix))
        return opened

    def close(self) -> None:
        self._known.close()
        self._door.stop(1)
        self._replying.close()
        threading.excepthook = self._hook
        self.called.close()


class _Replying:
    """A server that says its words to whoever comes, and hangs up."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.words: list[bytes] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            with caller, suppress(OSError):
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


class _Socket:
    """What a caller sends, piece by piece, without a system between."""

    family = socket.AF_INET

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def recv(self, most: int) -> bytes:
        if not self._pieces:
            raise BlockingIOError
        piece = self._pieces.pop(0)
        if len(piece) > most:
            self._pieces.insert(0, piece[most:])
        return piece[:most]

    def send(self, data: bytes) -> int:
        return len(data)

    def setblocking(self, flag: bool) -> None: ...

    def setsockopt(self, level: int, name: int, value: int) -> None: ...


def _heard(pieces: list[bytes]) -> list[tuple[Any, ...]] | None:
    """The requests of a conversation; None for one that is no lane's."""
    told: Any = _Socket(pieces)
    connection, found = Connection(told, "127.0.0.1", b""), []
    try:
        while pieces:
            request = connection.receive()
            if request is not None:
                found.append((request.stream, request.rpc, request.authorization, request.message))
                connection.busy = True
            if len(connection._data) > _KEPT_MAX:
                raise Wrong(f"{len(connection._data)} bytes are kept")
    except Foreign:
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
    except Foreign:
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
