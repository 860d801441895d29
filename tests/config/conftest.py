"""A machine with memory enough for all defaults, whatever the tests run on."""

from __future__ import annotations

from importlib import import_module

import pytest


@pytest.fixture(autouse=True)
def enough_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("milvine.config.bounded"), "memory_limit", lambda: 64 << 30)
