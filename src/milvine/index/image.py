"""The frame around an index file: the index itself, and which rows it is about.

    offset  bytes  content
         0      8  "MVINDEX" and a zero byte
         8      4  version: 1
        12      4  1 when a row map follows, else 0
        16      8  rows of the segment
        24      8  rows that are indexed
        32     32  zero
        64         row map: int64 per indexed row, its row in the segment
                   the index as its library writes it (faiss's image, for most); absent when no row is indexed

Little endian. A row map is there when the index numbers its rows itself: rows with NaN or infinity were left out, or it
keeps the rows in an order of its own.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from milvine.errors import CorruptFile, UnsupportedFormat
from milvine.index.base import Write
from milvine.index.native import faiss
from milvine.types import Bytes, Ids

_HEADER = struct.Struct("<8sIIQQ32x")
_MAGIC = b"MVINDEX\0"
_VERSION = 1
_PIECE_BYTES = 1 << 20

IMAGE_HEADER_BYTES = _HEADER.size


@dataclass(frozen=True, slots=True)
class Image:
    """An index file in its parts: rows of the segment, indexed rows, row map or None, the index's own bytes."""

    rows: int
    indexed: int
    row_map: Ids | None
    body: Bytes


def write_header(write: Write, rows: int, indexed: int, row_map: Ids | None = None, mapped: bool = False) -> None:
    """Pass header and row map to `write`; the index itself follows. `mapped`: the caller passes the row map on."""
    write(_HEADER.pack(_MAGIC, _VERSION, mapped or row_map is not None, rows, indexed))
    if row_map is not None:
        write(row_map.astype("<i8").tobytes())


def write_image(write: Write, rows: int, indexed: int, index: Any, row_map: Ids | None = None, flags: int = 0) -> None:
    """Pass the whole file to `write`; `index` is a faiss index, or None when `indexed` is 0."""
    write_header(write, rows, indexed, row_map)
    if index is not None:
        faiss.write_index(index, faiss.PyCallbackIOWriter(write, _PIECE_BYTES), flags)


def read_image(data: Bytes) -> Image:
    """Take a file apart without copying it.

    Raises:
        UnsupportedFormat: a newer release wrote it.
        CorruptFile: it is no index file, or too short.
    """
    if data.size < _HEADER.size:
        raise CorruptFile(f"An index file of {data.size} bytes has no header")
    magic, version, mapped, rows, indexed = _HEADER.unpack(data[: _HEADER.size].tobytes())
    if magic != _MAGIC:
        raise CorruptFile(f"An index file does not begin with {magic!r}")
    if version > _VERSION:
        raise UnsupportedFormat(f"An index file has version {version}; this release reads up to {_VERSION}")
    body = data[_HEADER.size :]
    if not mapped:
        return Image(rows, indexed, None, body)
    if body.size < 8 * indexed:
        raise CorruptFile(f"An index file of {data.size} bytes is too short for a map of {indexed} rows")
    return Image(rows, indexed, np.frombuffer(body, dtype="<i8", count=indexed), body[8 * indexed :])
