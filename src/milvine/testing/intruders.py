"""Strangers at the doors of a server with tokens: `python -m milvine.testing.intruders`.

Each attack says how often it was tried and how often it got something; the answer must be never.
Meanwhile somebody with a token goes on working, and how long he waits is told.
"""

from __future__ import annotations

import argparse
import http.client
import random
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import grpc
import numpy as np

from milvine.config import Settings
from milvine.deadline import Deadline
from milvine.events import Events
from milvine.lanes.agreement import CALLS, COMMAND, Endpoint, LaneAddress, address_of
from milvine.lanes.client import Lane
from milvine.lanes.http2 import ProtocolError
from milvine.server.app import Server
from milvine.server.operations import SERVED
from milvine.server.security import tokens
from milvine.server.security.roles import ROUTES, Role
from milvine.wire import packed, schema
from milvine.wire.requests import encode_ids_request
from milvine.wire.schema import method_path

_REFUSALS = {
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
_OPEN = {path for (_, path), role in ROUTES.items() if role is Role.OPEN}
_WAIT = 30.0
_ROWS = 100


@dataclass(frozen=True)
class Outcome:
    """`got` counts attempts that were not refused; `waited` is the longest wait of somebody with a
    token, seconds.
    """

    attack: str
    tried: int
    got: int
    waited: float


class Target:
    """A server with tokens and a collection of 100 rows."""

    def __init__(self, folder: Path, door: str) -> None:
        self.file = folder / "tokens.json"
        self.tokens = {
            role: tokens.create(self.file, role, role) for role in ("read", "write", "admin")
        }
        settings = Settings(
            port=0, door=door, background=False, search_threads=1, tokens_file=str(self.file)
        )
        self.server = Server.start(folder / "data", settings, Events())
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.server.port}")
        made = schema.CollectionSchema(
            collection_name="c", dimension=4, index_file_size=64, metric_type=1
        )
        self.ask("CreateCollection", made.SerializeToString(), self.tokens["write"])
        self.ask(
            "Insert", packed.encode_insert("c", _rows(), np.arange(_ROWS)), self.tokens["write"]
        )

    def ask(
        self, rpc: str, request: bytes, token: str = "", *metadata: tuple[str, Any]
    ) -> bytes | None:
        """The reply; None for a refusal; empty for an error of those who looked at the request."""
        shown = (("authorization", f"Bearer {token}"),) if token else ()
        try:
            call = self.channel.unary_unary(method_path(rpc))
            reply: bytes = call(
                request, metadata=(*shown, *metadata), timeout=_WAIT, wait_for_ready=True
            )
        except grpc.RpcError as error:
            return None if error.code() in _REFUSALS else b""
        return reply

    def ask_http(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None = None
    ) -> int:
        """Status of the answer."""
        host, _, port = self.server.http_address.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=_WAIT)
        try:
            connection.request(method, path, body, headers)
            return connection.getresponse().status
        finally:
            connection.close()

    def lane_address(self) -> LaneAddress:
        """Where lanes begin, as somebody with a token learns it."""
        reply = self.ask(
            "Cmd", schema.Command(cmd=COMMAND).SerializeToString(), self.tokens["read"]
        )
        found = address_of(schema.StringReply.FromString(reply or b"").string_reply)
        assert found is not None, "no port for lanes"
        return found

    def count(self) -> int:
        """Rows of the collection; 0 when it is gone."""
        name = schema.CollectionName(collection_name="c").SerializeToString()
        raw = self.ask("CountCollection", name, self.tokens["read"])
        return int(schema.CollectionRowCount.FromString(raw or b"").collection_row_count)

    @contextmanager
    def somebody_working(self) -> Iterator[list[float]]:
        """Searches with a good token all the while; yields the waits in seconds."""
        waits, end = [0.0], threading.Event()
        request = packed.encode_search("c", _rows()[:1], 1)

        def work() -> None:
            while not end.is_set():
                began = time.monotonic()
                if self.ask("Search", request, self.tokens["read"]) is None:
                    raise AssertionError("a good token was refused")
                waits.append(time.monotonic() - began)
                end.wait(0.005)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield waits
        finally:
            end.set()
            thread.join()

    def stop(self) -> None:
        self.channel.close()
        self.server.stop(0)


