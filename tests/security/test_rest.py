"""Every route for every role, and what HTTP refuses on top: origins, sizes, slowness."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.routing import Route

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.events import Event, Events
from milvine.server.doors import http_heads
from milvine.server.doors.http_door import HttpDoor
from milvine.server.health import Health
from milvine.server.metrics import open_metrics
from milvine.server.operations import Operations
from milvine.server.rest.app import create_app
from milvine.server.rest.endpoints.health import health_router
from milvine.server.security.gate import Gate
from milvine.server.security.roles import ROUTES, Role
from milvine.server.security.tokens import Tokens

SETTINGS = Settings(
    background=False, search_threads=1, http_body_bytes_max=1 << 20, http_receive_seconds=1.0
)
ALLOW = "access-control-allow-origin"
Made = tuple[FastAPI, httpx.Client, Gate, list[Event]]


def _app(database: Database, settings: Settings, gate: Gate | None, events: Events) -> FastAPI:
    operations = Operations(database, settings, events)
    metrics = open_metrics(database, operations.in_flight, settings, events, 0)
    routers = metrics.routers if metrics else ()
    return create_app(
        operations,
        database,
        settings,
        (health_router(Health(database.check_ready)), *routers),
        gate,
    )


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with Database.open(tmp_path_factory.mktemp("rest") / "data", SETTINGS) as database:
        yield database


@pytest.fixture(scope="module")
def made(database: Database, tokens_file: Path, known: dict[str, str]) -> Iterator[Made]:
    told: list[Event] = []
    events = Events(told.append)
    # The tests fail more often than an attacker may.
    gate = Gate(Tokens(tokens_file), 0, events, failures_at_once=10_000)
    app = _app(database, SETTINGS, gate, events)
    door = HttpDoor(app, "127.0.0.1", 0)
    door.start()
    with httpx.Client(
        base_url=f"http://127.0.0.1:{door.port}", timeout=60, trust_env=False
    ) as client:
        yield app, client, gate, told
    door.stop(1)


def routes(app: FastAPI) -> list[tuple[str, str]]:
    """Method and path of every route that the application has."""
    parts = [each for part in app.routes for each in getattr(part, "original_router", app).routes]
    found = [
        (m, r.path)
        for r in (*app.routes, *parts)
        if isinstance(r, Route)
        for m in sorted(r.methods or ())
    ]
    return [(method, path) for method, path in found if method not in ("HEAD", "OPTIONS")]


def test_every_route_has_a_role_and_every_role_a_route(made: Made) -> None:
    found = set(routes(made[0]))
    assert len(found) > 30
    assert found - set(ROUTES) == set(), (
        "a route without a role: decide, and add it to the table and docs/security.md"
    )
    assert set(ROUTES) - found == set()


@pytest.mark.parametrize(("method", "path"), sorted(ROUTES))
def test_every_route_for_every_role(
    made: Made, known: dict[str, str], method: str, path: str
) -> None:
    least, client = ROUTES[method, path], made[1]
    filled = path.format(collection_name="none", segment_name="1", info="version", other="other")

    def ask(token: str | None, path: str = filled) -> httpx.Response:
        shown = {} if token is None else {"Authorization": f"Bearer {token}"}
        body = b"{}" if method in ("PUT", "POST") else None
        reply = client.request(method, path, content=body, headers=shown)
        assert (
            reply.headers[ALLOW] == "*" and "access-control-allow-credentials" not in reply.headers
        )
        return reply

    for role in ("read", "write", "admin"):
        allowed = Role[role.upper()] >= least
        for each in (filled, filled + "/", filled.replace("/", "//", 1)):
            reply = ask(known[role], each)
            assert (reply.status_code not in (401, 403)) or not allowed, (role, each, reply.text)
        if not allowed:
            text = f"{method} {path} needs a token of role {least.word}; this one has role {role}"
            assert (ask(known[role]).status_code, ask(known[role]).json()) == (
                403,
                {"message": text, "code": 3},
            )
    for token in (None, known["expired"], known["revoked"], "nonsense"):
        reply = ask(token)
        if least is Role.OPEN:
            assert reply.status_code == 200
            continue
        assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer")
        assert reply.json()["code"] == 3 and "oken" in reply.json()["message"]


@pytest.mark.parametrize(
    "command", ["get_config *", "set_config cache.cache_size 1", "get_config%20*", "set_config/x"]
)
def test_commands_about_the_configuration_are_an_administrators(
    made: Made, known: dict[str, str], command: str
) -> None:
    for role, expected in (("read", 403), ("write", 403), ("admin", 200)):
        reply = made[1].get(
            f"/system/{command}", headers={"Authorization": f"Bearer {known[role]}"}
        )
        assert reply.status_code in (expected, 404, 400) and (
            reply.status_code != 200 or role == "admin"
        )


def test_a_delete_needs_more_than_a_search(
    made: Made, known: dict[str, str], database: Database
) -> None:
    client = made[1]

    def as_(role: str) -> dict[str, Any]:
        return {"headers": {"Authorization": f"Bearer {known[role]}"}}

    body = {"collection_name": "rows", "dimension": 2}
    assert client.post("/collections", json=body, **as_("write")).status_code == 201
    rows = {"vectors": [[0, 1], [1, 0]], "ids": ["1", "2"]}
    assert client.post("/collections/rows/vectors", json=rows, **as_("write")).status_code == 201
    search = {"search": {"topk": 1, "params": {}, "vectors": [[0, 1]]}}
    assert client.put("/collections/rows/vectors", json=search, **as_("read")).json()["num"] == 1
    delete = {"delete": {"ids": ["1"]}}
    both = {**search, **delete}
    for body in (delete, both):
        reply = client.put("/collections/rows/vectors", json=body, **as_("read"))
        assert (reply.status_code, reply.json()["code"]) == (403, 3), reply.text
    assert database.collection("rows").count() == 2
    assert client.put("/collections/rows/vectors", json=delete, **as_("write")).status_code == 200
    assert database.collection("rows").count() == 1
    assert client.delete("/collections/rows", **as_("write")).status_code == 403
    assert client.delete("/collections/rows", **as_("admin")).status_code == 204


def test_two_headers_are_none(made: Made, known: dict[str, str]) -> None:
    shown = [("Authorization", f"Bearer {known['read']}")]
    assert made[1].get("/state", headers=shown).status_code == 200
    assert made[1].get("/state", headers=shown * 2).status_code == 401


def test_a_preflight_needs_no_token(made: Made) -> None:
    reply = made[1].options("/collections", headers={"Origin": "https://a.example"})
    assert (reply.status_code, reply.headers[ALLOW]) == (204, "*")
    assert "Authorization" in reply.headers["access-control-allow-headers"]


def test_nothing_that_is_told_or_counted_holds_a_token(made: Made, known: dict[str, str]) -> None:
    _, client, _, told = made
    shown = {"Authorization": f"Bearer {known['admin']}"}
    texts = [
        repr(told),
        client.get("/metrics", headers=shown).text,
        client.get("/system/config", headers=shown).text,
    ]
    for token in known.values():
        assert all(token[17:] not in text for text in texts)


@pytest.fixture(scope="module")
def closed(database: Database) -> Iterator[httpx.Client]:
    """A server for the pages of one site alone, without documents."""
    settings = Settings(background=False, cors_origins=("https://a.example",), http_docs=False)
    door = HttpDoor(_app(database, settings, None, Events()), "127.0.0.1", 0, None, 50)
    door.start()
    with httpx.Client(
        base_url=f"http://127.0.0.1:{door.port}", timeout=60, trust_env=False
    ) as client:
        yield client
    door.stop(1)


def test_pages_of_other_sites_are_refused(closed: httpx.Client) -> None:
    reply = closed.get("/state", headers={"Origin": "https://a.example"})
    assert (reply.status_code, reply.headers[ALLOW], reply.headers["vary"]) == (
        200,
        "https://a.example",
        "Origin",
    )
    reply = closed.get("/state", headers={"Origin": "https://b.example"})
    assert reply.status_code == 403 and ALLOW not in reply.headers and reply.json()["code"] == 3
    reply = closed.post("/collections", json={}, headers={"Origin": "null"})
    assert reply.status_code == 403
    reply = closed.options("/collections", headers={"Origin": "https://b.example"})
    assert ALLOW not in reply.headers
    own = str(closed.base_url).rstrip("/")
    for headers in ({}, {"Origin": own}):
        reply = closed.get("/state", headers=headers)
        assert reply.status_code == 200 and ALLOW not in reply.headers


def test_documents_can_be_left_out(closed: httpx.Client) -> None:
    assert [closed.get(path).status_code for path in ("/docs", "/redoc", "/openapi.json")] == [
        404
    ] * 3


def test_a_body_has_a_limit(made: Made, known: dict[str, str]) -> None:
    shown = {"Authorization": f"Bearer {known['write']}"}

    def pieces() -> Iterator[bytes]:
        for _ in range(24):
            yield bytes(1 << 16)

    for body in (bytes((1 << 20) + 1), pieces()):
        reply = made[1].post("/collections", content=body, headers=shown)
        assert reply.status_code == 400 and "network.http.body_bytes_max" in reply.json()["message"]


def _port(client: httpx.Client) -> int:
    port = client.base_url.port
    assert port
    return port


def test_a_body_that_does_not_come_is_not_waited_for(made: Made, known: dict[str, str]) -> None:
    lines = [
        "POST /collections HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {known['write']}",
        "Content-Length: 9",
    ]
    head = "\r\n".join([*lines, "", "{"])
    with socket.create_connection(("127.0.0.1", _port(made[1])), timeout=60) as slow:
        slow.sendall(head.encode())
        answer = b""
        # Head and body may come one after the other.
        while b"network.http.receive_seconds" not in answer:
            part = slow.recv(65536)
            assert part, answer
            answer += part


def test_a_head_that_does_not_end_is_not_read(
    closed: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_connection(("127.0.0.1", _port(closed)), timeout=60) as endless:
        sent, ended = 0, False
        endless.sendall(b"GET /state HTTP/1.1\r\nHost: x\r\n")
        while not ended and sent < 64 << 20:
            try:
                endless.sendall(b"X-Filler: " + bytes(b"a" * 16384) + b"\r\n")
                sent += 16384
            except OSError:
                ended = True
        assert ended and sent < 8 << 20  # what the sockets of both sides hold
    monkeypatch.setattr(http_heads, "HEAD_SECONDS", 0.2)
    for beginning in (b"", b"GET /sta"):
        with socket.create_connection(("127.0.0.1", _port(closed)), timeout=60) as slow:
            slow.sendall(beginning)
            assert slow.recv(10) == b""
    monkeypatch.undo()
    assert closed.get("/state").status_code == 200


def test_connections_have_a_limit(closed: httpx.Client) -> None:
    address = ("127.0.0.1", _port(closed))
    opened = [socket.create_connection(address, timeout=60) for _ in range(60)]
    try:
        until = time.monotonic() + 60  # they are taken up one after the other
        while closed.get("/state").status_code != 503:
            assert time.monotonic() < until
    finally:
        for each in opened:
            each.close()
