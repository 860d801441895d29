"""Every rpc with arbitrary bytes and with arbitrary values, through the operations that all doors
share.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from time import monotonic, sleep
from typing import Any

import numpy as np

from milvine.config import Settings
from milvine.events import Event, Events
from milvine.events.server import RequestFailed
from milvine.server.operations import SERVED, Operations
from milvine.server.operations.refusals import MalformedRequest
from milvine.testing.by_name import DatabaseByName
from milvine.testing.fuzz.mutate import integer, json_text, json_value, mutated, some_bytes, text
from milvine.testing.fuzz.target import Wrong
from milvine.testing.fuzz.wire import some_message, some_row
from milvine.types import IndexSetting, IndexType, MetricType
from milvine.wire import schema
from milvine.wire.status import read_status

SETTINGS = Settings(background=False, build_in_subprocess=False, search_threads=1, build_threads=1)
WORDS = ("version", "status", "get_config *", "requests", "get_system_info", "tasktable", "mode")
KEYS = (
    "cache.cache_size",
    "network.bind.port",
    "logs.level",
    "engine_config.use_blas_threshold",
    "a.b",
    "storage.path",
    ".",
)
_COLLECTIONS_MAX = 12
_QUIET_SECONDS = 20.0


class Called:
    """A database behind operations, the errors that nobody foresaw, and whether a refusal was
    logged.
    """

    def __init__(self, folder: Path) -> None:
        self.events: list[Event] = []
        self._folder = folder / "data"
        self._open()
        furnish(self.database)

    def _open(self) -> None:
        events = Events(self.events.append)
        self.database = DatabaseByName.open(self._folder, SETTINGS, events)
        self.operations = Operations(self.database, SETTINGS, events)

    def reopen(self) -> None:
        """Whatever was taken can be read again."""
        self.database.close()
        self._open()

    def call(self, rpc: str, request: bytes) -> str:
        """One rpc. Raises Wrong."""

        def ask() -> tuple[int, str]:
            try:
                return read_status(
                    schema.METHODS[rpc][1].FromString(self.operations.call(rpc, request))
                )
            except MalformedRequest as refused:
                return -1, str(refused)

        return self.check(f"{rpc} {request[:400]!r}", ask)

    def check(self, what: str, ask: Callable[[], tuple[int, str]]) -> str:
        """`ask` sends a request and gives code and reason.

        Raises:
            Wrong: an unforeseen error, a refused request in the log, or one that still counts as in
                flight.
        """
        self.events.clear()
        logged = self._last_lsn
        code, reason = ask()
        for event in self.events:
            if isinstance(event, RequestFailed):
                raise Wrong(f"{what}: {event}")
        if code and self._last_lsn != logged:
            raise Wrong(f"{what} was refused with {reason} and is in the log")
        if not (-1 <= code <= 37 or 400 <= code < 500) or len(reason) > 1 << 20:
            raise Wrong(f"{what}: code {code}, {reason[:400]}")
        if not self._quiet():
            raise Wrong(f"{what} still counts as in flight")
        return "malformed" if code < 0 else f"code {code}" if code else "taken"

    def _quiet(self) -> bool:
        """Nothing is in flight, or what was when a connection ended soon is no more."""
        until = monotonic() + _QUIET_SECONDS
        while self.operations.in_flight() != (0, 0):
            if monotonic() > until:
                return False
            sleep(0.01)
        return True

    @property
    def _last_lsn(self) -> int:
        return self.database.stores.log.last_lsn

    def tidy(self) -> None:
        """Few collections, and those of the beginning among them."""
        names = self.database.collections()
        if (
            len(names) > _COLLECTIONS_MAX
            or not {"c", "b"} <= set(names)
            or self.database.count("c") > 20_000
        ):
            for name in names:
                self.database.drop_collection(name)
            furnish(self.database)

    def close(self) -> None:
        self.database.close()


def furnish(database: DatabaseByName) -> None:
    """Collections `c` (float, 4) and `b` (binary, 32), with partitions, segments, an index setting
    and a tail.
    """
    random = np.random.default_rng(3)
    database.create_collection("c", 4, 1, MetricType.L2)
    database.create_collection("b", 32, 1, MetricType.HAMMING)
    for tag in ("p", "a" * 255, "a.b", "é"):
        database.create_partition("c", tag)
    for start in (0, 1000):
        database.insert("c", random.random((40, 4), np.float32), np.arange(start, start + 40))
        database.insert(
            "c", random.random((7, 4), np.float32), np.arange(start + 100, start + 107), "p"
        )
        database.insert(
            "b", random.integers(0, 256, (40, 4), np.uint8), np.arange(start, start + 40)
        )
        if not start:
            database.flush()
    database.create_index("c", IndexSetting.of(IndexType.IVF_FLAT, {"nlist": 4}))


class RpcTarget:
    """One case is one rpc."""

    def __init__(self, folder: Path) -> None:
        self.called = Called(folder)

    def run(self, random: Random) -> str:
        self.called.tidy()
        if random.random() < 0.005:
            self.called.reopen()
        rpc = random.choice(SERVED)
        request = some_request(random, rpc, self.called.database)
        return self.called.call(rpc, request)

    def close(self) -> None:
        self.called.close()


def some_request(random: Random, rpc: str, database: DatabaseByName | None = None) -> bytes:
    """Bytes for an rpc: of no message, of a message with bytes changed, or of a message with nasty
    fields.
    """
    message_class = schema.METHODS[rpc][0]
    pick = random.random()
    if pick < 0.1:
        return some_bytes(random)
    if pick < 0.25:
        return bytes(some_message(random, message_class.DESCRIPTOR.name).SerializeToString())
    message = message_class()
    _sensible(random, message)
    if rpc == "GetVectorIDs" and database is not None and random.random() < 0.5:
        message.segment_name = _segment(random, database)
    data: bytes = message.SerializeToString()
    return data if pick < 0.8 else mutated(random, data)


def _segment(random: Random, database: DatabaseByName) -> str:
    names = [s.name for part in database.stats("c").partitions for s in part.segments]
    return str(random.choice((*names, "0")))


def _sensible(random: Random, message: Any) -> None:
    """Mostly what is right, so that the checks behind the first one are reached; one field or two
    that are not.
    """
    right: dict[str, Any] = {
        "collection_name": lambda: random.choice(("c", "c", "b", "new")),
        "dimension": lambda: random.choice((4, 8, 32)),
        "index_file_size": lambda: 1,
        "metric_type": lambda: random.choice((1, 2, 3, 4, 6)),
        "index_type": lambda: random.choice((1, 2, 2, 3, 6, 11)),
        "topk": lambda: random.choice((1, 3, 100)),
        "tag": lambda: random.choice(("p", "new")),
        "partition_tag": lambda: random.choice(("", "p")),
        "segment_name": lambda: "1",
        "cmd": lambda: _command(random),
    }
    for field in message.DESCRIPTOR.fields:
        wrong = random.random() < 0.15
        if field.name in right:
            value = _wrong(random, field) if wrong else right[field.name]()
            setattr(message, field.name, value)
        elif field.name in ("row_record_array", "query_record_array"):
            _add_rows(random, getattr(message, field.name), wrong)
        elif field.name in ("row_id_array", "id_array"):
            ids = getattr(message, field.name)
            ids.extend(
                integer(random) if wrong else random.randrange(60)
                for _ in range(random.choice((0, 1, 3, 3)))
            )
        elif field.name == "extra_params":
            value = json_text(random, _params(random))
            message.extra_params.add(
                key="params" if random.random() < 0.9 else "idempotency_key", value=value
            )
        elif field.name == "search_param":
            _sensible(random, message.search_param)
        elif field.message_type is None:  # lists of names
            count = random.choice((0, 0, 1, 2)) if random.random() < 0.98 else 3000
            names = random.choice((("p", ".*", "a.b"), ("c", "b"), ("1", "2")))
            for _ in range(count):
                getattr(message, field.name).append(
                    text(random)[:5000] if wrong else random.choice(names)
                )


def _wrong(random: Random, field: Any) -> Any:
    if field.type == field.TYPE_STRING:
        return text(random)
    return integer(random, 32 if field.type == field.TYPE_INT32 else 64)


def _add_rows(random: Random, records: Any, wrong: bool) -> None:
    width, count = random.choice((4, 4, 4, 1, 0, 5)), random.choice((1, 3, 3, 3, 0, 200))
    floats = random.choice((1, 1, 2))
    for _ in range(count):
        if wrong and random.random() < 0.3:
            records.add().CopyFrom(
                some_row(random, random.choice((0, 1, 4, 4, 40_000)), random.randrange(2))
            )
        elif floats == 1:
            records.add(float_data=[random.random() for _ in range(width)])
        else:
            records.add(binary_data=random.randbytes(width))


def _params(random: Random) -> Any:
    keys = (
        "nlist",
        "nprobe",
        "m",
        "nbits",
        "M",
        "efConstruction",
        "ef",
        "search_length",
        "n_trees",
        "metric_type",
        "x",
    )
    if random.random() < 0.2:
        return json_value(random)
    params: dict[str, Any] = {
        "nlist": 4,
        "nprobe": 4,
        "m": 2,
        "M": 8,
        "efConstruction": 40,
        "ef": 200,
    }
    for key in random.sample(keys, random.choice((0, 0, 1, 2))):
        params[key] = json_value(random, 2)
    return params


def _command(random: Random) -> str:
    pick = random.random()
    if pick < 0.3:
        return random.choice(WORDS)
    if pick < 0.6:
        return (
            f"{random.choice(('get_config', 'set_config'))} {random.choice(KEYS)}"
            f" {text(random)[:300]}"
        )
    if pick < 0.8:
        value = random.choice((integer(random), "4GB", "1e9", "٣", "-0", "0x10", "1_0"))
        return f"set_config {random.choice(KEYS)} {value}"
    return text(random)
