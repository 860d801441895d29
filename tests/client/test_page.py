"""The Hello World page typed from top to bottom, verbatim, on the embedded database and on a
server.

The page drops its collection half way and goes on with it, so some lines are refused; the
specification (section 7) says which and how. `examples/hello.py` sets the stage for those, and
every one of its lines must succeed.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from milvine.client.results import TopKQueryResult
from tests.client import page

ROOT = Path(__file__).parents[2]
EMPTY = {"partitions": [{"row_count": 0, "segments": None, "tag": "_default"}], "row_count": 0}
GONE = (
    "Collection test01 does not exist. Use milvus.has_collection to verify whether the collection"
    " exists. You also can check whether the collection name exists."
)


class Typed:
    """What the lines of the page returned, its addresses replaced by `address`, lines with
    `left_out` left out.
    """

    def __init__(self, address: str, left_out: str = "no such line") -> None:
        names: dict[str, Any] = {}
        self._answers = []
        for line in page.lines():
            if left_out not in line:
                code = (
                    f"milvus = Milvus({address})" if line.startswith("milvus = Milvus(") else line
                )
                self._answers.append((line, page.run(code, names)))

    def __getitem__(self, part: str) -> Any:
        """What the first line that contains `part` returned."""
        return next(returned for line, returned in self._answers if part in line)


def test_the_page_has_all_its_lines() -> None:
    lines = page.lines()
    assert (
        len(lines) == 30
        and lines[0].startswith("from milvus import")
        and lines[-1] == "milvus.close()"
    )


def test_the_page(database_address: str) -> None:
    typed = Typed(database_address)
    assert (
        repr(typed["create_collection"])
        == "Status(code=0, message='Create collection successfully!')"
    )
    assert typed["get_collection_stats"] == (0, EMPTY)
    assert (
        repr(typed["drop_collection"])
        == "Status(code=0, message='Delete collection successfully!')"
    )
    for call in (
        "create_partition",
        "drop_partition",
        "create_index",
        "drop_index",
        "delete_entity",
        "flush",
        "compact",
    ):
        assert (typed[f"milvus.{call}"].code, typed[f"milvus.{call}"].message) == (4, GONE)
    for call in (
        "milvus.list_partitions",
        "records=vectors)",
        "records=vectors, ids",
        "top_k=2",
        "top_k=1",
    ):
        assert typed[call] == (4, [])
    assert typed["milvus.close"] is None


def test_the_page_with_its_collection_kept(database_address: str) -> None:
    typed = Typed(database_address, left_out="drop_collection")
    for call in (
        "create_partition",
        "drop_partition",
        "create_index",
        "drop_index",
        "delete_entity",
        "flush",
        "compact",
    ):
        assert typed[f"milvus.{call}"] == 0, call
    assert [partition.tag for partition in typed["list_partitions"][1]] == ["_default", "tag01"]
    status, ids = typed["records=vectors)"]
    assert (repr(status), len(ids)) == ("Status(code=0, message='Add vectors successfully!')", 20)
    assert typed["records=vectors, ids=vector_ids"] == (12, [])
    assert typed['partition_tag="tag01")'] == (1, [])
    assert typed["status, vector = "] == [[]] * 20
    status, result = typed["top_k=2"]
    assert (repr(status), type(result)) == (
        "Status(code=0, message='Search vectors successfully!')",
        TopKQueryResult,
    )
    assert [len(row) for row in result] == [2] * 5 and {
        hit.id for row in result for hit in row
    } <= set(ids)
    status, nothing = typed["top_k=1"]
    assert (status.code, status.message, nothing) == (
        1,
        "The specified partition does not exist",
        [],
    )


def hello() -> Any:
    spec = importlib.util.spec_from_file_location("hello_example", ROOT / "examples" / "hello.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_example_types_the_page() -> None:
    assert [step.code for step in hello().STEPS] == page.lines()


def test_the_example_on_the_embedded_database() -> None:
    done = run_example()
    assert done.returncode == 0, done.stdout + done.stderr
    assert [
        line[4:] for line in done.stdout.splitlines() if line.startswith(">>> ")
    ] == page.lines()
    assert "not what the page promises" not in done.stdout and not done.stderr


def test_the_example_on_a_server(server_port: int) -> None:
    done = run_example("--uri", f"tcp://localhost:{server_port}")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_example_tells_when_a_promise_is_broken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = hello()
    module.STEPS[5] = module.Step(module.STEPS[5].code, lambda returned: False)
    assert module.play((tmp_path / "data").as_uri()) == ["milvus.get_collection_stats('test01')"]
    assert "not what the page promises" in capsys.readouterr().out


def run_example(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "examples" / "hello.py"), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=environment, check=False
    )
