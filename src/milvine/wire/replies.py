"""Replies that carry rows or many ids, between bytes and numpy. Imported through
`milvine.wire.packed`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from milvine.types import Floats, Ids, Vectors
from milvine.wire import schema
from milvine.wire.buffers import join
from milvine.wire.row_records import Irregular, Rows, rows_field, rows_of_records
from milvine.wire.status import OK_FIELD, read_status
from milvine.wire.varint import Malformed, encode_int64s
from milvine.wire.walk import (
    BYTES,
    VARINT,
    Walk,
    decode,
    int64s_of,
    joined,
    packed_field,
    parse,
    varint_field,
)

HITS_FEW = 256
"""Hits that the protobuf runtime writes in less time than numpy takes to begin."""
_RUNS_MAX = 1 << 16  # of rows found and not found, in turns


class HitsReply(NamedTuple):
    """TopKQueryResult: flat `ids` (n,) int64 and `distances` (n,) float32, query-major, as sent."""

    code: int
    reason: str
    row_num: int
    ids: Ids
    distances: Floats


class IdsReply(NamedTuple):
    """VectorIds."""

    code: int
    reason: str
    ids: Ids


class VectorsReply(NamedTuple):
    """VectorsData: one row per id asked for; an empty row is one that was not found.

    `found` is bool (rows,), `vectors` float32 or uint8 (rows, width) with zeros where nothing was
    found.
    """

    code: int
    reason: str
    found: NDArray[np.bool_]
    vectors: Vectors


def _status(walk: Walk) -> tuple[int, str]:
    status = parse(schema.Status, bytes(walk.payload()))
    return int(status.error_code), str(status.reason)


def encode_hits(ids: Ids, distances: Floats) -> bytes:
    """TopKQueryResult of two arrays (nq, width). Without queries or without width it says that
    there are no rows.
    """
    if ids.size <= HITS_FEW:
        return _encode_few_hits(ids, distances)
    floats = np.ascontiguousarray(distances, dtype=np.dtype("<f4"))
    parts = [OK_FIELD, varint_field(2, len(ids) if ids.size else 0)]
    parts += packed_field(3, encode_int64s(ids))
    return b"".join(parts + packed_field(4, [floats.data.cast("B")] if floats.size else []))


def _encode_few_hits(ids: Ids, distances: Floats) -> bytes:
    message = schema.TopKQueryResult(
        row_num=len(ids) if ids.size else 0,
        ids=ids.ravel().tolist(),
        distances=distances.ravel().tolist(),
    )
    return OK_FIELD + bytes(message.SerializeToString())


def decode_hits(data: bytes) -> HitsReply:
    """TopKQueryResult."""
    return decode(_fast_hits, _slow_hits, schema.TopKQueryResult, data)


def _fast_hits(walk: Walk) -> HitsReply:
    status, row_num = (0, ""), 0
    ids: list[Ids] = []
    distances: list[Floats] = []
    for field in walk.fields():
        if field == (1, BYTES) and status == (0, ""):
            status = _status(walk)
        elif field == (2, VARINT):
            row_num = walk.varint()
        elif field == (3, BYTES):
            ids.append(walk.int64s())
        elif field == (4, BYTES):
            distances.append(walk.floats())
        else:
            raise Irregular
    return HitsReply(*status, row_num, joined(ids, np.int64), joined(distances, np.float32))


def _slow_hits(message: Any) -> HitsReply:
    distances = np.fromiter(message.distances, np.float32, len(message.distances))
    return HitsReply(*read_status(message), message.row_num, int64s_of(message.ids), distances)


def encode_ids(ids: Ids) -> bytes:
    """VectorIds."""
    return b"".join([OK_FIELD, *packed_field(2, encode_int64s(ids))])


def decode_ids(data: bytes) -> IdsReply:
    """VectorIds."""
    return decode(_fast_ids, _slow_ids, schema.VectorIds, data)


def _fast_ids(walk: Walk) -> IdsReply:
    status = (0, "")
    ids: list[Ids] = []
    for field in walk.fields():
        if field == (1, BYTES) and status == (0, ""):
            status = _status(walk)
        elif field == (2, BYTES):
            ids.append(walk.int64s())
        else:
            raise Irregular
    return IdsReply(*status, joined(ids, np.int64))


def _slow_ids(message: Any) -> IdsReply:
    return IdsReply(*read_status(message), int64s_of(message.vector_id_array))


def encode_vectors(found: NDArray[np.bool_], vectors: Vectors) -> bytes:
    """VectorsData of `vectors` (rows, width); a row that was not `found` (rows,) is sent empty."""
    parts: list[Any] = [OK_FIELD]
    edges = np.flatnonzero(np.diff(found)) + 1
    for start, stop in zip([0, *edges], [*edges, len(found)], strict=True):
        if stop > start:
            parts.append(
                rows_field(2, vectors[start:stop] if found[start] else vectors[start:stop, :0])
            )
    return join(parts)


def decode_vectors(data: bytes) -> VectorsReply:
    """VectorsData."""
    return decode(_fast_vectors, _slow_vectors, schema.VectorsData, data)


def _fast_vectors(walk: Walk) -> VectorsReply:
    status = (0, "")
    runs: list[Rows] = []
    for field in walk.fields():
        if field == (1, BYTES) and status == (0, ""):
            status = _status(walk)
        elif field == (2, BYTES) and len(runs) < _RUNS_MAX:
            runs.append(walk.rows())
        else:
            raise Irregular
    return _reply(status, runs)


def _slow_vectors(message: Any) -> VectorsReply:
    return _reply(
        read_status(message), [rows_of_records([record]) for record in message.vectors_data]
    )


def _reply(status: tuple[int, str], runs: list[Rows]) -> VectorsReply:
    """Runs of rows, some empty, as one array.

    Raises:
        Malformed: rows of several lengths or of both kinds, which no server sends.
    """
    full = [run.vectors for run in runs if run.vectors is not None]
    if len({(vectors.dtype, vectors.shape[1]) for vectors in full}) > 1:
        raise Malformed("rows of different lengths in one VectorsData")
    counts = [run.count for run in runs]
    found = np.repeat(np.array([run.vectors is not None for run in runs], dtype=bool), counts)
    if not full:
        return VectorsReply(*status, found, np.empty((len(found), 0), dtype=np.float32))
    if found.all():
        return VectorsReply(*status, found, joined(full, np.float32))
    vectors = np.zeros((len(found), full[0].shape[1]), dtype=full[0].dtype)
    vectors[found] = np.concatenate(full)
    return VectorsReply(*status, found, vectors)
