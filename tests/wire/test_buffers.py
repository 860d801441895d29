"""Large requests are written in place; they are the same bytes as small ones."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

from milvine.wire import buffers, packed
from milvine.wire.buffers import StridedRows
from milvine.wire.schema import InsertParam

ROWS = np.random.default_rng(3).integers(0, 255, (300, 128)).astype(np.uint8)
PARTS: list[buffers.Part] = [b"head", StridedRows(b"\x0a\x80\x01", ROWS), b"", ROWS[0], b"end"]


def test_in_place_or_not_they_are_the_same_bytes() -> None:
    copied, written = buffers.join(PARTS, None), buffers.join(PARTS, 1)
    assert type(copied) is type(written) is bytes and copied == written
    rows = [b"\x0a\x80\x01" + row.tobytes() for row in ROWS]
    assert copied == b"".join([b"head", *rows, ROWS[0].tobytes(), b"end"])


@pytest.mark.parametrize("ids", [None, np.arange(3000) * 10**15 - 7])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_a_large_insert_holds_every_row(ids: Any, dtype: Any) -> None:
    """Half a megabyte, and more than one."""
    vectors = np.random.default_rng(3).integers(0, 255, (3000, 128)).astype(dtype)
    message = InsertParam.FromString(packed.encode_insert("c", vectors, ids, "tag", "{}"))
    kind = "binary_data" if dtype is np.uint8 else "float_data"
    rows = [getattr(each, kind) for each in message.row_record_array]
    held = [np.frombuffer(each, np.uint8) for each in rows] if dtype is np.uint8 else rows
    assert (np.array(held, dtype) == vectors).all()
    assert list(message.row_id_array) == ([] if ids is None else ids.tolist())


def test_without_cpython_nothing_is_written_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = buffers.join(PARTS)
    monkeypatch.delattr(ctypes, "pythonapi")
    assert buffers.join(PARTS, None) == expected
