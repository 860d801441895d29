"""What holds for every path (specification 1 and 2)."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from fastapi import FastAPI

from milvine.events import Event
from milvine.events.server import Answered
from milvine.server.doors.door import DoorFailed
from milvine.server.doors.http_door import HttpDoor
from tests.server.rest.asking import GONE, OK, Asking

CORS = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "GET, POST, OPTIONS, PUT, DELETE",
    "access-control-allow-headers": (
        "DNT, User-Agent, X-Requested-With, If-Modified-Since, Cache-Control, Content-Type, Range,"
        " Authorization, Idempotency-Key, traceparent, tracestate"
    ),
    "access-control-max-age": "1728000",
}
PATHS = [
    "/state", "/devices", "/config/advanced", "/collections", "/collections/c",
    "/collections/c/indexes",
    "/collections/c/partitions", "/collections/c/segments", "/collections/c/segments/1/ids",
    "/collections/c/segments/1/vectors", "/collections/c/vectors", "/system/version",
    "/system/task", "/system/config",
]  # fmt: skip
NO_MAPPING = (
    "server=oatpp/1.0.1\ncode=404\ndescription=Not Found\nmessage=Current url has no mapping\n"
)


def test_the_greeting(rest: Asking) -> None:
    reply = rest.client.get("/")
    assert (reply.status_code, reply.text) == (200, "Welcome to milvus")
    assert reply.headers["content-type"].startswith("text/plain")


def test_options_and_cors_on_every_path(rest: Asking) -> None:
    for path in PATHS:
        options, get = rest.client.options(path), rest.client.get(path)
        assert (options.status_code, options.content) == (204, b""), path
        for reply in (options, get):
            assert {name: reply.headers[name] for name in CORS} == CORS, path


def test_head_is_get_without_the_body(rest: Asking) -> None:
    rest.ask("POST", "/collections", {"collection_name": "c", "dimension": 4})
    for path in ["/", *PATHS, "/openapi.json", "/docs", "/entities", "/collections/none"]:
        head, get = rest.client.head(path), rest.client.get(path)
        assert (head.status_code, head.content) == (get.status_code, b""), path
        varying = ("date", "content-length") if path == "/system/info" else ("date",)
        told = [
            {k: v for k, v in reply.headers.items() if k not in varying} for reply in (head, get)
        ]
        assert told[0] == told[1], path


def test_options_tell_what_a_path_takes(rest: Asking) -> None:
    wanted = {
        "/state": "GET, HEAD, OPTIONS",
        "/collections/c/vectors": "GET, POST, PUT, HEAD, OPTIONS",
    }
    assert {path: rest.client.options(path).headers["allow"] for path in wanted} == wanted


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/entities"), ("POST", "/state"), ("PATCH", "/collections"),
     ("GET", "/config/gpu_resources"),
     ("GET", "/hybrid_collections"), ("OPTIONS", "/tasks"), ("DELETE", "/collections")],
)  # fmt: skip
def test_no_mapping(rest: Asking, method: str, path: str) -> None:
    reply = rest.client.request(method, path)
    assert (reply.status_code, reply.text) == (404, NO_MAPPING)
    assert (
        reply.headers["connection"] == "close"
        and reply.headers["access-control-allow-origin"] == "*"
    )


def test_a_slash_at_the_end_and_percent_signs(rest: Asking) -> None:
    assert rest.ask("GET", "/collections/") == (200, {"collections": [], "count": 0})
    rest.create("films")
    assert rest.ask("POST", "/collections/films/partitions/", {"partition_tag": "a b%"}) == (
        201,
        OK,
    )
    # Nothing in there.
    assert rest.ask("GET", "/collections/%66ilms/vectors?ids=1&partition_tag=a%20b%25")[0] == 404
    assert rest.code("GET", "/collections/films/vectors?ids=1&partition_tag=a%20b") == (400, 1)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("GET", "", None), ("GET", "?info=stat", None), ("DELETE", "", None),
     ("GET", "/indexes", None),
     ("POST", "/indexes", {"index_type": "FLAT", "params": {}}), ("DELETE", "/indexes", None),
     ("GET", "/partitions", None), ("POST", "/partitions", {"partition_tag": "t"}),
     ("DELETE", "/partitions", {"partition_tag": "t"}), ("GET", "/segments", None),
     ("GET", "/segments/1/ids", None),
     ("GET", "/segments/1/vectors", None), ("GET", "/vectors?ids=1", None),
     ("POST", "/vectors", {"vectors": [[1]]}),
     ("PUT", "/vectors", {"search": {}}), ("PUT", "/vectors", {"delete": {"ids": []}})],
)  # fmt: skip
def test_a_missing_collection_is_404_below_its_path(
    rest: Asking, method: str, path: str, body: object
) -> None:
    missing = {"message": GONE.format("missing"), "code": 4}
    assert rest.ask(method, f"/collections/missing{path}", body) == (404, missing)
    assert rest.code(method, f"/collections/9{path}", body) == (400, 9)


@pytest.mark.parametrize("task", ["load", "release", "compact"])
def test_a_missing_collection_is_400_for_tasks(rest: Asking, task: str) -> None:
    body = {task: {"collection_name": "missing"}}
    assert rest.ask("PUT", "/system/task", body) == (
        400,
        {"message": GONE.format("missing"), "code": 4},
    )


def test_requests_are_told_with_their_web_of_rpcs(rest: Asking, told: list[Event]) -> None:
    rest.create()
    rest.ask("GET", "/collections/missing")
    rest.ask("PUT", "/collections/c/vectors", {"delete": {"ids": ["1"]}})
    rest.ask("PUT", "/collections/c/vectors", {"search": {}})
    rest.ask("PUT", "/system/task", {"compact": {"collection_name": "c"}})
    calls = [
        (event.rpc, event.code, event.size > 0) for event in told if isinstance(event, Answered)
    ]
    assert calls == [
        ("CreateCollection", 0, True),
        ("DescribeCollection", 4, False),
        ("DeleteByID", 0, True),
        ("Search", 5, True),
        ("Compact", 0, True),
    ]


def test_bodies_over_the_budget_are_refused(rest: Asking) -> None:
    rest.create()
    body = json.dumps({"vectors": [[1.0, 2.0, 3.0, 4.0]] * 400_000}).encode()
    assert len(body) > 8 << 20
    assert rest.code("POST", "/collections/c/vectors", content=body) == (400, 24)
    pieces = (body[at : at + 65536] for at in range(0, len(body), 65536))
    assert rest.code("POST", "/collections/c/vectors", content=pieces) == (400, 24)
    small = (piece for piece in (b'{"vectors":', b"[[1,2,3,4]]}"))
    assert rest.ask("POST", "/collections/c/vectors", content=small)[0] == 201
    assert rest.insert([[1, 2, 3, 4]])  # everything was given back


def test_searches_go_on_while_others_wait(rest: Asking) -> None:
    rest.create()
    rest.insert([[1, 2, 3, 4]], ["1"])
    answers: list[object] = []
    threads = [
        threading.Thread(
            target=lambda: answers.append(rest.search([[1, 2, 3, 4]], 1)["result"][0][0]["id"])
        )
        for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["1"] * 12


def test_a_busy_port(rest: Asking) -> None:
    with pytest.raises(DoorFailed, match="the address is in use"):
        HttpDoor(None, "127.0.0.1", rest.client.base_url.port or 0)


def test_the_end_does_not_wait_for_a_call_that_holds_the_event_loop() -> None:
    begun, over = threading.Event(), threading.Event()

    async def hold() -> None:
        begun.set()
        over.wait(60)

    app = FastAPI()
    app.add_api_route("/wait", hold)
    door = HttpDoor(app, "127.0.0.1", 0)
    door.start()
    with ThreadPoolExecutor(2) as threads:
        try:
            reply = threads.submit(httpx.get, f"http://127.0.0.1:{door.port}/wait", timeout=60)
            assert begun.wait(30)
            threads.submit(door.stop, 0.1).result(30)
            assert not over.is_set()
        finally:
            over.set()
        assert reply.result(30).status_code == 200
