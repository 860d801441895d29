"""A few cases of every fuzz target; `make fuzz` runs them for minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

from milvine.testing.fuzz.target import Outcome, run_case
from milvine.testing.fuzz.targets import TARGETS, load

CASES = {
    "wire": 1000,
    "rpc": 400,
    "log": 80,
    "folder": 8,
    "mending": 6,
    "config": 12,
    "rest": 150,
    "grpc": 80,
    "native": 80,
    "lane": 400,
    "secrets": 100,
}
NEEDS = {"rest": ("fastapi", "uvicorn"), "native": ("pygrpc_native",)}


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::DeprecationWarning", "ignore::SyntaxWarning"
)
def test_no_case_is_a_finding(name: str, tmp_path: Path) -> None:
    for package in NEEDS.get(name, ()):
        pytest.importorskip(package)
    target, outcome = load(name)(tmp_path), Outcome()
    try:
        for number in range(CASES[name]):
            run_case(target, name, 2, number, outcome)
    finally:
        target.close()
    assert not outcome.findings, outcome.findings[0][1]
    assert len(outcome.tried) > 1
