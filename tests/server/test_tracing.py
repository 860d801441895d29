"""Spans of calls by every door, with the caller's trace as parent; nothing of it without an
endpoint.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from milvine.config import Settings
from milvine.events import Events
from milvine.events.server import Answered
from milvine.server.app import Server
from milvine.server.tracing import opening, spans
from milvine.server.tracing.opening import TracingFailed, open_tracing
from milvine.wire import packed, schema
from milvine.wire.schema import method_path
from tests.lanes.caller import calling

pytest.importorskip("opentelemetry.sdk")
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from milvine.server.tracing.spans import Spans, open_spans

TIMEOUT = 30
TRACE, CALLER = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
HEADER = ("traceparent", f"00-{TRACE:032x}-{CALLER:016x}-01")
ROWS = np.arange(40, dtype=np.float32).reshape(10, 4)
DOORS = ("grpc", "native") if find_spec("pygrpc_native") else ("grpc",)
SETTINGS = Settings(background=False, port=0, http_port=0, trace_endpoint="http://127.0.0.1:4318")


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(spans, "open_spans", lambda endpoint: Spans(SimpleSpanProcessor(exporter)))
    yield exporter


@pytest.fixture(params=DOORS)
def server(
    request: pytest.FixtureRequest, tmp_path: Path, exported: InMemorySpanExporter
) -> Iterator[Server]:
    server = Server.start(
        tmp_path,
        replace(SETTINGS, door=request.param, http_enable=find_spec("fastapi") is not None),
    )
    yield server
    server.stop(1)


@pytest.fixture
def call(server: Server) -> Iterator[Callable[..., bytes]]:
    with grpc.insecure_channel(server.address) as channel:

        def send(rpc: str, request: bytes, *metadata: tuple[str, str]) -> bytes:
            reply: bytes = channel.unary_unary(method_path(rpc))(
                request, timeout=TIMEOUT, metadata=metadata
            )
            return reply

        yield send


def created(call: Callable[..., bytes]) -> None:
    schema_of_c = schema.CollectionSchema(
        collection_name="c", dimension=4, index_file_size=1024, metric_type=1
    )
    call("CreateCollection", schema_of_c.SerializeToString())
    call("Insert", packed.encode_insert("c", ROWS, None, "", "{}"))


def search(topk: int = 3, name: str = "c") -> bytes:
    return packed.encode_search(name, ROWS[:2], topk, (), '{"nprobe": 4}')


def tree(exporter: InMemorySpanExporter, rpc: str) -> tuple[Any, dict[str, Any]]:
    """The last call of `rpc`, and the spans of its trace by name."""
    finished = exporter.get_finished_spans()
    root = [span for span in finished if span.name == rpc][-1]
    return root, {
        span.name: span for span in finished if span.context.trace_id == root.context.trace_id
    }


def inside(child: Any, parent: Any) -> bool:
    slack = 2_000_000  # the clocks of seconds and of moments are two
    spans_it = (
        parent.start_time - slack <= child.start_time <= child.end_time <= parent.end_time + slack
    )
    return bool(child.parent.span_id == parent.context.span_id and spans_it)


def test_a_search_from_the_wire_to_the_kernel(
    call: Callable[..., bytes], exported: InMemorySpanExporter
) -> None:
    created(call)
    call("Search", search(), HEADER)
    root, found = tree(exported, "Search")
    assert (root.context.trace_id, root.parent.span_id) == (TRACE, CALLER)
    assert root.attributes["milvine.collection"] == "c" and root.attributes["milvine.code"] == 0
    assert (root.attributes["milvine.nq"], root.attributes["milvine.topk"]) == (2, 3)
    assert root.status.is_unset
    assert found.keys() == {"Search", "search", "plan", "scan", "scan tail", "reduce"}
    assert inside(found["search"], root) and inside(found["scan tail"], found["scan"])
    assert all(inside(found[step], found["search"]) for step in ("plan", "scan", "reduce"))
    assert found["scan tail"].attributes["milvine.rows"] == 10
    assert found["search"].attributes["milvine.params.nprobe"] == 4


def test_an_insert_to_the_log(call: Callable[..., bytes], exported: InMemorySpanExporter) -> None:
    created(call)
    root, found = tree(exported, "Insert")
    assert root.parent is None and root.attributes["milvine.collection"] == "c"
    assert inside(found["insert"], root) and inside(found["log commit"], found["insert"])
    assert inside(found["fsync"], found["log commit"])
    assert found["insert"].attributes["milvine.rows"] == 10


def test_a_call_without_a_parent_is_not_given_that_of_the_last(
    call: Callable[..., bytes], exported: InMemorySpanExporter
) -> None:
    created(call)
    for _ in range(8):
        call("Search", search(), HEADER)
    for _ in range(8):
        call("Search", search())
    roots = [span for span in exported.get_finished_spans() if span.name == "Search"]
    assert [span.parent is None for span in roots] == [False] * 8 + [True] * 8


def test_calls_by_a_lane_have_spans_of_their_own(
    server: Server, call: Callable[..., bytes], exported: InMemorySpanExporter
) -> None:
    created(call)
    assert server.lane_port is not None
    exported.clear()
    with ExitStack() as stack:
        callers = [stack.enter_context(calling(server.lane_port)) for _ in range(5)]
        call("Search", search(), HEADER)
        for caller in callers:
            caller.begin("Search", search())
        assert all(caller.answer() for caller in callers)
    roots = [span for span in exported.get_finished_spans() if span.name == "Search"]
    assert [span.parent is None for span in roots] == [False] + [True] * 5


def test_a_refusal_is_an_error(call: Callable[..., bytes], exported: InMemorySpanExporter) -> None:
    call("Search", search(name="nowhere"))
    root, found = tree(exported, "Search")
    assert (
        root.attributes["milvine.code"] == 4 and not root.status.is_ok and not root.status.is_unset
    )
    assert found.keys() == {"Search"}


def test_a_search_over_http(
    server: Server, call: Callable[..., bytes], exported: InMemorySpanExporter
) -> None:
    httpx = pytest.importorskip("httpx")
    if not server.http_address:
        pytest.skip("the REST API is not installed")
    created(call)
    body = {"search": {"topk": 3, "params": {}, "vectors": ROWS[:2].tolist()}}
    url = f"http://{server.http_address}/collections/c/vectors"
    assert httpx.put(url, json=body, headers=[HEADER], timeout=TIMEOUT).status_code == 200
    root, found = tree(exported, "Search")
    assert (root.context.trace_id, root.parent.span_id) == (TRACE, CALLER)
    assert "scan tail" in found


def test_no_span_holds_a_vector(call: Callable[..., bytes], exported: InMemorySpanExporter) -> None:
    created(call)
    call(
        "Search",
        packed.encode_search("c", ROWS[:1] + np.float32(0.12345), 3, (), '{"x": [0.12345]}'),
    )
    assert "0.1234" not in "".join(span.to_json() for span in exported.get_finished_spans())


def test_nothing_is_made_without_an_endpoint() -> None:
    events = Events()
    assert open_tracing(Settings(), events) is None and not events.busy


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(opening, "find_spec", lambda name: None)
    with pytest.raises(TracingFailed, match=r"pip install 'milvine\[otel\]'"):
        Server.start(tmp_path, SETTINGS)
    assert not list(tmp_path.iterdir())


def test_a_collector_that_is_not_there_ends_in_time() -> None:
    with socket.socket() as taken:  # bound, not listening
        taken.bind(("127.0.0.1", 0))
        sender = open_spans(f"http://127.0.0.1:{taken.getsockname()[1]}")
        sender.listen(Answered("Search", 0, 10, 0.001))
        sender.close()
