"""The measurement of throughput by number of clients runs; what it says depends on the machine."""

from __future__ import annotations

import re

import pytest

from milvine.testing.load.scale import lines, main


def test_a_short_measurement(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("milvine.testing.load.scale.INDEXES", {"FLAT": (1, {}, {"nprobe": 1})})
    assert main(["--seconds", "0.2", "--rows", "5000", "--clients", "1", "2"]) == 0
    told = capsys.readouterr().out
    assert re.search(
        r"^grpc, FLAT +[1-9][\d,]* \(1\.00\) +[1-9][\d,]* \(\d\.\d\d\)$", told, re.MULTILINE
    ), told


def test_ratios_are_to_the_first() -> None:
    assert list(lines([1000.0, 1500.0], "x")) == [f"{'x':<18}    1,000 (1.00)    1,500 (1.50)"]
