"""The gRPC doors over real sockets: arbitrary messages to every rpc, undeclared calls, bytes that
are no HTTP/2.
"""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import grpc

from milvine.server.app import open_door
from milvine.server.operations import SERVED
from milvine.testing.fuzz.mutate import INTEGERS, integer, lying, mutated, some_bytes, text
from milvine.testing.fuzz.ops import SETTINGS, Called, some_request
from milvine.testing.fuzz.target import Wrong
from milvine.wire.schema import HYBRID_RPCS, METHODS, method_path
from milvine.wire.status import read_status

_SECONDS = 30.0
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_REFUSALS = (
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)


class DoorTarget:
    """One case is a call, or a connection that speaks nonsense; the server must answer
    afterwards.
    """

    door = "grpc"

    def __init__(self, folder: Path) -> None:
        self.called = Called(folder)
        settings = replace(SETTINGS, address="127.0.0.1", port=0, door=self.door)
        self._door = open_door(self.called.operations, settings)
        self._door.start()
        options = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
        self._channel = grpc.insecure_channel(f"127.0.0.1:{self._door.port}", options=options)

    def run(self, random: Random) -> str:
        self.called.tidy()
        if random.random() < 0.2:
            self._speak(nonsense(random))
            return "nonsense " + self._call("Cmd", b"\x0a\x06status", ())
        rpc = random.choice((*SERVED, *SERVED, random.choice(HYBRID_RPCS), "/x.Y/Z", "/"))
        request = (
            some_request(random, rpc, self.called.database)
            if rpc in METHODS
            else some_bytes(random)
        )
        if rpc not in METHODS:
            return self._call(rpc, request, _metadata(random))
        return self.called.check(
            f"{rpc} {request[:400]!r}", lambda: self._ask(rpc, request, _metadata(random))
        )

    def _ask(self, rpc: str, request: bytes, metadata: Any) -> tuple[int, str]:
        what = self._call(rpc, request, metadata)
        return (-1, what) if what else read_status(METHODS[rpc][1].FromString(self._reply))

    def _call(self, rpc: str, request: bytes, metadata: Any) -> str:
        """Empty for an answer, which `_reply` then is, or the name of the gRPC status."""
        call = self._channel.unary_unary(method_path(rpc))
        try:
            self._reply: bytes = call(request, timeout=_SECONDS, metadata=metadata)
        except grpc.RpcError as error:
            status: Any = error
            if status.code() not in _REFUSALS:
                raise Wrong(
                    f"{rpc} {request[:400]!r}: {status.code()} {status.details()}"
                ) from None
            return str(status.code().name)
        return ""

    def _speak(self, raw: bytes) -> None:
        with socket.create_connection(
            ("127.0.0.1", self._door.port), timeout=_SECONDS
        ) as connection:
            try:
                connection.sendall(raw)
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(0.05)
                connection.recv(1 << 16)
            except OSError:  # hung up, or it waits for more
                return

    def close(self) -> None:
        self._channel.close()
        self._door.stop(1)
        self.called.close()


class NativeDoorTarget(DoorTarget):
    """The same for the door of pygrpc-native."""

    door = "native"


def _metadata(random: Random) -> tuple[tuple[str, str], ...]:
    if random.random() < 0.8:
        return ()
    value = text(random).encode("ascii", "ignore").decode()[:2000]
    printable = "".join(char for char in value if " " <= char <= "~").strip()
    return (
        (
            random.choice(("request_id", "authorization", "traceparent", "x")),
            printable or str(integer(random)),
        ),
    )


def nonsense(random: Random) -> bytes:
    """HTTP/1, frames of HTTP/2 with lying lengths, headers that blow up, or noise."""
    pick = random.random()
    if pick < 0.2:
        return mutated(random, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    frames = b"".join(_frame(random) for _ in range(random.choice((1, 3, 30))))
    raw = _PREFACE + (_plain(4, 0, 0, b"") if pick < 0.8 else b"") + frames
    return raw if pick < 0.9 else mutated(random, raw)


def _frame(random: Random) -> bytes:
    kind = random.choice((0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 255))
    stream = random.choice((0, 1, 3, 5, 2, 0x7FFFFFFF, abs(random.choice(INTEGERS)) & 0x7FFFFFFF))
    payload = random.choice(
        (
            some_bytes(random),
            lying(random),
            b"\x3f" * 40,
            b"\x82\x86\x84" + some_bytes(random),
            bytes(8),
        )
    )
    if random.random() < 0.2:
        length = random.choice((0, 1, len(payload) + 1, 0xFFFFFF))
        return (
            length.to_bytes(3, "big")
            + bytes((kind, random.randrange(256)))
            + stream.to_bytes(4, "big")
            + payload
        )
    return _plain(kind, random.randrange(256), stream, payload)


def _plain(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return (
        len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload
    )
