"""The bytes of the log. Nothing here opens a file.

A log file is a file header followed by frames, everything little-endian:

    file header (32 bytes)   magic 8 | format u32 | crc32c u32 of the rest | first_lsn u64 |
                             sequence u64
    frame header (40 bytes)  magic u32 | crc32c u32 of the rest and the payload | length u64 |
                             lsn u64 | synced_lsn u64 | kind u8, 7 zero bytes
    payload (length bytes), zero bytes up to a multiple of 8

    payload of an insert     collection u64 | partition u64 | rows u64 | row bytes u32 |
                             generated u8, 3 zero bytes | ids i64 each | vectors |
                             16 bytes of key, in frames of kind 3 only
    payload of a delete      collection u64 | partition u64 | ids u64 | ids i64 each

`synced_lsn` is the highest LSN known to be durable when the frame was written: damage above every
such LSN is the torn end of a crash, damage below one is corruption (see `replay`).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from milvine.storage.checksum import crc32c
from milvine.types import Bytes, Ids

FILE_MAGIC = b"MILVWAL\x01"
FILE_HEADER = struct.Struct("<8sIIQQ")
FORMAT_VERSION = 2
"""2: inserts may carry a key. Files of format 1 are read as well."""
KEY_BYTES = 16
FRAME_MAGIC = 0x4C57564D
FRAME_HEADER = struct.Struct("<IIQQQB7x")
ALIGNMENT = 8

_INSERT, _DELETE, _KEYED_INSERT = 1, 2, 3
INSERT_HEAD = struct.Struct("<QQQIB3x")
_DELETE_HEAD = struct.Struct("<QQQ")


@dataclass(frozen=True, slots=True)
class InsertRecord:
    """Rows for one partition. `rows` is uint8 (n, row_bytes), C-contiguous: the vectors as they are
    stored.

    `key` is what tells a repeated insert, 16 bytes or none.
    """

    collection_id: int
    partition_id: int
    ids: Ids
    rows: Bytes
    generated: bool
    key: bytes = b""


@dataclass(frozen=True, slots=True)
class DeleteRecord:
    """Ids to delete in one partition, or in all of the collection when `partition_id` is 0."""

    collection_id: int
    partition_id: int
    ids: Ids


Record: TypeAlias = "InsertRecord | DeleteRecord"


class BadFrame(Exception):
    """The bytes at this position are not a whole frame. The text says why."""


@dataclass(frozen=True, slots=True)
class Frame:
    lsn: int
    synced_lsn: int
    kind: int
    payload: Bytes
    end: int


def encode_file_header(first_lsn: int, sequence: int) -> bytes:
    rest = struct.pack("<QQ", first_lsn, sequence)
    return FILE_HEADER.pack(FILE_MAGIC, FORMAT_VERSION, crc32c(rest), first_lsn, sequence)


def decode_file_header(data: Bytes) -> tuple[int, int]:
    """(format version, first LSN).

    Raises:
        BadFrame: the header is cut short or its checksum is wrong.
    """
    if len(data) < FILE_HEADER.size:
        raise BadFrame("the file header is cut short")
    head = data[: FILE_HEADER.size].tobytes()
    magic, version, checksum, first_lsn, _ = FILE_HEADER.unpack(head)
    if magic != FILE_MAGIC or checksum != crc32c(head[16:]):
        raise BadFrame("the file header's checksum is wrong")
    return version, first_lsn


def encode(record: Record, lsn: int, synced_lsn: int) -> list[memoryview]:
    """The frame of `record` as buffers to be written in order; row bytes are not copied."""
    if isinstance(record, InsertRecord):
        count, row_bytes = record.rows.shape
        head = INSERT_HEAD.pack(
            record.collection_id, record.partition_id, count, row_bytes, record.generated
        )
        body = [memoryview(head), _view(record.ids), _view(record.rows), memoryview(record.key)]
        kind = _KEYED_INSERT if record.key else _INSERT
    else:
        head = _DELETE_HEAD.pack(record.collection_id, record.partition_id, len(record.ids))
        body, kind = [memoryview(head), _view(record.ids)], _DELETE
    length = sum(part.nbytes for part in body)
    rest = FRAME_HEADER.pack(0, 0, length, lsn, synced_lsn, kind)[8:]
    start = struct.pack("<II", FRAME_MAGIC, crc32c(rest, *body))
    return [memoryview(start + rest), *body, memoryview(bytes(-length % ALIGNMENT))]


def _view(array: Ids | Bytes) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def decode_frame(data: Bytes, offset: int) -> Frame:
    """The frame at `offset` of a file's bytes; the payload is a view.

    Raises:
        BadFrame: the bytes there are not a whole, undamaged frame.
    """
    body = offset + FRAME_HEADER.size
    if body > len(data):
        raise BadFrame("the frame header is cut short")
    head = data[offset:body].tobytes()
    magic, checksum, length, lsn, synced_lsn, kind = FRAME_HEADER.unpack(head)
    if magic != FRAME_MAGIC:
        raise BadFrame("no frame starts here")
    if length > len(data) - body:
        raise BadFrame("the frame is cut short")
    payload = data[body : body + length]
    if crc32c(head[8:], payload) != checksum:
        raise BadFrame("the frame's checksum is wrong")
    return Frame(lsn, synced_lsn, kind, payload, body + length + (-length % ALIGNMENT))


def decode(frame: Frame) -> Record:
    """The record in a frame. Arrays are copies, so that the file can be let go.

    Raises:
        BadFrame: of an unknown kind, or its counts are not those of its bytes.
    """
    payload, size = frame.payload, len(frame.payload)
    if frame.kind in (_INSERT, _KEYED_INSERT) and size >= INSERT_HEAD.size:
        collection, partition, count, row_bytes, generated = INSERT_HEAD.unpack(
            payload[: INSERT_HEAD.size].tobytes()
        )
        ids_end = INSERT_HEAD.size + 8 * count
        rows_end = ids_end + count * row_bytes
        if size != rows_end + (KEY_BYTES if frame.kind == _KEYED_INSERT else 0):
            raise BadFrame(
                f"an insert of {count} rows of {row_bytes} bytes does not take {size} bytes"
            )
        ids = payload[INSERT_HEAD.size : ids_end].copy().view(np.int64)
        rows = payload[ids_end:rows_end].reshape(count, row_bytes).copy()
        return InsertRecord(
            collection, partition, ids, rows, bool(generated), payload[rows_end:].tobytes()
        )
    if frame.kind == _DELETE and size >= _DELETE_HEAD.size:
        collection, partition, count = _DELETE_HEAD.unpack(payload[: _DELETE_HEAD.size].tobytes())
        if size != _DELETE_HEAD.size + 8 * count:
            raise BadFrame(f"a delete of {count} ids does not take {size} bytes")
        return DeleteRecord(
            collection, partition, payload[_DELETE_HEAD.size :].copy().view(np.int64)
        )
    raise BadFrame(f"a frame of kind {frame.kind} and {size} bytes is unknown")


def next_frame(data: Bytes, offset: int) -> Frame | None:
    """The first whole frame at or after `offset`, found by its magic on the alignment; None when
    there is none.
    """
    start = offset + (-offset % ALIGNMENT)
    words = data[start : start + (len(data) - start) // ALIGNMENT * ALIGNMENT].view("<u4")[::2]
    for at in np.flatnonzero(words == FRAME_MAGIC):
        try:
            return decode_frame(data, start + int(at) * ALIGNMENT)
        except BadFrame:
            continue
    return None
