"""What is tried on every machine as on one with all instructions."""

from __future__ import annotations

import pytest

from milvine.index.graphs import points


@pytest.fixture(autouse=True)
def quick_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points, "QUICK", True)