def _rows() -> Any:
    return np.arange(_ROWS * 4, dtype=np.float32).reshape(_ROWS, 4)


Attack = Callable[[Target, int, random.Random], tuple[int, int]]


def wrong_tokens(target: Target, count: int, chance: random.Random) -> tuple[int, int]:
    """Good tokens with a character changed, cut, joined, or the id of one with the secret of
    another.
    """
    good, letters = list(target.tokens.values()), "ABCDEFGHabcdefgh01234567-_ "
    got = 0
    for _ in range(count):
        first, second = chance.sample(good, 2)
        at = chance.randrange(len(first))
        changed = first[:at] + chance.choice(letters) + first[at + 1 :]
        crossed = first[:17] + second[17:]
        wrong = chance.choice(
            [changed, first[:at], first + second, crossed, first[17:], first.upper()]
        )
        if wrong not in good and wrong.strip():
            got += target.ask("CountCollection", b"", wrong) is not None
    return count, got


def no_tokens(target: Target, count: int, chance: random.Random) -> tuple[int, int]:
    """Every rpc without a token, or with one where none is looked for."""
    token = target.tokens["admin"]
    places: list[tuple[tuple[str, Any], ...]] = [
        (),
        (("authorization", ""),),
        (("authorization", token),),
        (("authorization", f"Basic {token}"),),
        (("authorization-bin", f"Bearer {token}".encode()),),
        (("token", token),),
        (("authorization", "Bearer x"), ("authorization", f"Bearer {token}")),
        (("x-forwarded-for", "127.0.0.1"),),
    ]
    got = 0
    for _ in range(count):
        rpc, junk = chance.choice(SERVED), chance.randbytes(chance.randrange(64))
        got += target.ask(rpc, junk, "", *chance.choice(places)) is not None
    return count, got


def no_tokens_on_lanes(target: Target, count: int, chance: random.Random) -> tuple[int, int]:
    """The calls of lanes where lanes begin, with no token, a wrong one, or one that is not said to
    be one.
    """
    address = target.lane_address()
    token, rpcs = target.tokens["admin"], sorted(CALLS)
    got = 0
    for _ in range(count):
        shown = chance.choice(
            ["", "", token, f"Basic {token}", f"Bearer {token[:-1]}", f"Bearer {token}x", "Bearer"]
        )
        lane = Lane(Endpoint("127.0.0.1", address.port, "localhost", shown), address)
        try:
            lane.call(chance.choice(rpcs), b"", Deadline(_WAIT))
            got += 1
        except ProtocolError:  # refused
            got += 0
        finally:
            lane.close()
    return count, got


def small_roles(target: Target, count: int, chance: random.Random) -> tuple[int, int]:
    """Drops, deletes and settings with a token for reading."""
    name = schema.CollectionName(collection_name="c").SerializeToString()
    requests = [
        ("DropCollection", name),
        (
            "DropPartition",
            schema.PartitionParam(collection_name="c", tag="_default").SerializeToString(),
        ),
        ("DeleteByID", encode_ids_request("c", np.arange(_ROWS))),
        ("Insert", packed.encode_insert("c", _rows(), np.arange(_ROWS))),
        ("Cmd", schema.Command(cmd="set_config cache.cache_size 1GB").SerializeToString()),
        ("Cmd", schema.Command(cmd="get_config *").SerializeToString()),
    ]
    got = sum(
        target.ask(*chance.choice(requests), target.tokens["read"]) is not None
        for _ in range(count)
    )
    return count, got + (target.count() != _ROWS)


