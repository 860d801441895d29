"""pymilvus from PyPI against `milvine serve`, and Milvine's own client beside it: same calls, same
answers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.client import page
from tests.real_clients.environments import Unavailable, python_with
from tests.real_clients.serving import ROOT, serving

pytestmark = pytest.mark.real_client

DRIVE = Path(__file__).with_name("drive.py")
OWN = {"PYTHONPATH": str(ROOT / "src")}
GONE = (
    "Collection missing does not exist. Use milvus.has_collection to verify whether the collection"
    " exists. You also can check whether the collection name exists."
)
SERVERS = {"pymilvus==1.1.2": [], "pymilvus==0.2.14": ["--report-version", "0.10.6"]}
# 0.2.14 prints the index type by its older name, and cannot name a partition to get rows from.
DIFFERENT = {"pymilvus==1.1.2": set(), "pymilvus==0.2.14": {"setting IVF_FLAT", "get from tag01"}}


def drive(
    python: str | Path, what: str, port: int, text: str = "", more: dict[str, str] | None = None
) -> Any:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | (
        more or {}
    )
    command = [str(python), str(DRIVE), what, str(port)]
    done = subprocess.run(
        command,
        input=text,
        capture_output=True,
        text=True,
        timeout=240,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module", params=list(SERVERS))
def client(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def python(client: str) -> Path:
    try:
        return python_with(client)
    except Unavailable as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def lives(client: str, python: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """The answers to the same life, led through pymilvus and through Milvine's client, on one
    server each.
    """
    with serving(tmp_path_factory.mktemp("theirs"), *SERVERS[client]) as port:
        theirs = drive(python, "life", port)
    with serving(tmp_path_factory.mktemp("ours"), *SERVERS[client]) as port:
        ours = drive(sys.executable, "life", port, more=OWN)
    return theirs, ours


@pytest.fixture(scope="module")
def life(lives: tuple[Any, Any]) -> Any:
    return lives[0]


def ok(message: str = "OK") -> list[Any]:
    return [0, message]


def test_collections(life: Any) -> None:
    assert life["no collection yet"] == [ok("Success"), False]
    assert life["create"] == ok("Create collection successfully!")
    assert life["create again"] == [9, "Collection already exists"]
    assert life["has"] == [ok("Success"), True] and life["list"] == [
        ok("Show collections successfully!"),
        ["life"],
    ]
    assert (
        life["info"][1]
        == "CollectionSchema(collection_name='life', dimension=16, index_file_size=32,"
        " metric_type=<MetricType: L2>)"
    )
    empty = {"partitions": [{"row_count": 0, "segments": None, "tag": "_default"}], "row_count": 0}
    assert life["empty stats"] == [ok("Success"), empty] and life["empty count"] == [
        ok("Success!"),
        0,
    ]
    assert life["empty search"][0] == ok("Search vectors successfully!") and life["empty search"][
        1
    ]["shape"] == [0, 0]
    assert life["empty get"] == [[1, "Collection or partition is empty"], []]
    assert life["drop"] == ok("Delete collection successfully!") and life["gone"] == [
        ok("Success"),
        False,
    ]


def test_partitions(life: Any) -> None:
    assert life["create tag01"] == life["create tag02"] == life["drop tag02"] == ok()
    assert life["create tag01 again"] == [1, "Duplicate partition is not allowed"]
    assert life["create _default"] == [1, "'_default' is built-in partition tag"]
    assert life["has tag01"] == [ok(), True] and life["has tag09"] == [ok(), False]
    tags = [f"(collection_name='life', tag='{tag}')" for tag in ("_default", "tag01", "tag02")]
    assert life["partitions"] == [ok("Success"), tags]
    assert life["drop tag02 again"] == [1, "Collection life's partition tag02 not found"]
    assert life["drop _default"] == [9, "Default partition cannot be dropped."]


def test_rows(life: Any) -> None:
    assert life["insert"] == ok("Add vectors successfully!")
    assert life["insert into tag01"] == [ok("Add vectors successfully!"), list(range(4500, 4550))]
    assert life["insert without ids"] == [
        [
            12,
            "Entities IDs are user-defined. Please provide IDs for all entities of the collection.",
        ],
        [],
    ]
    assert life["insert another width"] == [
        [7, "The vector dimension must be equal to the collection dimension."],
        [],
    ]
    assert life["insert into tag09"] == [[1, "Collection life's partition tag09 not found"], []]
    assert life["flush"] == ok() and life["count"] == [ok("Success!"), 4550]
    assert life["stats"] == [ok("Success"), 4550, [["_default", 4500], ["tag01", 50]]]
    assert life["closed"] == "AttributeError" and life["close"] is None
    assert life["get"][0] == ok("Obtain vector successfully") and life["got what was stored"]


def test_indexes(life: Any) -> None:
    for name, table_name in [
        ("FLAT", "IDMAP"),
        ("IVF_FLAT", "IVFFLAT"),
        ("IVF_SQ8", "IVFSQ8"),
        ("IVF_PQ", "PQ"),
        ("HNSW", "HNSW"),
    ]:
        assert life[f"build {name}"] == ok("Build index successfully!"), name
        assert life[f"built {name}"] == [table_name]
        found = life[f"search {name}"]
        assert found[0] == ok("Search vectors successfully!") and found[1]["shape"] == [3, 5]
        assert [row[0] for row in found[1]["ids"]] == [10, 11, 12], name
        if name in ("FLAT", "IVF_FLAT", "HNSW"):
            assert (
                found[1]["rows"] == life["search FLAT"][1]["rows"]
                and found[1]["rows"][0][0][1] == 0.0
            )
    assert life["search without ef"] == [[5, "Parameter list must contain: ef"], []]
    assert life["search with ef below topk"] == [
        [5, "Invalid ef value: 10. Valid range is [50, 32768]"],
        [],
    ]
    assert life["nlist 0"] == [5, "Invalid nlist value: 0. Valid range is [1, 999999]"]
    assert life["nlist missing"] == [5, "Parameter list must contain: nlist"]
    assert life["m that does not divide"] == [
        7,
        "Invalid collection dimension, dimension can not be divided by m",
    ]
    assert life["SQ8H"] == ok("Build index successfully!")
    assert life["drop index"] == ok()


def test_searches(life: Any) -> None:
    assert [row[0] for row in life["search all"][1]["ids"]] == [4500, 4501]
    assert all(4500 <= id < 4550 for row in life["search tag01"][1]["ids"] for id in row)
    assert life["search by pattern"][1]["ids"] == [[4500], [4501]]
    more = life["search more than there is"][1]
    assert (
        more["shape"] == [1, 51]
        and more["lengths"] == [50]
        and sorted(more["ids"][0]) == list(range(4500, 4550))
    )
    assert life["search tag09"] == [[1, "The specified partition does not exist"], []]
    for k in (0, 16385):
        assert life[f"topk {k}"] == [
            [10, f"Invalid topk: {k}. The topk must be within the range of 1 ~ 16384."],
            [],
        ]
    assert life["search another width"] == [
        [7, "The vector dimension must be equal to the collection dimension."],
        [],
    ]


def test_deletes(life: Any) -> None:
    assert life["delete"] == life["flush deletes"] == life["compact"] == life["flush anew"] == ok()
    assert life["count after delete"] == [ok("Success!"), 4548]
    assert (
        life["get deleted"] == [ok("Obtain vector successfully"), [[], []]]
        and life["search deleted"]
    )
    assert life["stats after compact"] == [ok("Success"), 4548, [["_default", 4498], ["tag01", 50]]]
    assert life["search anew"] == [[10]]


def test_generated_ids(life: Any) -> None:
    assert (
        life["generated"] == [ok("Add vectors successfully!"), 30, True, True]
        and life["find generated"]
    )
    assert life["given after generated"] == [
        [
            12,
            (
                "Entities IDs are auto-generated. All vectors of this collection must use"
                " auto-generated IDs."
            ),
        ],
        [],
    ]


def test_binary_vectors(life: Any) -> None:
    assert life["create binary"] == ok("Create collection successfully!")
    assert life["insert binary"] == ok("Add vectors successfully!") and life["flush binary"] == ok()
    wrong_kind = [7, "The vector dimension must be equal to the collection dimension."]
    assert life["insert floats into binary"] == life["search binary for floats"] == [wrong_kind, []]
    assert life["get binary"] == [ok("Obtain vector successfully"), ["0201", []]]
    found = life["search binary"]
    assert found[0] == ok("Search vectors successfully!") and found[1]["shape"] == [2, 3]
    assert found[1]["rows"][0][0] == [7, 0.0] and found[1]["rows"][1][0] == [255, 0.1111]
    assert life["binary IVF_FLAT"] == ok("Build index successfully!")
    assert life["binary HNSW"] == [8, "Invalid index type for collection metric type"]
    assert life["delete binary"] == ok() and life["drop binary"] == ok(
        "Delete collection successfully!"
    )
    assert life["binary dimension 12"][0] == 7


def test_errors(life: Any) -> None:
    missing = {label: answer for label, answer in life.items() if label.endswith(" of missing")}
    assert len(missing) == 17
    for label, answer in missing.items():
        status = answer[0] if isinstance(answer[0], list) else answer
        assert status == [4, GONE], label
    for size in (0, 32769):
        text = (
            f"Invalid collection dimension: {size}. The collection dimension must be within the"
            " range of 1 ~ 32768."
        )
        assert life[f"dimension {size}"] == [7, text]
    assert life["illegal name"] == [
        9,
        (
            "Invalid collection name: 9bad. The first character of a collection name must be an"
            " underscore or letter."
        ),
    ]
    assert life["illegal file size"] == [
        5,
        "Invalid index file size: 0. The index file size must be within the range of 1 ~ 4096.",
    ]
    assert life["command"] == [ok("Success!"), "Unknown command"]
    assert life["status"] == [ok("Success!"), "OK"]


def test_own_client_answers_the_same(client: str, lives: tuple[Any, Any]) -> None:
    theirs, ours = lives
    assert list(theirs) == list(ours)
    assert {label for label in theirs if theirs[label] != ours[label]} == DIFFERENT[client]


def test_the_page(client: str, python: Path, tmp_path: Path) -> None:
    """Line by line as on the page; only compact's timeout is a number, which is all that 1.1.2
    takes.
    """
    text = json.dumps([line.replace("timeout='1'", "timeout=1") for line in page.lines()])
    with serving(tmp_path / "theirs", *SERVERS[client]) as port:
        theirs = drive(python, "page", port, text)
    with serving(tmp_path / "ours", *SERVERS[client]) as port:
        ours = drive(sys.executable, "page", port, text, OWN)
    assert theirs == ours
    by_line = dict(zip(page.lines(), theirs, strict=True))
    assert by_line["milvus.create_collection(param)"] == ok("Create collection successfully!")
    assert by_line["milvus.close()"] is None


def test_the_page_with_its_collection_kept(client: str, python: Path, tmp_path: Path) -> None:
    lines = [
        line.replace("timeout='1'", "timeout=1")
        for line in page.lines()
        if "drop_collection" not in line
    ]
    with serving(tmp_path / "data", *SERVERS[client]) as port:
        answers = dict(zip(lines, drive(python, "page", port, json.dumps(lines)), strict=True))
    refused = {
        line.partition("(")[0]: answer
        for line, answer in answers.items()
        if answer and _code(answer) != 0
    }
    assert {call: _code(answer) for call, answer in refused.items()} == {
        "milvus.insert": 1,
        "milvus.search": 1,
    }


def _code(answer: Any) -> Any:
    return answer[0][0] if isinstance(answer[0], list) else answer[0]
