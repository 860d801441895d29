"""Every route over a real socket: bodies, queries and heads that nobody sane would send."""

from __future__ import annotations

import io
import json
import socket
import struct
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

import numpy as np

from milvine.testing.fuzz.mutate import (
    integer,
    json_text,
    json_value,
    lying,
    mutated,
    some_bytes,
    text,
)
from milvine.testing.fuzz.ops import KEYS, SETTINGS, Called
from milvine.testing.fuzz.target import Wrong

ROUTES = tuple(
    line.split()
    for line in """
    GET /  |GET /state |GET /devices |GET /system/{text} |GET /config/advanced
    PUT /config/advanced advanced
    GET /system/config |PUT /system/config config |PUT /system/task task |PUT /system/task task
    GET /collections?offset={n}&page_size={n}&all_required={text}|POST /collections collection
    POST /collections collection|GET /collections/{c}?info={text}|DELETE /collections/{c}
    GET /collections/{c}/indexes|POST /collections/{c}/indexes index|DELETE /collections/{c}/indexes
    GET /collections/{c}/partitions?offset={n}&page_size={n}|POST /collections/{c}/partitions tag
    DELETE /collections/{c}/partitions tag
    GET /collections/{c}/segments?partition_tag={text}&offset={n}
    GET /collections/{c}/segments/{s}/ids?offset={n}&page_size={n}
    GET /collections/{c}/segments/{s}/vectors?offset={n}&page_size={n}
    GET /collections/{c}/vectors?ids={n},{n}&partition_tag={text}
    POST /collections/{c}/explain rows_task
    POST /collections/{c}/vectors rows|POST /collections/{c}/vectors rows
    POST /collections/{c}/vectors?ids={n} npy
    POST /collections/{c}/vectors arrow|PUT /collections/{c}/vectors rows_task
    PUT /collections/{c}/vectors rows_task
    PUT /collections/{c}/vectors?topk={n}&params={text} npy
    PUT /collections/{c}/vectors?topk=2 arrow
    PUT /collections/{c}/vectors rows_task|PATCH /collections|GET /{text}|OPTIONS /collections
    HEAD /state
    """.replace("\n", "|").split("|")
    if line.strip()
)
"""(method, path with holes[, kind of body])."""
_KINDS = {"npy": "application/x-npy", "arrow": "application/vnd.apache.arrow.stream"}
_SECONDS = 30
_UNREAD_BYTES = 1 << 16


class RestTarget:
    """One case is one request of a new connection; then the server must still answer."""

    def __init__(self, folder: Path) -> None:
        self.called = Called(folder)
        self._serve()

    def _serve(self) -> None:
        operations, database = self.called.operations, self.called.database
        app = import_module("milvine.server.rest.app").create_app(operations, database, SETTINGS)
        self._door = import_module("milvine.server.doors.http_door").HttpDoor(app, "127.0.0.1", 0)
        self._door.start()

    def run(self, random: Random) -> str:
        self.called.tidy()
        method, path, *kind = random.choice(ROUTES)
        path = _filled(random, path, self._segments())
        body = (
            some_body(random, kind[0])
            if kind
            else some_bytes(random)
            if random.random() < 0.05
            else b""
        )
        if random.random() < 0.05:
            return self._broken(random, method, path, body)
        media = _KINDS.get(kind[0] if kind else "", "application/json")
        return self.called.check(
            f"{method} {path} {body[:400]!r}", lambda: self._ask(method, path, body, media)
        )

    def _segments(self) -> list[str]:
        return [
            s.name for part in self.called.database.stats("c").partitions for s in part.segments
        ]

    def _ask(self, method: str, path: str, body: bytes, media: str) -> tuple[int, str]:
        """(0 or code, text) of a well-formed request."""
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {media}\r\nConnection: close\r\n"
        )
        status, answer = self._send(
            f"{head}Content-Length: {len(body)}\r\n\r\n".encode("latin-1", "replace") + body
        )
        if not status and len(body) > _UNREAD_BYTES:
            return 404, "hung up on whoever sends much to a path that is not there"
        if not 200 <= status < 500:
            raise Wrong(f"status {status}: {answer[:400]!r}")
        if status < 400:
            return 0, ""
        said: Any = (
            json.loads(answer) if answer[:1] == b"{" else {"code": status, "message": str(answer)}
        )
        return int(said["code"]) or status, str(said["message"])

    def _broken(self, random: Random, method: str, path: str, body: bytes) -> str:
        """A head that lies, or is none."""
        length = random.choice(
            (
                len(body) + 10,
                max(len(body) - 1, 0),
                -1,
                1 << 62,
                "9" * 5000,
                "x",
                "1e3",
                "",
                "0x10",
                "1,2",
            )
        )
        lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Length: {length}"]
        if random.random() < 0.4:
            chunks = random.choice(
                (
                    "0\r\n\r\n",
                    "5\r\nab",
                    "ffffffffffffffff\r\nab\r\n",
                    "-1\r\n",
                    "zz\r\n",
                    "1;" + "x" * 9000,
                )
            )
            lines[2:] = ["Transfer-Encoding: chunked"]
            body = chunks.encode()
        lines += random.choice(
            (
                [],
                ["X: " + "y" * 100_000],
                ["Expect: 100-continue"],
                ["Content-Type: \xff\0"],
                ["Idempotency-Key: a"],
            )
        )
        raw = "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body
        raw = mutated(random, raw) if random.random() < 0.5 else raw
        status, _ = self._send(raw, half=True)
        if status >= 500:
            raise Wrong(f"status {status} to {raw[:400]!r}")
        if self._send(b"GET /state HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")[0] != 200:
            raise Wrong(f"no answer after {raw[:400]!r}")
        self.called.events.clear()
        return "broken head"

    def _send(self, raw: bytes, half: bool = False) -> tuple[int, bytes]:
        """Status, 0 where the server hung up, and the body; `half`: nothing more will come, as the
        server sees.
        """
        with socket.create_connection(
            ("127.0.0.1", self._door.port), timeout=_SECONDS
        ) as connection:
            try:
                connection.sendall(raw)
                if half:
                    connection.shutdown(socket.SHUT_WR)
                answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
            except TimeoutError:
                raise Wrong(f"no answer within {_SECONDS} seconds") from None
            except OSError:  # the server hung up
                return 0, b""
        head, _, body = answer.partition(b"\r\n\r\n")
        return (int(head[9:12]) if head.startswith(b"HTTP/") else 0), body

    def close(self) -> None:
        self._door.stop(1)
        self.called.close()


