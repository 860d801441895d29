"""@zilliz/milvus-sdk-node 1.0.0 from npm against `milvine serve`: the page's life through a client
in another language.

`node/outcome.json` is what it printed, kept for machines without node. To record it anew, run this
file with MILVINE_RECORD=1 and read the difference.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.real_clients.environments import CACHE
from tests.real_clients.serving import serving
from tests.sdk.recording import assert_as_recorded, recorded

pytestmark = pytest.mark.real_client

HERE = Path(__file__).parent / "node"
OUTCOME = HERE / "outcome.json"
PACKAGE = "@zilliz/milvus-sdk-node@1.0.0"
MODULES = CACHE / "milvus-sdk-node-1.0.0" / "node_modules"


@pytest.fixture(scope="module")
def modules() -> Path:
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node and npm are not installed")
    if not (MODULES / "@zilliz").exists():
        aside = MODULES.parent.with_suffix(".aside")
        npm = [
            "npm",
            "install",
            "--prefix",
            str(aside),
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            PACKAGE,
        ]
        done = subprocess.run(npm, capture_output=True, text=True, timeout=240, check=False)
        if done.returncode:
            pytest.skip(f"npm could not install {PACKAGE}: {done.stderr[-300:]}")
        shutil.rmtree(MODULES.parent, ignore_errors=True)
        shutil.move(aside, MODULES.parent)
    return MODULES


def test_the_life_of_a_collection(modules: Path, tmp_path: Path) -> None:
    with serving(tmp_path) as port:
        assert_as_recorded(["node", str(HERE / "life.js"), str(modules), str(port)], OUTCOME)


def test_what_was_recorded_is_what_1_x_answers() -> None:
    """Against the specification, so that a recording cannot make a mistake right."""
    outcome = recorded(OUTCOME)
    ok = {"error_code": "SUCCESS", "reason": "OK"}
    refused = {label: reply for label, reply in outcome.items() if reply.get("status", reply) != ok}
    assert set(refused) == {"create again", "count after drop"}
    assert refused["create again"]["error_code"] == "ILLEGAL_COLLECTION_NAME"
    assert refused["count after drop"]["status"]["error_code"] == "COLLECTION_NOT_EXISTS"
    assert outcome["count"]["collection_row_count"] == "4501"
    assert outcome["stats"] == {
        "status": ok,
        "row_count": 4501,
        "partitions": [["_default", 4500], ["tag01", 1]],
    }
    found = [
        reply["first"]
        for label, reply in outcome.items()
        if label == "search" or label.endswith("searched")
    ]
    assert len(found) == 4 and all(
        hits == [{"id": str(id), "distance": 0} for id in (11, 12, 13)] for hits in found
    )
    assert outcome["search tag01"]["ids"] == ["9001", "-1"] * 3 and outcome["search by id"][
        "ids"
    ] == ["11", "12"]
    assert outcome["count after delete"]["collection_row_count"] == "4500"
    assert outcome["get deleted"]["vectors_data"] == [{"float_data": [], "binary_data": ""}]
    assert outcome["search bits"]["distances"] == [0.11111, 0.4375] and outcome["search bits"][
        "ids"
    ] == ["1", "2"]
    assert outcome["get bits"]["vectors_data"][0]["binary_data"] == "ffff"
    assert outcome["has after drop"]["bool_reply"] is False
