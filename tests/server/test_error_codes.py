"""The code that docs/errors.md gives for an error is what every door answers."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from milvine import errors
from milvine.config import Settings
from milvine.engine.database import Database
from milvine.server.app import Server
from milvus import Milvus, NotConnectError

pytest.importorskip("fastapi")
PAGE = (Path(__file__).parents[2] / "docs" / "errors.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| (\d+) \| (`[A-Z][a-z].*) \|$", PAGE, re.MULTILINE))
DOCUMENTED = {
    name: int(code) for code, names in ROWS.items() for name in re.findall(r"`(\w+)`", names)
}
CLASSES = {
    name: each
    for name, each in vars(errors).items()
    if inspect.isclass(each) and hasattr(each, "message")
}
HTTP = {"NothingStored": 4, "SegmentNotFound": 4}
SETTINGS = Settings(background=False, search_threads=1, port=0, door="grpc")


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Milvus]]:
    server = Server.start(tmp_path_factory.mktemp("served") / "data", replace(SETTINGS))
    port, http = (address.rpartition(":")[2] for address in (server.address, server.http_address))
    made = {
        "grpc": Milvus(host="127.0.0.1", port=port),
        "http": Milvus(host="127.0.0.1", port=http, handler="HTTP"),
        "embedded": Milvus(uri=f"file://{tmp_path_factory.mktemp('embedded')}"),
    }
    yield made
    for client in made.values():
        client.close()
    server.stop(5)


def test_every_error_is_on_the_page() -> None:
    assert {name: DOCUMENTED.get(name) for name in CLASSES} == {
        n: int(each.code) for n, each in CLASSES.items()
    }
    assert set(DOCUMENTED) <= set(CLASSES)


def test_every_code_is_on_the_page() -> None:
    told = set(map(int, re.findall(r"^\| (\d+) \| `[A-Z]+_?[A-Z_]*` \|", PAGE, re.MULTILINE)))
    assert {int(each.code) for each in CLASSES.values()} <= told


@pytest.mark.parametrize("name", CLASSES)
def test_every_door_answers_the_code(
    clients: dict[str, Milvus], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def fail(self: Any) -> Any:
        raise CLASSES[name]("why")

    monkeypatch.setattr(Database, "collections", fail)
    code = int(CLASSES[name].code)
    expected = {"grpc": code, "embedded": code, "http": HTTP.get(name, code)}
    asked = dict(clients)
    if name == "DatabaseClosed":  # in one process it says that there is nobody to answer
        with pytest.raises(NotConnectError):
            asked.pop("embedded").list_collections()
        del expected["embedded"]
    answers = {door: client.list_collections()[0] for door, client in asked.items()}
    assert {door: status.code for door, status in answers.items()} == expected
    assert {status.message for status in answers.values()} == {"why"}
