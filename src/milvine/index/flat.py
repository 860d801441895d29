"""A segment's vectors as a faiss Flat file: a header of 45 bytes, then the rows as they are.

One file serves both: faiss opens it as an index (the storage of HNSW), numpy maps the rows behind
the header. The rows are aligned in memory when the image starts at 19 modulo 64; nothing depends on
it.

    offset  bytes  content
         0      4  "IxF2" (L2) or "IxFI" (inner product)
         4      4  dimension
         8      8  rows
        16     16  two words that faiss ignores (1 << 20)
        32      1  1: trained
        33      4  faiss's metric number
        37      8  rows * dimension
        45         float32 rows
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from milvine.errors import CorruptFile
from milvine.index.native import METRICS, read_image
from milvine.types import Bytes, Floats, MetricType

_HEADER = struct.Struct("<4siqqqBiQ")
_MAGIC = {MetricType.L2: b"IxF2", MetricType.IP: b"IxFI"}
_IGNORED = 1 << 20

FLAT_HEADER_BYTES = _HEADER.size


def flat_header(dimension: int, rows: int, metric: MetricType) -> bytes:
    """The first FLAT_HEADER_BYTES bytes of a faiss Flat file of `rows` float32 rows; `metric` is L2
    or IP.
    """
    magic, number = _MAGIC[metric], METRICS[metric]
    return _HEADER.pack(magic, dimension, rows, _IGNORED, _IGNORED, 1, number, rows * dimension)


def vectors_of(image: Bytes) -> Floats:
    """The rows in a Flat image, shape (rows, dimension), without a copy; read-only where the image
    is.

    Raises:
        CorruptFile: this is no Flat image, or it is shorter than its header says.
    """
    dimension, rows = _shape(image)
    payload = image[FLAT_HEADER_BYTES:]
    if payload.size < rows * dimension * 4:
        raise CorruptFile(
            f"A vectors file of {image.size} bytes does not hold what its header says"
        )
    return np.frombuffer(payload, dtype="<f4", count=rows * dimension).reshape(rows, dimension)


def _shape(image: Bytes) -> tuple[int, int]:
    """Dimension and rows, as the header says."""
    if image.size < FLAT_HEADER_BYTES:
        raise CorruptFile(f"A vectors file of {image.size} bytes has no header")
    magic, dimension, rows, *_ = _HEADER.unpack(image[:FLAT_HEADER_BYTES].tobytes())
    if magic not in _MAGIC.values():
        raise CorruptFile(f"A vectors file begins with {magic!r}")
    return dimension, rows


def bits_of(image: Bytes) -> Bytes:
    """The rows of a binary collection, uint8 (rows, dimension / 8): behind the same header, which
    counts dimensions.

    Raises:
        CorruptFile: there is no such header, or the image is shorter than it says.
    """
    dimension, rows = _shape(image)
    payload = image[FLAT_HEADER_BYTES:]
    if payload.size < rows * dimension // 8:
        raise CorruptFile(
            f"A vectors file of {image.size} bytes does not hold what its header says"
        )
    return payload[: rows * dimension // 8].reshape(rows, dimension // 8)


def open_flat(image: Bytes) -> Any:
    """The image as a faiss.IndexFlat that points into it: keep `image` alive as long as
    the index.
    """
    return read_image(image)
