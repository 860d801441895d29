"""Sizes of files, from the formats of `segment.layout` and `wal.record`. Its type says how large an
index image is.
"""

from __future__ import annotations

from milvine.index.flat import FLAT_HEADER_BYTES
from milvine.limits import INDEX_ROWS_MIN
from milvine.segment.layout import ALIGNMENT, BLOCK, MAGIC, TRAILER
from milvine.sizing.shape import Load
from milvine.wal.record import FILE_HEADER, FRAME_HEADER, INSERT_HEAD

_FOOTER_TEXT_BYTES = 640
"""JSON of one segment's entry: names, ranges and offsets. Only the checksums grow with the file."""
_CHECKSUM_TEXT_BYTES = 11
"""A CRC32C in decimal, and a comma."""


def _aligned(size: int) -> int:
    return size + -size % ALIGNMENT


def _component(body: int) -> int:
    return body + _FOOTER_TEXT_BYTES + _CHECKSUM_TEXT_BYTES * -(-body // BLOCK) + TRAILER.size


def rows_file(load: Load, rows: int) -> int:
    """A component of vectors, ids, their order if need be, and LSNs."""
    header = FLAT_HEADER_BYTES if rows >= INDEX_ROWS_MIN else 0
    inserts = -(-rows // load.rows_per_insert)
    sections = [header + rows * load.row_bytes, 8 * rows, 4 * inserts, 8 * inserts]
    if not load.ascending_ids:
        sections.append(4 * rows)
    return _component(_aligned(len(MAGIC)) + sum(map(_aligned, sections)))


def index_file(load: Load, rows: int) -> int:
    """A component with one index image."""
    return _component(_aligned(len(MAGIC)) + load.sizes.image(load.indexed(rows)))


def log_bytes(load: Load, rows: int) -> int:
    """Log records of `rows` inserted rows, without the file's header."""
    inserts = -(-rows // load.rows_per_insert)
    return rows * (load.row_bytes + 8) + inserts * (FRAME_HEADER.size + INSERT_HEAD.size)


LOG_HEADER_BYTES = FILE_HEADER.size
