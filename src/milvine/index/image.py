"""The frame around an index file: the index itself, and which rows it is about.

    offset  bytes  content
         0      8  "MVINDEX" and a zero byte
         8      4  version: 2, or 3 with a table
        12      4  1 when a row map follows, else 0
        16      8  rows of the segment
        24      8  rows that are indexed
        32      8  groups
        40      8  rows in groups
        48      8  rows beside the index
        56      8  pairs in the table
        64         groups, where there are any: int64 the indexed row of each, int64 the places
                   where the rows of each begin among those of all, and their end, int64 the rows
                   of each, float64 how far from the indexed row its farthest is
                   rows beside the index: int64 the number of each
                   row map: int64 per indexed row, its row in the segment
                   table: two int64 for each pair; what they mean is the type's own matter
                   the index as its library writes it (faiss's image, for most); absent when no
                   row is indexed

Little endian. A row map is there when the index numbers its rows itself. A row is not indexed when
it holds NaN or infinity or is too long for the type, when it was deleted before the index was
built, when another one of its group stands for it, or when it is beside the index: then every query
is compared with it. Version 1 is the same without groups and rows beside. A table is in images that
earlier releases cannot search: they refuse them by the version.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from milvine.errors import CorruptFile, UnsupportedFormat
from milvine.index.base import Write
from milvine.index.copies.duplicates import Groups
from milvine.index.native import faiss
from milvine.types import Bytes, Ids

_HEADER = struct.Struct("<8sIIQQQQQQ")
_MAGIC = b"MVINDEX\0"
_VERSION, _VERSION_WITH_TABLE = 2, 3
_PAIRS_MAX = 1 << 14
_PIECE_BYTES = 1 << 20

IMAGE_HEADER_BYTES = _HEADER.size


@dataclass(frozen=True, slots=True)
class Image:
    """An index file in its parts; None for those that it does not have."""

    rows: int
    indexed: int
    row_map: Ids | None
    body: Bytes
    groups: Groups | None = None
    beside: Ids | None = None
    table: Ids | None = None


def write_header(
    write: Write,
    rows: int,
    indexed: int,
    row_map: Ids | None = None,
    mapped: bool = False,
    groups: Groups | None = None,
    beside: Ids | None = None,
    table: Ids | None = None,
) -> None:
    """Pass all but the index itself to `write`. `mapped`: the caller passes the row map on.
    `table`: int64 (pairs, 2).
    """
    grouped = (0, 0) if groups is None else (len(groups.heads), len(groups.members))
    others = 0 if beside is None else len(beside)
    version, pairs = (_VERSION, 0) if table is None else (_VERSION_WITH_TABLE, len(table))
    has_map = mapped or row_map is not None
    write(_HEADER.pack(_MAGIC, version, has_map, rows, indexed, *grouped, others, pairs))
    if groups is not None and grouped[0]:
        for numbers in groups[:3]:
            write(numbers.astype("<i8").tobytes())
        write(groups.radii.astype("<f8").tobytes())
    for more in (beside, row_map, table):
        if more is not None:
            write(more.astype("<i8").tobytes())


def write_image(
    write: Write,
    rows: int,
    indexed: int,
    index: Any,
    row_map: Ids | None = None,
    flags: int = 0,
    groups: Groups | None = None,
    beside: Ids | None = None,
    table: Ids | None = None,
) -> None:
    """Pass the whole file to `write`; `index` is a faiss index, or None when `indexed` is 0."""
    write_header(write, rows, indexed, row_map, groups=groups, beside=beside, table=table)
    if index is not None:
        faiss.write_index(index, faiss.PyCallbackIOWriter(write, _PIECE_BYTES), flags)


def read_image(data: Bytes, segment_rows: int) -> Image:
    """Take the index file of a segment of so many rows apart without copying it.

    Raises:
        UnsupportedFormat: a newer release wrote it.
        CorruptFile: it is no index file, too short, or about another number of rows.
    """
    if data.size < _HEADER.size:
        raise CorruptFile(f"An index file of {data.size} bytes has no header")
    magic, version, mapped, rows, indexed, groups, members, beside, pairs = _HEADER.unpack(
        data[: _HEADER.size].tobytes()
    )
    if magic != _MAGIC:
        raise CorruptFile(f"An index file does not begin with {magic!r}")
    if version > _VERSION_WITH_TABLE:
        raise UnsupportedFormat(
            f"An index file has version {version}; this release reads up to {_VERSION_WITH_TABLE}"
        )
    tabled = version == _VERSION_WITH_TABLE
    if tabled and pairs > _PAIRS_MAX:
        raise CorruptFile(f"An index file has a table of {pairs} pairs")
    sizes = [
        *([groups, groups + 1, members, groups] if groups else [0] * 4),
        beside,
        indexed if mapped else 0,
        2 * pairs if tabled else 0,
    ]
    ends = _HEADER.size + 8 * np.cumsum(sizes)
    if data.size < ends[-1]:
        raise CorruptFile(
            f"An index file of {data.size} bytes is too short for what it says of {rows} rows"
        )
    if rows != segment_rows:
        raise CorruptFile(f"An index file is about {rows} rows, its segment has {segment_rows}")
    parts = [data[end - 8 * size : end].view("<i8") for end, size in zip(ends, sizes, strict=True)]
    return Image(
        rows,
        indexed,
        row_map=parts[5] if mapped else None,
        body=data[ends[-1] :],
        groups=Groups(parts[0], parts[1], parts[2], parts[3].view("<f8")) if groups else None,
        beside=parts[4] if beside else None,
        table=parts[6].reshape(-1, 2) if tabled else None,
    )
