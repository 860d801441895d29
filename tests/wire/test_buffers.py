"""Large requests are written in place; they are the same bytes as small ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from milvine.wire import buffers, packed
from milvine.wire.schema import InsertParam


@pytest.mark.parametrize("ids", [None, np.arange(3000) * 10**15 - 7])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_large_and_small_are_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch, ids: Any, dtype: Any
) -> None:
    vectors = np.random.default_rng(3).integers(0, 255, (3000, 128)).astype(dtype)
    small = packed.encode_insert("c", vectors, ids, "tag", "{}")
    monkeypatch.setattr(buffers, "_LARGE", 1)
    large = packed.encode_insert("c", vectors, ids, "tag", "{}")
    assert type(large) is bytes and large == small
    assert len(InsertParam.FromString(large).row_record_array) == 3000


def test_without_cpython_nothing_is_written_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.ones((5, 4), np.float32)
    expected = packed.encode_insert("c", vectors)
    monkeypatch.setattr(buffers, "_LARGE", 1)
    monkeypatch.setattr(buffers, "_CPYTHON", False)
    monkeypatch.setattr(buffers, "_fresh_bytes", None)
    assert packed.encode_insert("c", vectors) == expected
