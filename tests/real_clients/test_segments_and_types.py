"""Segments, memory, configuration, more index types: pymilvus and Milvine's own client get the same
answers.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.real_clients.environments import Unavailable, python_with
from tests.real_clients.serving import ROOT, serving
from tests.real_clients.test_real_clients import GONE, SERVERS, ok

pytestmark = pytest.mark.real_client

DRIVE = Path(__file__).with_name("drive_segments.py")
# 1.x names the wrong argument, or no reason; 0.2.14 has no release_collection, and loads no single
# partition.
OTHER_WORDS = {"ids of an illegal segment", "in an illegal segment"}
DIFFERENT = {
    "pymilvus==1.1.2": OTHER_WORDS,
    "pymilvus==0.2.14": OTHER_WORDS | {"load tag01", "load tag09", "release", "release missing"},
}
TABLE_NAMES = {"IVF_SQ8H": "IVFSQ8H", "RNSG": "NSG", "ANNOY": "ANNOY"}


def drive(python: str | Path, folder: Path, options: list[str], **more: str) -> Any:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | more
    with serving(folder, *options) as port:
        command = [str(python), str(DRIVE), str(port)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=240, env=environment, check=False
        )
    assert done.returncode == 0, done.stderr[-4000:]
    # Its number depends on the moment.
    return json.loads(re.sub(r"segment \d+:", "segment N:", done.stdout))


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return drive(sys.executable, tmp_path_factory.mktemp("ours"), [], PYTHONPATH=str(ROOT / "src"))


@pytest.fixture(scope="module", params=list(SERVERS))
def client(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def theirs(client: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    try:
        python = python_with(client)
    except Unavailable as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    return drive(python, tmp_path_factory.mktemp("theirs"), SERVERS[client])


def test_own_client_answers_the_same(client: str, theirs: Any, ours: Any) -> None:
    assert list(theirs) == list(ours)
    assert {label for label in theirs if theirs[label] != ours[label]} == DIFFERENT[client]


def test_segments(theirs: Any) -> None:
    assert theirs["ids of the segment"] == [ok("Success"), True]
    assert theirs["ids of no segment"] == [[1, "Segment does not exist"], []]
    assert theirs["ids, no collection"] == [[4, GONE], []]
    found = theirs["in the segment"]
    assert found[0] == ok("Search vectors successfully!") and [
        row[0] for row in found[1]["ids"]
    ] == [3, 4]
    assert theirs["in the segment, by text"][1]["ids"] == [[3]]
    assert theirs["in no segment"] == [[1, "Invalid file id"], []]
    assert theirs["in an illegal segment"][:2] == ["raised", "ParamError"]
    assert theirs["in the segment, topk 0"][0][0] == 10
    assert theirs["in the segment, later"][0] == ok("Search successfully!")


def test_memory(client: str, theirs: Any) -> None:
    assert theirs["load"] == ok() and theirs["load missing"] == [4, GONE]
    assert theirs["reload"] == theirs["reload missing"] == [0, ""]
    assert theirs["search afterwards"][1]["ids"] == [[0]]
    if client == "pymilvus==1.1.2":
        assert theirs["load tag01"] == theirs["release"] == ok() and theirs["release missing"] == [
            4,
            GONE,
        ]
        assert theirs["load tag09"] == [1, "The specified partition does not exist"]


def test_configuration(theirs: Any) -> None:
    assert theirs["set_config"] == [ok("Success!"), ""]
    assert theirs["get_config"] == [ok("Success!"), "1GB"] and theirs["get_config again"] == [
        ok("Success!"),
        "2GB",
    ]
    for label in ("get_config of nothing", "set_config of nothing"):
        assert theirs[label] == [[1, "Config node invalid: cache.nothing"], None]
    assert theirs["set_config malformed"][0][0] == 5
    assert theirs["mode"] == [ok("Success!"), "CPU"] and theirs["requests"] == [
        ok("Success!"),
        '{"requests":[]}',
    ]
    assert theirs["get_system_info"] == ["memory_total", "memory_used"]


@pytest.mark.parametrize("name", TABLE_NAMES)
def test_types(theirs: Any, name: str) -> None:
    if name == "ANNOY" and theirs["build ANNOY"] != ok("Build index successfully!"):
        assert "extra annoy" in theirs["build ANNOY"][1]
        return
    assert theirs[f"build {name}"] == ok("Build index successfully!")
    assert theirs[f"built {name}"] == [TABLE_NAMES[name]]
    assert theirs[f"search {name}"] == [ok("Search vectors successfully!"), [20, 21, 22, 23]]
    assert theirs[f"drop {name}"] == ok()


def test_binary_metrics(theirs: Any) -> None:
    for metric in ("HAMMING", "JACCARD", "TANIMOTO", "SUBSTRUCTURE", "SUPERSTRUCTURE"):
        assert theirs[f"create {metric}"] == ok("Create collection successfully!")
        found = theirs[f"exact {metric}"]
        assert found[0] == ok("Search vectors successfully!") and [
            row[0][1] for row in found[1]["rows"]
        ] == [0.0, 0.0]
        if metric != "SUPERSTRUCTURE":  # where parts of the query are as near as the query itself
            assert [row[0] for row in found[1]["ids"]] == [100, 101]
        assert theirs[f"IVF_FLAT {metric}"] == found
        assert theirs[f"HNSW {metric}"] == [8, "Invalid index type for collection metric type"]
        if metric.startswith("SU"):
            assert (
                theirs[f"build {metric}"][0] == 21
                and "IVF_FLAT does not serve" in theirs[f"build {metric}"][1]
            )
        else:
            assert theirs[f"build {metric}"] == ok("Build index successfully!")