def _spellings(path: str) -> list[str]:
    return [
        path, path + "/", "/" + path, path.replace("/", "//"), "/." + path, "/healthz/.." + path,
        "/docs" + path,
        path.replace("c", "%63"), path.upper(), path + "%2f", path + ";x", path + "%00",
        path + "?x=/healthz",
    ]  # fmt: skip


def odd_paths(target: Target, count: int, chance: random.Random) -> tuple[int, int]:
    """Every route without a token or with one for reading, its path spelled and its method named in
    odd ways.
    """
    routes, got = sorted(ROUTES), 0
    for _ in range(count):
        method, path = chance.choice(routes)
        least = ROUTES[method, path]
        filled = path.format(collection_name="c", segment_name="1", info="version", other="x")
        spelled = chance.choice(_spellings(filled))
        headers = {
            "X-HTTP-Method-Override": method,
            "X-Original-URL": filled,
            "X-Forwarded-For": "127.0.0.1",
        }
        asked = chance.choice([method, method, "HEAD", "PATCH", "GET", "POST", "OPTIONS"])
        reading = chance.random() < 0.5
        if reading:
            headers["Authorization"] = f"Bearer {target.tokens['read']}"
        status = target.ask_http(
            asked, spelled, headers, b"{}" if asked in ("POST", "PUT") else None
        )
        changes = asked in ("POST", "PUT", "DELETE", "PATCH") and least > Role.READ
        open_to_all = (
            status == 204
            or unquote(spelled.partition("?")[0].partition("#")[0]).rstrip("/") in _OPEN
        )
        got += status < 300 and not open_to_all and (changes or not reading)
    return count, got + (target.count() != _ROWS)


def slow_heads(target: Target, count: int, chance: random.Random) -> tuple[int, int]:
    """So many connections that send a byte of a head and then nothing; all must be hung up on."""
    host, _, port = target.server.http_address.rpartition(":")
    waiting = []
    for _ in range(min(count, 400)):
        waiting.append(socket.create_connection((host, int(port)), timeout=2 * _WAIT))
        waiting[-1].sendall(
            chance.choice(
                [b"G", b"GET / HTTP/1.1\r\n", b"POST /collections HTTP/1.1\r\nHost: x\r\nA: "]
            )
        )
    left = 0
    for each in waiting:
        try:
            left += each.recv(1) != b""
        except ConnectionResetError:
            left += 0  # hung up on, and how
        except TimeoutError:
            left += 1
        each.close()
    return len(waiting), left


ATTACKS: dict[str, Attack] = {
    "tokens that are nearly right": wrong_tokens,
    "calls without a token": no_tokens,
    "calls without a token by lanes": no_tokens_on_lanes,
    "changes with a token for reading": small_roles,
    "odd paths and methods over HTTP": odd_paths,
    "HTTP heads that never end": slow_heads,
}


def run(door: str, count: int, seed: int, attacks: dict[str, Attack]) -> list[Outcome]:
    """Each attack `count` times on one server."""
    outcomes = []
    with tempfile.TemporaryDirectory() as folder:
        target = Target(Path(folder), door)
        try:
            for name, attack in attacks.items():
                with target.somebody_working() as waits:
                    tried, got = attack(target, count, random.Random(seed))
                outcomes.append(Outcome(name, tried, got, max(waits)))
        finally:
            target.stop()
    return outcomes


def main() -> None:
    """Prints a table; ends with 1 when anything got in."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--door", choices=("grpc", "native"), default="grpc")
    given = parser.parse_args()
    outcomes = run(given.door, given.count, given.seed, ATTACKS)
    for each in outcomes:
        print(
            f"{given.door}: {each.attack}: {each.tried} tried, {each.got} got in, longest wait"
            f" {each.waited:.3f} s"
        )
    sys.exit(any(each.got for each in outcomes))


if __name__ == "__main__":
    main()