def _filled(random: Random, path: str, segments: list[str]) -> str:
    def hole(name: str) -> str:
        if random.random() < 0.1:
            return quote(text(random)[:2000], safe=random.choice(("", "/.")))
        if name == "c":
            return random.choice(("c", "c", "b", "new"))
        if name == "s":
            return random.choice((*segments, "0", "x"))
        return (
            str(integer(random))
            if name == "n" and random.random() < 0.5
            else quote(text(random)[:2000], safe="")
        )

    for name in ("c", "s", "n", "text"):
        while (at := path.find(f"{{{name}}}")) >= 0:
            path = path[:at] + hole(name) + path[at + len(name) + 2 :]
    return path


def some_body(random: Random, kind: str) -> bytes:
    """Mostly right, one thing wrong; sometimes no body of that kind at all."""
    if kind == "npy":
        return some_npy(random)
    if kind == "arrow":
        return some_arrow(random)
    if random.random() < 0.05:
        return some_bytes(random)
    said = json_text(random, _some_value(random, kind)).encode()
    return said if random.random() < 0.9 else mutated(random, said)


def _some_value(random: Random, kind: str) -> Any:
    width = random.choice((4, 4, 4, 4, 0, 1, 5))
    rows: Any = [
        [random.random() for _ in range(width)] for _ in range(random.choice((1, 2, 3, 0)))
    ]
    if random.random() < 0.05:
        rows = [[0.25, 1.0, -3.5, 1e-5]] * 20_000
    ids: Any = [random.choice((1, "1", str(random.randrange(60)))) for _ in rows]
    tags = random.choice((["p"], [".*"], [], None, [text(random)[:300]]))
    search = {
        "topk": random.choice((1, 3, 200)),
        "params": {"nprobe": 4},
        "vectors": rows,
        "partition_tags": tags,
    }
    values: dict[str, Any] = {
        "advanced": {
            "cpu_cache_capacity": 4,
            "cache_insert_data": False,
            "use_blas_threshold": 1100,
        },
        "config": {
            random.choice(KEYS): random.choice((1, "4GB", True)),
            "cache": {"cache_size": "4GB"},
        },
        "task": {
            random.choice(("flush", "compact", "load", "release")): {
                "collection_name": "c",
                "collection_names": ["c"],
            }
        },
        "collection": {
            "collection_name": "new",
            "dimension": 4,
            "index_file_size": 1,
            "metric_type": "L2",
        },
        "index": {
            "index_type": random.choice(("IVFFLAT", "FLAT", "HNSW")),
            "params": {"nlist": 4, "M": 8, "efConstruction": 20},
        },
        "tag": {"partition_tag": random.choice(("p", "new"))},
        "rows": {"vectors": rows, "ids": ids, "partition_tag": random.choice((None, "p"))},
        "rows_task": random.choice(
            ({"search": search}, {"delete": {"ids": ids}}, {"search": {**search, "ids": ids}})
        ),
    }
    value = values[kind]
    if random.random() < 0.5:
        _spoil(random, value)
    return value


