"""Memory of open indexes, of searches and of builds, from what faiss and annoy allocate.

Mapped bytes are pages of files: the system gives them up and reads them again. Anonymous bytes are
allocated.
"""

from __future__ import annotations

import math

from milvine.index.graphs.nsg import BRIDGES, SAMPLE_MIN, SPARSER
from milvine.index.inverted.binary_ivf import training_rows
from milvine.index.inverted.ivf import TRAINING_CODES, learnt_at_most
from milvine.index.inverted.lists import PIECE_BYTES, ROW_BYTES, buffer_rows
from milvine.index.inverted.precomputed import TABLE_BYTES_MAX, table_bytes
from milvine.index.padding import wide
from milvine.index.params import integer
from milvine.sizing.files import code_bytes, graph_degree, graph_links, index_image, lists, pq_bits
from milvine.sizing.shape import FAST_SCANS, GRAPHS, Load
from milvine.types import IndexType, MetricType

_LIST_BYTES = 2 * 80
"""An inverted list is two of faiss's vectors that may be views: codes and ids."""
_GROWTH = 1 / math.log(2)
"""Room of a vector that doubles when it is full, over what it holds, on the average."""
_TRAINING_PER_CENTROID = 256
_ROW_BYTES = 4 + 1
"""Of each row: its list, or its norm before that, and whether it is sound."""
_ANNOY_GROWTH = 1.3


def open_bytes(load: Load, rows: int) -> int:
    """Anonymous bytes of an open index over `rows` rows."""
    if load.metric.is_binary or load.index_type is IndexType.FLAT:
        return 0
    if load.index_type in GRAPHS:
        return (4 + 8) * rows  # level and offset of each row; the links stay mapped
    if load.index_type is IndexType.ANNOY:
        return index_image(load, rows)  # a copy in a file without a name, which lies in memory
    size = _LIST_BYTES * lists(load.params, rows)
    if load.index_type in FAST_SCANS:
        return size + index_image(load, rows)
    return size + (_pq_tables(load, rows) if load.index_type is IndexType.IVF_PQ else 0)


def _pq_tables(load: Load, rows: int) -> int:
    """With the table, as for a process that has room for those of all segments
    (`index.precomputed`).
    """
    centroids = 1 << pq_bits(load, rows)
    table = table_bytes(lists(load.params, rows), integer(load.params, "m"), centroids)
    if load.metric is MetricType.IP or table > TABLE_BYTES_MAX:
        table = 0
    return table + 4 * load.dimension * centroids


def search_bytes(load: Load, rows: int) -> int:
    """Anonymous bytes of one thread that searches: a graph notes which rows it has seen."""
    return rows if load.index_type in GRAPHS else 0


def mapped_when_searched(load: Load, rows: int) -> int:
    """Mapped bytes of an indexed segment that searches read as a matter of course."""
    vectors, image = rows * load.row_bytes, index_image(load, rows)
    if load.index_type is IndexType.HNSW_SQ8:
        return image
    if load.index_type in GRAPHS:
        return vectors + image
    if load.index_type in FAST_SCANS:
        return 0  # copied when it was opened; only the vectors of candidates are read
    # ANNOY's image is copied; its hits are scored.
    return vectors if load.index_type is IndexType.ANNOY else image


def build_bytes(load: Load, rows: int, memory: int = 0) -> int:
    """Anonymous bytes of the builder at its peak, over those of an idle Python process with faiss.

    The rows themselves are mapped and shared with the server. Some types make do with less where
    only `memory` bytes may be used (0: any number): what comes back is more than that where they
    cannot.
    """
    if load.metric.is_binary:
        return _binary_ivf(load, rows, memory)
    finite = 12 * rows  # norms and row numbers
    if load.index_type in (IndexType.HNSW, IndexType.HNSW_SQ8):
        row = load.row_bytes if load.index_type is IndexType.HNSW else wide(load.dimension)
        # With the locks of the nodes, and the order in which they are added.
        return finite + rows * (row + 4 + 8 + 4 + 4) + 4 * graph_links(load, rows)
    if load.index_type is IndexType.RNSG:
        return finite + _nsg(load, rows)
    if load.index_type is IndexType.ANNOY:
        # Forest, saved forest, its bytes.
        return finite + round((_ANNOY_GROWTH + 2) * index_image(load, rows))
    return _ROW_BYTES * rows + _ivf(load, rows, memory)


def _ivf(load: Load, rows: int, memory: int) -> int:
    """Centroids, and first the rows to learn from, then the lists: those of a portion, or all where
    they are packed.
    """
    nlist, code = lists(load.params, rows), code_bytes(load, rows)
    learnt = _learnt(load, rows, memory)
    training = learnt * load.row_bytes if learnt < rows else 0
    if load.index_type is not IndexType.IVF_FLAT:
        training += 2 * min(learnt, _learnt_for_codes(load, rows)) * load.row_bytes
    stored = round(_GROWTH * rows * (code + 8))
    if load.index_type not in FAST_SCANS:
        portion = buffer_rows(code, rows, memory)
        stored = min(rows, portion) * (code + ROW_BYTES) + min(
            2 * PIECE_BYTES, rows * load.row_bytes
        )
    return 2 * nlist * load.row_bytes + max(stored, training)


def _learnt(load: Load, rows: int, memory: int) -> int:
    nlist, exact = lists(load.params, rows), load.index_type is IndexType.IVF_FLAT
    most = max(
        _TRAINING_PER_CENTROID * nlist,
        0 if exact else TRAINING_CODES,
        _learnt_for_codes(load, rows),
    )
    return min(rows, learnt_at_most(most, nlist, load.row_bytes, exact, memory))


def _learnt_for_codes(load: Load, rows: int) -> int:
    if load.index_type is IndexType.IVF_FLAT:
        return 0
    return (
        _TRAINING_PER_CENTROID << pq_bits(load, rows)
        if load.index_type is IndexType.IVF_PQ
        else TRAINING_CODES
    )


def _nsg(load: Load, rows: int) -> int:
    """k-NN graph with bridges, twice while it is joined, then beside rows and pruned graph; last
    the graph to keep.
    """
    samples = max(0, math.floor(math.log(rows / SAMPLE_MIN, SPARSER)))
    neighbours = 8 * rows * (integer(load.params, "knng") + BRIDGES * samples)
    degree, points = graph_degree(load), rows * load.row_bytes
    pruning = 2 * neighbours + points + rows * degree * (8 + 4)
    keeping = (
        neighbours
        + points
        + 4 * rows * degree
        + 4 * graph_links(load, rows)
        + 2 * 8 * rows * (degree + 1)
    )
    return max(pruning, keeping) + (points if load.metric is MetricType.IP else 0)


def _binary_ivf(load: Load, rows: int, memory: int) -> int:
    nlist, width = lists(load.params, rows), load.dimension // 8
    # Bits as floats.
    training = training_rows(rows, nlist, load.dimension, memory) * load.dimension * 4
    portion = min(rows, buffer_rows(width, rows, memory)) * (2 * width + ROW_BYTES)
    return 4 * rows + max(training, portion)
