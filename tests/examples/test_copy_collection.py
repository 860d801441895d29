"""examples/copy_collection.py between two servers."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milvine.config import Settings
from milvine.server.app import Server
from milvus import IndexType, MetricType, Milvus

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "copy_collection.py"))
Pair = tuple[Milvus, Milvus, list[str]]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    settings = Settings(port=0, http_enable=False, build_in_subprocess=False)
    running = [
        Server.start(tmp_path_factory.mktemp(name), settings) for name in ("source", "target")
    ]
    clients = [Milvus(host="127.0.0.1", port=str(server.port)) for server in running]
    yield clients[0], clients[1], [f"tcp://127.0.0.1:{server.port}" for server in running]
    for client, server in zip(clients, running, strict=True):
        client.close()
        server.stop(5)


def create(source: Milvus, name: str, metric: MetricType, dimension: int) -> None:
    parameters = {
        "collection_name": name,
        "dimension": dimension,
        "index_file_size": 64,
        "metric_type": metric,
    }
    assert source.create_collection(parameters).OK()


def test_rows_partitions_and_index_arrive(
    servers: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target, addresses = servers
    create(source, "floats", MetricType.IP, 8)
    source.create_partition("floats", "2019")
    vectors = np.random.default_rng(0).standard_normal((2345, 8)).astype(np.float32)
    ids = np.arange(5000, 7345)
    source.insert("floats", vectors[:1200], ids=ids[:1200].tolist())
    source.insert("floats", vectors[1200:], ids=ids[1200:].tolist(), partition_tag="2019")
    source.delete_entity_by_id("floats", [5000, 7000])
    source.create_index("floats", IndexType.IVF_SQ8, {"nlist": 64})

    assert SCRIPT["main"](["floats", *addresses]) == 0
    assert "2,343 rows of floats copied" in capsys.readouterr().out
    assert target.count_entities("floats")[1] == 2343
    assert [p.tag for p in target.list_partitions("floats")[1]] == ["_default", "2019"]
    schema = target.get_collection_info("floats")[1]
    assert (schema.dimension, schema.index_file_size, schema.metric_type) == (8, 64, MetricType.IP)
    index = target.get_index_info("floats")[1]
    assert (index.index_type, index.params) == (IndexType.IVF_SQ8, {"nlist": 64})
    found: Any = target.get_entity_by_id("floats", [5000, 5001, 7344], partition_tag=None)[1]
    assert [len(row) for row in found] == [0, 8, 8]
    assert np.array_equal(np.float32(found[2]), vectors[-1])
    assert target.get_entity_by_id("floats", [7344], partition_tag="2019")[1][0]


def test_binary_rows_arrive_and_twins_are_told_of(
    servers: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target, addresses = servers
    create(source, "bits", MetricType.JACCARD, 64)
    rows = [
        bytes(row) for row in np.random.default_rng(1).integers(0, 256, (50, 8), dtype=np.uint8)
    ]
    source.insert("bits", rows, ids=[*range(49), 0])
    assert SCRIPT["main"](["bits", *addresses]) == 0
    assert "1 rows have the id of another row" in capsys.readouterr().err
    assert target.count_entities("bits")[1] == 49
    assert target.get_entity_by_id("bits", [7])[1][0] == rows[7]


def test_what_is_there_is_not_touched(servers: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    source, target, addresses = servers
    create(source, "there", MetricType.L2, 2)
    create(target, "there", MetricType.L2, 3)
    assert SCRIPT["main"](["there", *addresses]) == 1
    assert "The target has a collection there already" in capsys.readouterr().err
    assert target.get_collection_info("there")[1].dimension == 3
    assert SCRIPT["main"](["nowhere", *addresses]) == 1
    assert "Cannot flush the source: " in capsys.readouterr().err
