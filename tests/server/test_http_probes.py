"""Probes and `explain` over HTTP, by a real client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from milvine.config import Settings
from milvine.errors import StorageFailed
from milvine.events import Events
from milvine.events.server import Stopping
from milvine.ingest.writer import Writer
from milvine.server.app import Server

httpx = pytest.importorskip("httpx")
pytest.importorskip("fastapi")

ROWS = [[float(n), 1.0, 2.0, 3.0] for n in range(20)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = Settings(background=False, port=0, http_port=0, door="grpc")
    server = Server.start(tmp_path_factory.mktemp("data"), settings)
    yield server
    server.stop(1)


@pytest.fixture
def http(server: Server) -> Iterator[Any]:
    with httpx.Client(base_url=f"http://{server.http_address}", timeout=60) as client:
        yield client


def test_a_process_that_answers_is_alive_and_ready(http: Any) -> None:
    alive, ready = http.get("/healthz"), http.get("/readyz")
    assert (alive.status_code, alive.json()) == (200, {"status": "alive"})
    assert (ready.status_code, ready.json()) == (200, {"status": "ready"})


def test_not_ready_says_why_and_is_alive(
    server: Server, http: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(writer: Writer) -> None:
        raise StorageFailed("The disk of the log folder is full: 3 MB are free")

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "check", full)
        reply = http.get("/readyz")
        assert reply.status_code == 503
        assert reply.json() == {
            "status": "not ready",
            "reason": "The disk of the log folder is full: 3 MB are free",
        }
        assert http.get("/healthz").status_code == 200
        assert (http.head("/readyz").status_code, http.head("/healthz").status_code) == (503, 200)
    assert http.get("/readyz").status_code == 200


def test_probes_and_metrics_answer_those_who_want_the_head_alone(http: Any) -> None:
    answers = [http.head(path) for path in ("/healthz", "/readyz", "/metrics")]
    assert [(answer.status_code, answer.content) for answer in answers] == [(200, b"")] * 3


def test_explain_tells_the_steps(http: Any) -> None:
    http.post(
        "/collections", json={"collection_name": "films", "dimension": 4, "metric_type": "L2"}
    )
    ids = [str(n) for n in range(20)]
    assert (
        http.post("/collections/films/vectors", json={"vectors": ROWS, "ids": ids}).status_code
        == 201
    )
    http.put("/system/task", json={"flush": {"collection_names": ["films"]}})
    http.put("/collections/films/vectors", json={"delete": {"ids": ["3"]}})
    http.post("/collections/films/vectors", json={"vectors": ROWS[:2], "ids": ["98", "99"]})
    body = {"search": {"topk": 3, "params": {"nprobe": 16, "x": [9.5]}, "vectors": ROWS[:2]}}
    reply = http.post("/collections/films/explain", json=body)
    assert reply.status_code == 200
    told = reply.json()
    exact, tail = told["scans"]
    assert (exact["kind"], exact["rows"], exact["masked"]) == ("exact", 20, 1) and exact[
        "segments"
    ][0].isdigit()
    assert (tail["kind"], tail["rows"], tail["segments"]) == ("tail", 2, [])
    assert (told["nq"], told["topk"], told["rows"], told["metric"]) == (2, 3, 22, "L2")
    assert told["params"] == {"nprobe": 16} and "9.5" not in reply.text
    assert all(told[f"{step}_seconds"] > 0 for step in ("plan", "scan", "reduce"))
    body["search"]["file_ids"] = exact["segments"]
    assert [
        scan["kind"] for scan in http.post("/collections/films/explain", json=body).json()["scans"]
    ] == ["exact"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"search": {"topk": 3, "params": {}}}, 34),
        ({"search": {"params": {}, "vectors": ROWS}}, 34),
        ({"delete": {"ids": ["1"]}}, 35),
        ({"search": {"topk": 0, "params": {}, "vectors": ROWS}}, 10),
    ],
)
def test_explain_refuses_what_a_search_refuses(http: Any, body: Any, code: int) -> None:
    http.post("/collections", json={"collection_name": "refusals", "dimension": 4})
    reply = http.post("/collections/refusals/explain", json=body)
    assert (reply.status_code, reply.json()["code"]) == (400, code)


def test_explain_of_a_collection_that_is_not_there(http: Any) -> None:
    reply = http.post(
        "/collections/nowhere/explain", json={"search": {"topk": 1, "params": {}, "vectors": ROWS}}
    )
    assert (reply.status_code, reply.json()["code"]) == (404, 4)
    assert http.post("/collections/nowhere/explain").json()["code"] == 34


def test_the_document_describes_them(http: Any) -> None:
    paths = http.get("/openapi.json").json()["paths"]
    assert {"/healthz", "/readyz", "/collections/{collection_name}/explain"} <= paths.keys()
    assert "503" in paths["/readyz"]["get"]["responses"]


def test_the_end_makes_it_not_ready(tmp_path: Path) -> None:
    settings, events = Settings(background=False, port=0, http_port=0, door="grpc"), Events()
    server = Server.start(tmp_path, settings, events)
    try:
        events.emit(Stopping())
        reply = httpx.get(f"http://{server.http_address}/readyz", timeout=60)
        assert (reply.status_code, reply.json()["reason"]) == (503, "The server is stopping")
    finally:
        server.stop(1)
