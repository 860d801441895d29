"""Sizes of files, from the formats of `segment.layout`, `index.image`, `wal.record` and the
libraries' own images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from milvine.index.flat import FLAT_HEADER_BYTES
from milvine.index.graphs.nsg import DEGREE_MIN, SPARSER
from milvine.index.image import IMAGE_HEADER_BYTES
from milvine.index.inverted.fast_scan import CODE_BITS
from milvine.index.inverted.ivf import effective_nbits, effective_nlist
from milvine.index.padding import wide
from milvine.index.params import NBITS_DEFAULT, integer, subspaces
from milvine.limits import INDEX_ROWS_MIN
from milvine.segment.layout import ALIGNMENT, BLOCK, MAGIC, TRAILER
from milvine.sizing.shape import FAST_SCANS, Load
from milvine.types import IndexType
from milvine.wal.record import FILE_HEADER, FRAME_HEADER, INSERT_HEAD

_FOOTER_TEXT_BYTES = 640
"""JSON of one segment's entry: names, ranges and offsets. Only the checksums grow with the file."""
_CHECKSUM_TEXT_BYTES = 11
"""A CRC32C in decimal, and a comma."""
_FAISS_HEADER_BYTES = 37
"""Four letters, dimension, rows, two words without use, trained, metric."""

_BLOCK_ROWS = 32
_RABITQ_NUMBERS = 8
"""Two floats beside the bits of a row."""

ANNOY_FILL = math.log(2)
"""How full leaves are on the average when a set is halved until each part fits."""


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
    return _component(_aligned(len(MAGIC)) + index_image(load, rows))


def index_image(load: Load, rows: int) -> int:
    """The image of an index over `rows` rows; 0 for FLAT."""
    if load.index_type is IndexType.FLAT:
        return 0
    if load.metric.is_binary:
        return IMAGE_HEADER_BYTES + _binary_ivf(load, rows)
    return IMAGE_HEADER_BYTES + _BODIES[load.index_type](load, rows)


def log_bytes(load: Load, rows: int) -> int:
    """Log records of `rows` inserted rows, without the file's header."""
    inserts = -(-rows // load.rows_per_insert)
    return rows * (load.row_bytes + 8) + inserts * (FRAME_HEADER.size + INSERT_HEAD.size)


LOG_HEADER_BYTES = FILE_HEADER.size


def lists(params: Mapping[str, Any], rows: int) -> int:
    """Lists that an IVF index of so many rows really gets."""
    return effective_nlist(integer(params, "nlist"), rows)


def code_bytes(load: Load, rows: int) -> int:
    """Bytes of one row in the lists of an IVF index, without its id."""
    if load.index_type is IndexType.IVF_FLAT:
        return load.row_bytes
    if load.index_type is IndexType.IVF_PQ:
        return -(-integer(load.params, "m") * pq_bits(load, rows) // 8)
    if load.index_type is IndexType.IVF_PQFS:
        return -(-subspaces(load.index_type, load.params, load.dimension) // 2)
    if load.index_type is IndexType.IVF_RABITQ:
        return -(-load.dimension // 8) + _RABITQ_NUMBERS
    return wide(load.dimension)


def pq_bits(load: Load, rows: int) -> int:
    return effective_nbits(integer(load.params, "nbits", NBITS_DEFAULT), rows)


def graph_links(load: Load, rows: int) -> int:
    """Link slots of an HNSW or RNSG graph: the lowest level, and what random heights are expected
    to add.
    """
    if load.index_type in (IndexType.HNSW, IndexType.HNSW_SQ8):
        m = integer(load.params, "M")
        return rows * 2 * m + round(rows * m / (m - 1))
    m = (graph_degree(load) + 1) // 2
    sample = -(-rows // SPARSER)
    return rows * 2 * m + round(sample * m * (1 + 1 / (m // 2 - 1)))


def graph_degree(load: Load) -> int:
    return max(integer(load.params, "out_degree"), DEGREE_MIN)


def annoy_node(dimension: int) -> int:
    """Bytes of one node of annoy's forest: four words and a vector."""
    return 16 + 4 * dimension


def _graph(load: Load, rows: int) -> int:
    codes = (rows + 8) * wide(load.dimension) if load.index_type is IndexType.HNSW_SQ8 else 0
    # Links, level and offset.
    return _FAISS_HEADER_BYTES + 4 * graph_links(load, rows) + (4 + 8) * rows + codes


def _ivf(load: Load, rows: int) -> int:
    nlist, code, d = lists(load.params, rows), code_bytes(load, rows), load.dimension
    if load.index_type in (IndexType.IVF_SQ8, IndexType.IVF_SQ8H):
        d = wide(d)
    extra = 0
    if load.index_type is IndexType.IVF_PQ:
        extra = 4 * d << pq_bits(load, rows)
    elif load.index_type in FAST_SCANS:  # a last block that is half empty, on the average
        extra = code * min(rows, nlist * _BLOCK_ROWS // 2) + (4 * d << CODE_BITS)
    elif load.index_type is not IndexType.IVF_FLAT:
        extra = 8 * d
    return 2 * _FAISS_HEADER_BYTES + rows * (code + 8) + nlist * (4 * d + 8) + extra


def _annoy(load: Load, rows: int) -> int:
    """Items, and per tree leaves of up to K items with one split less than leaves; roots stand
    twice.
    """
    node, trees = annoy_node(load.dimension), integer(load.params, "n_trees")
    leaves = rows / ((load.dimension + 2) * ANNOY_FILL)
    return node * round(rows + trees * 2 * leaves)


def _binary_ivf(load: Load, rows: int) -> int:
    nlist = lists(load.params, rows)
    return 8 * rows + 16 + 8 * (nlist + 1) + (nlist + rows) * load.row_bytes


_BODIES = {
    IndexType.IVF_FLAT: _ivf,
    IndexType.IVF_SQ8: _ivf,
    IndexType.IVF_SQ8H: _ivf,
    IndexType.IVF_PQ: _ivf,
    IndexType.HNSW: _graph,
    IndexType.RNSG: _graph,
    IndexType.ANNOY: _annoy,
    IndexType.IVF_PQFS: _ivf,
    IndexType.IVF_RABITQ: _ivf,
    IndexType.HNSW_SQ8: _graph,
}
