"""Bodies that hold arrays as they lie in memory: npy, and Arrow IPC streams where pyarrow is
installed.
"""

from __future__ import annotations

import io
import math
import struct
from importlib import import_module
from tokenize import TokenError
from typing import Any

import numpy as np

from milvine.errors import IllegalRowRecord, IllegalVectorId
from milvine.server.rest.errors import BodyUnparsable, FieldMissing, IllegalBody
from milvine.types import Ids, Vectors

NPY = "application/x-npy"
ARROW = "application/vnd.apache.arrow.stream"
# A header is a Python literal.
_HEADER_ERRORS = (TypeError, SyntaxError, TokenError, RecursionError, MemoryError)


def array_of_npy(raw: bytearray) -> Vectors:
    """The one array of an npy file, over its bytes.

    Raises:
        BodyUnparsable: no npy file, or one of Python objects.
    """
    file = io.BytesIO(memoryview(raw)[: 1 << 16])  # a header is far shorter
    try:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(file)
        if dtype.hasobject or not dtype.itemsize:
            raise ValueError("it holds Python objects, or nothing")
        flat = np.frombuffer(raw, dtype, offset=file.tell())
        if min(shape, default=0) < 0 or math.prod(shape) != len(flat):
            raise ValueError(f"its {len(flat)} numbers are no array of shape {shape}")
        return flat.reshape(shape, order="F" if fortran else "C")
    except (ValueError, *_HEADER_ERRORS) as error:
        raise BodyUnparsable(f"The body is no npy file: {error}") from None


def columns_of_arrow(raw: bytearray) -> tuple[Vectors, Ids | None]:
    """The columns `vector` (lists of one length) and, if there, `id` (integers) of an Arrow IPC
    stream.

    Raises:
        IllegalBody: pyarrow is not installed on the server; a column is there twice.
        BodyUnparsable, FieldMissing: no such stream; no column `vector`.
        IllegalRowRecord, IllegalVectorId: nulls, or rows of several lengths.
    """
    try:
        ipc: Any = import_module("pyarrow.ipc")
    except ModuleNotFoundError:
        raise IllegalBody(
            "Arrow bodies need pyarrow on the server: pip install 'milvine[arrow]'"
        ) from None
    arrow: Any = import_module("pyarrow")
    try:
        if any(map(_is_compressed, ipc.MessageReader.open_stream(arrow.py_buffer(raw)))):
            raise ValueError("it is compressed, and nobody knows how much memory it would take")
        table = ipc.open_stream(arrow.py_buffer(raw)).read_all()
        table.validate(full=True)  # offsets that lie would be followed far outside the body
        table = table.combine_chunks()
    except (arrow.ArrowException, OSError, ValueError, struct.error) as error:
        raise BodyUnparsable(f"The body is no Arrow IPC stream: {error}") from None
    vectors, ids = _column(table, "vector"), _column(table, "id")
    if vectors is None:
        raise FieldMissing("Column 'vector' miss.")
    return _vectors(arrow, vectors, len(table)), None if ids is None else _ids(ids)


def _column(table: Any, name: str) -> Any:
    """The one column of a name; None where there is none. Arrow lets several have the same."""
    found = table.schema.get_all_field_indices(name)
    if len(found) > 1:
        raise IllegalBody(f"Column '{name}' is there {len(found)} times. Send it once")
    return table.column(found[0]) if found else None


def _is_compressed(message: Any) -> bool:
    """Whether a message of an Arrow stream says so; its head is a flatbuffer (Message.fbs of
    Arrow).
    """
    head = memoryview(message.metadata)
    batch = _follow(head, struct.unpack_from("<I", head)[0], 2)
    if message.type == "dictionary":
        batch = batch and _follow(head, batch, 1)
    return message.type in ("record batch", "dictionary") and bool(
        batch and _follow(head, batch, 3)
    )


def _follow(head: memoryview, table: int, field: int) -> int:
    """Where the table lies that a field of a table refers to; 0 when the field is not there."""
    fields = table - struct.unpack_from("<i", head, table)[0]
    if fields < 0 or 4 + 2 * field >= struct.unpack_from("<H", head, fields)[0]:
        return 0
    at = struct.unpack_from("<H", head, fields + 4 + 2 * field)[0]
    return table + at + int(struct.unpack_from("<I", head, table + at)[0]) if at else 0


def _vectors(arrow: Any, column: Any, rows: int) -> Vectors:
    kinds = arrow.types
    nested = (
        kinds.is_fixed_size_list(column.type)
        or kinds.is_list(column.type)
        or kinds.is_large_list(column.type)
    )
    if column.null_count or not nested:
        raise _no_vectors(column)
    if not rows:
        return np.empty((0, 0), np.float32)
    lists = column.chunk(0)
    if not kinds.is_fixed_size_list(column.type):
        offsets = lists.offsets.to_numpy()
        if len(set(np.diff(offsets).tolist())) > 1:
            raise IllegalRowRecord("The vectors have different lengths.")
    flat = lists.flatten()
    if flat.null_count or not (kinds.is_floating(flat.type) or kinds.is_integer(flat.type)):
        raise _no_vectors(column)
    vectors: Vectors = flat.to_numpy().reshape(rows, -1)
    return vectors


def _no_vectors(column: Any) -> IllegalRowRecord:
    return IllegalRowRecord(
        f"Column 'vector' must hold lists of numbers, none of them null. It is of {column.type}"
    )


def _ids(column: Any) -> Ids:
    if column.null_count or str(column.type) != "int64":
        raise IllegalVectorId(
            f"Column 'id' must be of type int64, without nulls. It is of {column.type}"
        )
    ids: Ids = column.to_numpy()
    if len(ids) and int(ids.min()) < 0:
        raise IllegalVectorId("An id must not be negative")
    return ids
