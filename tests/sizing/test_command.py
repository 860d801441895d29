"""`milvine sizing` as it is called."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from milvine.cli import app


def run(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["sizing", *arguments])
    return done.exit_code, done.stdout, done.stderr


def test_people_read_lines_and_programs_json() -> None:
    load = ("-n", "10000000", "-d", "128", "--index-type", "ivf_sq8", "--nlist", "4096")
    code, text, _ = run(*load)
    assert code == 0
    assert "10,000,000 vectors of 128 dimensions, L2, IVF_SQ8 nlist=4096" in text
    # Of the 1.x tool's own worked example.
    assert "memory                          1.202 GiB" in text
    assert "5.97 GiB" in text
    code, text, _ = run(*load, "--json")
    found = json.loads(text)
    assert code == 0
    assert found["load"]["index_type"] == "IVF_SQ8"
    assert found["official"] == {"memory": 1_290_485_760, "disk": 6_410_485_760}
    assert found["disk"]["stable"] == found["disk"]["rows"] + found["disk"]["indexes"]


def test_types_without_a_formula_of_1x_say_so() -> None:
    assert (
        "had no formula for HNSW"
        in run("-n", "200000", "-d", "128", "--index-type", "HNSW", "--M", "8")[1]
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--index-type", "NIX"), "Invalid index type: NIX. Expected one of FLAT, IVF_FLAT"),
        (("--metric", "COSINE"), "Invalid metric: COSINE. Expected one of L2, IP"),
        (("--index-type", "IVF_PQ"), "Parameter list must contain: m"),
        (("--index-type", "HNSW", "--M", "99"), "Invalid M value: 99. Valid range is [4, 64]"),
        (("--index-file-size", "0"), "Invalid index_file_size value: 0. Valid range is [1, 4096]"),
    ],
)
def test_errors_are_one_line(arguments: tuple[str, ...], reason: str) -> None:
    code, out, err = run("-n", "1000", "-d", "128", *arguments)
    assert (code, out) == (1, "")
    assert err.startswith(f"milvine: {reason}")
    assert err.count("\n") == 1
