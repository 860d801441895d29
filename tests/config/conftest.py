"""A machine with memory enough for all defaults, whatever the tests run on."""

from __future__ import annotations

import pytest

from milvine.cli import configuration


@pytest.fixture(autouse=True)
def enough_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configuration, "memory_limit", lambda: 64 << 30)
