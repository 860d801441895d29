"""An index type of another distribution, used by all that uses a type of our own: built by the
process for builds, searched over every door, kept over a restart, verified, repaired, sized. And
what becomes of its collection where the distribution is gone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from milvine.cli import app
from milvine.config import Settings
from milvine.engine.database import Database
from milvine.errors import BuildFailed, IllegalIndexType, Unsupported
from milvine.events import Event, Events, IndexBuilt
from milvine.index import registry
from milvine.maintenance.worker import maintain
from milvine.offline.repair import repair
from milvine.offline.verify import verify
from milvine.server.app import Server
from milvine.types import IndexSetting, IndexType, MetricType
from milvus import Milvus

pytest.importorskip("fastapi")
THIRD_PARTY = Path(__file__).parents[1] / "index" / "third_party"
CODES = 2001
ROWS = np.random.default_rng(0).random((5000, 16), dtype=np.float32)
SETTINGS = Settings(background=False, search_threads=1, port=0, door="grpc")


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(THIRD_PARTY))
    registry.forget_installed()
    yield
    registry.forget_installed()


def uninstall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(THIRD_PARTY)])
    registry.forget_installed()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Closed, with an index of the type over `c`, and a collection `plain`."""
    path, seen = tmp_path / "data", list[Event]()
    with Database.open(path, SETTINGS, Events(seen.append)) as database:
        for name in ("c", "plain"):
            database.create_collection(name, 16, 1024, MetricType.L2)
            database.collection(name).insert(ROWS, np.arange(5000))
        database.collection("c").create_index(IndexSetting.of(IndexType(CODES), {"bits": 6}))
        database.flush()
    assert [event.index_type for event in seen if isinstance(event, IndexBuilt)] == ["CODES"]
    return path


def found(client: Milvus, **params: int) -> list[list[int]]:
    status, hits = client.search("c", 2, ROWS[:3], params=params)
    assert status.OK(), status
    return [list(row) for row in hits.id_array]


def test_over_every_door(tmp_path: Path) -> None:
    server = Server.start(tmp_path / "data", SETTINGS)
    port, http = (address.rpartition(":")[2] for address in (server.address, server.http_address))
    expected = np.argsort(((ROWS[:3, None] - ROWS) ** 2).sum(axis=2), axis=1)[:, :2].tolist()
    with (
        closing(Milvus(host="127.0.0.1", port=port)) as grpc,
        closing(Milvus(host="127.0.0.1", port=http, handler="HTTP")) as rest,
        httpx.Client(base_url=f"http://127.0.0.1:{http}", trust_env=False) as raw,
    ):
        assert grpc.create_collection({"collection_name": "c", "dimension": 16}).OK()
        grpc.insert("c", ROWS, ids=list(range(5000)))
        for client in (grpc, rest):
            status = client.create_index("c", CODES, {"bits": 3})
            assert "Invalid bits value: 3. Valid range is [4, 8]" in status.message
            assert client.create_index("c", IndexType(CODES), {"bits": 8}).OK()
            told = client.get_index_info("c")[1]
            assert (told.index_type, told.params) == (CODES, {"bits": 8})
            assert found(client) == found(client, refine=9) == expected
            refused = client.search("c", 2, ROWS[:3], params={"refine": 0})[0]
            assert "Invalid refine value: 0. Valid range is [1, 1000]" in refused.message
            assert client.drop_index("c").OK()
        body = {"index_type": "CODES", "params": {}}
        assert raw.post("/collections/c/indexes", json=body, timeout=60).status_code == 201
        assert raw.get("/collections/c/indexes").json() == {**body, "index_number": CODES}
        assert raw.get("/collections/c").json()["index"] == "CODES"
        for client in (grpc, rest):
            segments = client.get_collection_stats("c")[1]["partitions"][0]["segments"]
            assert [each["index_name"] for each in segments] == ["CODES"]
        body["index_type"] = "CODE"
        assert "HNSWSQ8, CODES, not 'CODE'" in raw.post("/collections/c/indexes", json=body).text
    server.stop(5)


def test_kept_verified_and_repaired(folder: Path) -> None:
    with Database.open(folder, SETTINGS) as database:
        assert str(database.collection("c").definition.index.type) in ("CODES", str(CODES))
        hits = database.collection("c").search(ROWS[:5], 1, {})
        assert hits.ids[:, 0].tolist() == list(range(5)) and not hits.distances.any()
        assert str(database.collection("c").definition.index.type) == "CODES"
    assert verify(folder).findings == ()
    for path in folder.glob("catalog*"):
        path.unlink()
    assert repair(folder, dry_run=False)
    assert verify(folder).findings == ()
    with Database.open(folder, SETTINGS) as database:
        names = {
            each.index_name
            for p in database.collection("c").stats().partitions
            for each in p.segments
        }
        assert names == {"CODES"} and database.collection("c").definition.index.params == {
            "bits": 6
        }


def test_sized() -> None:
    arguments = ["--vectors", "5000", "--dimension", "16", "--index-type", "codes", "--json"]
    said = json.loads(CliRunner().invoke(app, ["sizing", *arguments]).stdout)
    wider = json.loads(CliRunner().invoke(app, ["sizing", *arguments, "--param", "bits=8"]).stdout)
    assert (said["load"]["index_type"], said["official"]) == ("CODES", None)
    assert 5000 * 8 < said["disk"]["indexes"] < 5000 * 16 < wider["disk"]["indexes"] < 5000 * 24
    assert CliRunner().invoke(app, ["sizing", *arguments, "--param", "bits"]).exit_code == 1


def test_where_it_is_not_installed_any_more(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uninstall(monkeypatch)
    assert [
        (each.damage, "2001 is of no distribution" in each.what) for each in verify(folder).findings
    ] == [(False, True)]
    with Database.open(folder, SETTINGS) as database:
        assert database.collection("plain").search(ROWS[:1], 1, {}).ids.tolist() == [[0]]
        assert (
            database.collection("c").count() == 5000
            and database.collection("c").definition.index.type == CODES
        )
        names = {
            each.index_name
            for p in database.collection("c").stats().partitions
            for each in p.segments
        }
        assert names == {"2001"}
        with pytest.raises(Unsupported, match=r"2001 is of no distribution.*milvine.index_types"):
            database.collection("c").search(ROWS[:1], 1, {})
        with pytest.raises(IllegalIndexType, match="Invalid index type: 2001"):
            database.collection("plain").create_index(IndexSetting.of(IndexType(CODES), {}))
        database.collection("c").insert(ROWS + 1, np.arange(5000, 10_000))
        database.flush()
        states = database.stores.states.values()
        state = next(each for each in states if each.collection.name == "c")
        with pytest.raises(BuildFailed, match="Cannot build an index: Index type 2001 is of no"):
            maintain(database.stores, state, resuming=True)
        database.collection("c").drop_index()
        assert database.collection("c").search(ROWS[:1], 1, {}).ids.tolist() == [[0]]
