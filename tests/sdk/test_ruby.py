"""Ruby's own gRPC against `milvine serve`: every rpc from another language, with no SDK between.

`ruby/outcome.json` is what it printed, kept for machines without Ruby (Debian: ruby-grpc,
ruby-google-protobuf). To record it anew, run this file with MILVINE_RECORD=1 and read the
difference.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from milvine.wire.schema import RPCS
from tests.real_clients.serving import serving
from tests.sdk.recording import assert_as_recorded, recorded

pytestmark = pytest.mark.real_client

HERE = Path(__file__).parent / "ruby"
OUTCOME = HERE / "outcome.json"


def test_every_rpc(tmp_path: Path) -> None:
    ruby = shutil.which("ruby")
    if (
        not ruby
        or subprocess.run(
            [ruby, "-e", "require 'grpc'"], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("ruby with its gRPC is not installed")
    with serving(tmp_path) as port:
        assert_as_recorded([ruby, str(HERE / "life.rb"), str(port)], OUTCOME)


def test_what_was_recorded_is_what_1_x_answers() -> None:
    """Against the specification, so that a recording cannot make a mistake right."""
    outcome = recorded(OUTCOME)
    assert {answer[0] for answer in outcome.values()} >= set(RPCS)
    refused = {label: answer[1] for label, answer in outcome.items() if answer[1] != 0}
    assert refused == {
        "create again": 9,
        "search with broken JSON": "GRPC::Unknown",
        "topk 0": 10,
        "count after drop": 4,
        "hybrid": "GRPC::Unimplemented",
    }
    assert all(
        answer[2] == ("" if answer[0] == "ReloadSegments" else "OK")
        for answer in outcome.values()
        if not answer[1]
    )
    told = {label: answer[3] for label, answer in outcome.items() if len(answer) > 3}
    assert told["describe"] == ["ruby", 4, 16, 1] and told["partitions"] == ["_default", "tag01"]
    assert told["count"] == told["stats"] == 101, "the insert with a key was sent twice"
    assert (
        told["insert with a key, 0"] == told["insert with a key, 1"] == [900]
        and told["count after delete"] == 98
    )
    assert told["get"] == [[3, 1.5, 1, 0], []] and told["ids of the segment"] is True
    assert told["search"] == [2, [5, 4, 6, 5], [0, 1.25, 0, 1.25]] and told["search tag01"] == [
        1,
        [900],
        [307],
    ]
    assert told["search by id"] == [1, [8], [0]] and told["search in the segment"] == [1, [7], [0]]
    assert told["index setting"] == [2, [["params", '{"nlist":4}']]]
