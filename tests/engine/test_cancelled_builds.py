"""create_index while it runs: ended by drop_index, drop_collection and another create_index, not by
a deadline.
"""

import threading
import time
from importlib.util import find_spec

import grpc
import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.errors import CollectionNotFound
from milvine.events import BuildProgressed, Events
from milvine.maintenance.process import PROGRAM
from milvine.server.app import Server
from milvine.types import IndexSetting, IndexType, MetricType
from milvus import IndexType as Types
from milvus import Milvus
from tests.builders import INSTEAD, start_builders

IVF = IndexSetting.of(IndexType.IVF_FLAT, {"nlist": 16})


@pytest.fixture
def building(tmp_path, monkeypatch):
    """A database in which create_index("c") runs in a thread and would not end; (database, thread,
    its errors).
    """
    start_builders(monkeypatch, INSTEAD.format("time.sleep(600)"))
    seen, errors = [], []
    with Database.open(
        tmp_path, Settings(background=False, build_threads=1), Events(seen.append)
    ) as database:
        database.create_collection("c", 8, 1024, MetricType.L2)
        database.collection("c").insert(
            np.random.default_rng(1).random((4200, 8), dtype=np.float32), np.arange(4200)
        )

        def run():
            try:
                database.collection("c").create_index(IVF)
            except Exception as error:
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        end = time.monotonic() + 60
        while not any(
            isinstance(event, BuildProgressed) and event.stage == "training" for event in seen
        ):
            assert time.monotonic() < end
            time.sleep(0.02)
        yield database, thread, errors


def ended(database, thread):
    thread.join(60)
    assert not thread.is_alive() and not database.stores.builds
    return True


def test_drop_index_ends_the_build(building):
    database, thread, errors = building
    database.collection("c").drop_index()
    assert ended(database, thread) and not errors
    assert database.collection("c").definition.index.type is IndexType.FLAT


def test_drop_collection_ends_the_build(building):
    database, thread, errors = building
    database.collection("c").drop()
    assert ended(database, thread)
    assert [type(error) for error in errors] == [CollectionNotFound]


def test_another_create_index_takes_its_place(building, monkeypatch):
    database, thread, errors = building
    monkeypatch.undo()
    database.collection("c").create_index(IndexSetting.of(IndexType.IVF_SQ8, {"nlist": 8}))
    assert ended(database, thread) and not errors
    (segment,) = database.collection("c").stats().partitions[0].segments
    assert segment.index_name == "IVFSQ8"


def test_closing_ends_the_build(building):
    database, thread, _ = building
    database.close()
    assert ended(database, thread)


def test_searches_and_inserts_go_on_meanwhile(building):
    database, thread, _ = building
    database.collection("c").insert(np.zeros((1, 8), np.float32), np.array([9999]))
    assert database.collection("c").count() == 4201
    (progress,) = database.stores.builds.values()
    assert (progress.index_type, progress.stage, progress.rows) == ("IVF_FLAT", "training", 4200)
    database.collection("c").drop_index()
    assert ended(database, thread)


@pytest.mark.parametrize("door", ["grpc", *(["native"] if find_spec("pygrpc_native") else [])])
def test_when_the_clients_deadline_passes_the_build_goes_on(tmp_path, monkeypatch, door):
    start_builders(monkeypatch, "import time\ntime.sleep(1.5)\n" + PROGRAM)
    settings = Settings(
        background=False, build_threads=1, port=0, http_enable=False, metric_enable=False, door=door
    )
    server = Server.start(tmp_path, settings)
    try:
        client = Milvus(*server.address.rsplit(":", 1))
        client.create_collection({"collection_name": "c", "dimension": 8})
        client.insert(
            "c", np.random.default_rng(1).random((4200, 8), dtype=np.float32), ids=list(range(4200))
        )
        status = client.create_index("c", Types.IVF_FLAT, {"nlist": 16}, timeout=0.7)
        assert status.code == grpc.StatusCode.DEADLINE_EXCEEDED
        end = time.monotonic() + 60
        while (
            client.get_collection_stats("c")[1]["partitions"][0]["segments"][0]["index_name"]
            != "IVFFLAT"
        ):
            assert time.monotonic() < end
            time.sleep(0.05)
        client.close()
    finally:
        server.stop(1)
