"""pymilvus 1.1.2 with handler="HTTP" against `milvine serve`: its whole life, answer by answer."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.real_clients.environments import Unavailable, python_with
from tests.real_clients.serving import SET
from tests.serving import serving

pytestmark = pytest.mark.real_client

DRIVE = Path(__file__).with_name("drive_http.py")
SUCCESS = [0, "Success"]
GONE = (
    "Collection {} does not exist. Use milvus.has_collection to verify whether the collection"
    " exists. You also can check whether the collection name exists."
)


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Any:
    try:
        python = python_with("pymilvus==1.1.2")
    except Unavailable as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    folder = tmp_path_factory.mktemp("http")
    with serving(folder, "--http-port", 0, environment=SET) as server:
        command = [str(python), str(DRIVE), str(server.http_port)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=240, env=environment, check=False
        )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


def test_the_server(life: Any) -> None:
    assert life["version"] == [SUCCESS, "1.1.1"] and life["status"] == [SUCCESS, "OK"]
    assert life["get config"] == [SUCCESS, "1GB"] and life["got config"] == [SUCCESS, "2GB"]
    assert life["set config"] == [SUCCESS, "set_config cache.insert_buffer_size 2GB successfully;"]


def test_collections(life: Any) -> None:
    assert life["create"] == [0, "Create table successfully!"]
    assert life["create again"] == [9, "Collection already exists"]
    assert life["has"] == [SUCCESS, True] and life["has none"] == [SUCCESS, False]
    assert (
        life["list"] == [SUCCESS, ["over_http"]]
        and "dimension=16, index_file_size=32" in life["info"][1]
    )
    assert life["stats"] == [SUCCESS, 302, ["_default", "p"]]
    assert life["no such collection"] == [[4, GONE.format("none")], None]
    assert life["drop"] == [0, "Delete successfully!"] and life["drop again"] == [
        4,
        GONE.format("over_http"),
    ]


def test_partitions(life: Any) -> None:
    tags = [f"(collection_name='over_http', tag='{tag}')" for tag in ("_default", "p")]
    assert life["create partition"] == SUCCESS and life["partitions"] == [SUCCESS, tags]
    assert life["has partition"] == [SUCCESS, True] and life["drop partition"] == SUCCESS


def test_rows(life: Any) -> None:
    assert life["insert"] == [[0, "Add vectors successfully!"], list(range(300))]
    assert life["insert into p"][1] == [1000, 1001] and life["count"] == [SUCCESS, 302]
    assert life["get"][0] == SUCCESS and life["got what was stored"]
    assert life["ids in segment"] == [SUCCESS, [1000, 1001]]
    assert life["delete"] == [0, "OK"] and life["count after delete"] == [SUCCESS, 301]
    for task in ("flush", "compact"):
        assert life[task] == [0, "OK"]
    assert life["load"][0] == life["release"][0] == 0


def test_searches(life: Any) -> None:
    assert [row[0] for row in life["search"][1]] == [[5, 0.0], [6, 0.0]]
    assert [hit[0] for hit in life["search p"][1][0]] == [1000, 1001]  # without fillers
    assert life["search in segment"] == [SUCCESS, [[[1000, 0.0]]]]
    assert life["search none"] == [[1, "The specified partition does not exist"], None]


def test_indexes(life: Any) -> None:
    assert life["index"] == [0, "OK"] and life["drop index"] == SUCCESS
    assert "<IndexType: IVF_FLAT>, _params={'nlist': 16}" in life["index info"][1]
    assert life["index that cannot be"][0] == 5


def test_binary(life: Any) -> None:
    assert life["create binary"][0] == 0 and life["insert binary"][1] == [1, 2]
    assert life["get binary"] == [SUCCESS, ["00ff"]] and life["search binary"] == [
        SUCCESS,
        [[[1, 0.0]]],
    ]