def _spoil(random: Random, value: Any) -> None:
    """One place in a JSON value is something else, or gone, or there is more."""
    holder, key = value, random.choice(list(value))
    while random.random() < 0.6 and isinstance(holder[key], (dict, list)) and holder[key]:
        holder = holder[key]
        key = (
            random.choice(list(holder))
            if isinstance(holder, dict)
            else random.randrange(len(holder))
        )
    if random.random() < 0.2:
        del holder[key]
    else:
        holder[key] = random.choice(
            (json_value(random), integer(random), text(random)[:300], None, [], {}, True)
        )


def some_npy(random: Random) -> bytes:
    """An npy file: of any type and order, of Python objects, or with a header that lies."""
    kinds = (
        "<f4",
        "<f4",
        "<f4",
        ">f4",
        "<f8",
        "<f2",
        "i8",
        "u1",
        "?",
        "c8",
        "S3",
        "U2",
        "M8[s]",
        "O",
        "f4,i4",
        "V4",
        "<f16",
    )
    dtype, shape = (
        random.choice(kinds),
        random.choice(((3, 4), (3, 4), (1, 4), (0, 4), (4,), (), (2, 2, 4), (3, 0), (2, 32))),
    )
    out = io.BytesIO()
    try:
        array = np.zeros(shape, dtype)
        np.save(
            out, np.asfortranarray(array) if random.random() < 0.3 else array, allow_pickle=True
        )
    except (TypeError, ValueError):
        return b"\x93NUMPY"
    data = out.getvalue()
    pick = random.random()
    if pick < 0.6:
        return data
    if pick < 0.8:
        return mutated(random, data)
    shapes = (
        f"({integer(random)}, 4)",
        "(-1, 4)",
        "(1 << 40,)",
        "(3, 4.0)",
        "(True, 12)",
        "()",
        "(" * 90 + ")" * 90,
        "((3,), 4)",
    )
    kind, order = random.choice(kinds), random.choice((True, False, 1))
    header = f"{{'descr': '{kind}', 'fortran_order': {order}, 'shape': {random.choice(shapes)}}}"
    header = random.choice(
        (header, header, "[" * 60_000, "{" * 200, "9" * 9000, "__import__('os')", "'a' * 999999999")
    )
    version = random.choice((1, 1, 2, 3, 9))
    size = struct.pack(
        "<H" if version == 1 else "<I", random.choice((len(header), len(header), 0xFFFF)) & 0xFFFF
    )
    return b"\x93NUMPY" + bytes((version, 0)) + size + header.encode() + data[-48:]


def some_arrow(random: Random) -> bytes:
    """An Arrow stream with bytes changed; without pyarrow, bytes."""
    if find_spec("pyarrow") is None:
        return some_bytes(random)
    arrow: Any = import_module("pyarrow")
    rows = random.choice((1, 3, 40))
    item = random.choice(
        (arrow.float32(), arrow.float32(), arrow.float64(), arrow.int8(), arrow.string())
    )
    one: Any = "1" if item == arrow.string() else 1
    kind = random.choice(
        (
            arrow.list_(item),
            arrow.list_(item, 4),
            arrow.large_list(item),
            arrow.list_(arrow.list_(item)),
        )
    )
    row: Any = (
        [[one]] * 4
        if kind == arrow.list_(arrow.list_(item))
        else [one] * (4 if arrow.types.is_fixed_size_list(kind) else random.choice((4, 4, 4, 3)))
    )
    columns = {
        "vector": arrow.array([row if random.random() < 0.98 else None for _ in range(rows)], kind)
    }
    if random.random() < 0.5:
        columns["id"] = arrow.array(
            range(rows), random.choice((arrow.int64(), arrow.int64(), arrow.int32()))
        )
    table, out = arrow.table(columns), arrow.BufferOutputStream()
    ipc: Any = import_module("pyarrow.ipc")
    options = ipc.IpcWriteOptions(compression=random.choice((None, None, "lz4", "zstd")))
    with ipc.new_stream(out, table.schema, options=options) as stream:
        stream.write_table(table)
    data = bytes(out.getvalue())
    pick = random.random()
    if pick < 0.3:
        return data
    if pick < 0.6:
        at, number = random.randrange(len(data) // 8) * 8, lying(random)
        return data[:at] + number + data[at + len(number) :]
    return mutated(random, data)
