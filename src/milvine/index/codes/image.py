"""The codes of a segment as a file.

    offset  bytes  content
         0      8  "MVCODES" and a zero byte
         8      4  version: 1
        12      4  1 when codes follow, else 0: they would not pay
        16      8  rows of the segment
        24      8  dimension
        32      8  bytes of a code
        40      8  rows outside the grid
        48      8  step of the grid, float64
        56      8  the largest distance of a row from its point of the grid, float64
        64      8  the largest length of a code, float64
        72      8  the largest length of a row, float64
        80     24  candidates needed for 1, 10 and 100 hits, 8 bytes each
       104     24  zero
       128         origin: float32 of each dimension, zeros up to a multiple of 8
                   rows outside: int64 the number of each
                   faiss's image of an IndexScalarQuantizer over the codes

Little endian. Row numbers are places: every row has a code, though that of a row outside the grid,
or with NaN or infinity, says nothing. Lengths are about the rows inside.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from milvine.errors import CorruptFile, UnsupportedFormat
from milvine.index.base import Write
from milvine.index.codes.quantizer import Codes, Quantizer, code_width
from milvine.index.native import METRICS, faiss, read_image
from milvine.types import Bytes, Ids, MetricType

_HEADER = struct.Struct("<8sIIQQQQdddd3Q24x")
_MAGIC = b"MVCODES\0"
_VERSION = 1
_SIZE = struct.Struct("<Q")

CODES_HEADER_BYTES = _HEADER.size
KINDS_OF_K = (1, 10, 100)
"""Numbers of hits for which the file says how many candidates they need."""


@dataclass(frozen=True)
class Coded:
    """What is known of the codes of a segment.

    Attributes:
        quantizer: the grid.
        outside: int64, the rows that it does not hold, ascending.
        residual: no row inside is farther from its point of the grid.
        code_length: of the longest code, in steps.
        row_length: of the longest row inside.
        needed: candidates for 1, 10 and 100 hits that hold them almost always.
    """

    quantizer: Quantizer
    outside: Ids
    residual: float
    code_length: float
    row_length: float
    needed: tuple[int, int, int]

    @cached_property
    def origin_length(self) -> float:
        return float(np.linalg.norm(self.quantizer.origin.astype(np.float64)))


def write_no_codes(write: Write, rows: int, dimension: int) -> None:
    """The file of a segment whose codes would not pay."""
    write(_HEADER.pack(_MAGIC, _VERSION, 0, rows, dimension, 0, 0, *[0.0] * 4, *[0] * 3))


def write_codes(
    write: Write, coded: Coded, metric: MetricType, rows: int, codes: Iterable[Codes]
) -> None:
    """Pass the file to `write`. `codes` are those of all rows, in pieces."""
    quantizer = coded.quantizer
    write(
        _HEADER.pack(
            _MAGIC,
            _VERSION,
            1,
            rows,
            quantizer.dimension,
            quantizer.width,
            len(coded.outside),
            quantizer.step,
            coded.residual,
            coded.code_length,
            coded.row_length,
            *coded.needed,
        )
    )
    origin = np.zeros(_origin_floats(quantizer.dimension), dtype="<f4")
    origin[: quantizer.dimension] = quantizer.origin
    write(origin.tobytes())
    write(coded.outside.astype("<i8").tobytes())
    write(_faiss_header(quantizer.width, metric, rows))
    for piece in codes:
        # faiss keeps a signed byte as one without sign, 128 above it.
        write((piece.view(np.uint8) ^ 128).data)


def codes_bytes(rows: int, dimension: int) -> int:
    """Of such a file without rows outside."""
    width = code_width(dimension)
    header = len(_faiss_header(width, MetricType.L2, rows))
    return CODES_HEADER_BYTES + 4 * _origin_floats(dimension) + header + rows * width


def _origin_floats(dimension: int) -> int:
    return dimension + dimension % 2


def empty_index(width: int, metric: MetricType) -> Any:
    """A faiss index of codes, without any."""
    kind = faiss.ScalarQuantizer.QT_8bit_direct_signed
    return faiss.IndexScalarQuantizer(width, kind, METRICS[metric])


def _faiss_header(width: int, metric: MetricType, rows: int) -> bytes:
    """What faiss writes of such an index before its codes: it is written without rows, and then
    told of them.
    """
    index = empty_index(width, metric)
    index.ntotal = rows
    written = faiss.serialize_index(index).tobytes()
    assert written.endswith(_SIZE.pack(0)), "faiss writes another format"
    return bytes(written[: -_SIZE.size]) + _SIZE.pack(rows * width)


def read_codes(data: Bytes, shape: tuple[int, ...], metric: MetricType) -> tuple[Coded, Any] | None:
    """What such a file holds, without copying the codes, and the faiss index over them; None where
    it has none. `shape` is that of the segment's vectors. Whoever keeps the index keeps `data`.

    Raises:
        UnsupportedFormat: a newer release wrote it.
        CorruptFile: it is no such file, or about other rows.
    """
    if data.size < _HEADER.size:
        raise CorruptFile(f"A codes file of {data.size} bytes has no header")
    magic, version, there, of, wide, width, outside, *numbers = _HEADER.unpack(
        data[: _HEADER.size].tobytes()
    )
    if magic != _MAGIC:
        raise CorruptFile(f"A codes file does not begin with {magic!r}")
    if version > _VERSION:
        raise UnsupportedFormat(
            f"A codes file has version {version}; this release reads up to {_VERSION}"
        )
    rows, dimension = shape
    if (of, wide) != shape:
        raise CorruptFile(
            f"A codes file is about {of} rows of {wide} dimensions, its segment has {rows} of"
            f" {dimension}"
        )
    if not there:
        return None
    start = _HEADER.size + 4 * _origin_floats(dimension)
    end = start + 8 * outside
    if (
        width != code_width(dimension)
        or outside > rows
        or data.size < end + len(_faiss_header(width, metric, rows)) + rows * width
    ):
        raise CorruptFile(f"A codes file of {data.size} bytes does not hold what its header says")
    origin = np.frombuffer(data[_HEADER.size : start], dtype="<f4", count=dimension)
    step, residual, code_length, row_length = numbers[:4]
    known = Coded(
        Quantizer(origin.copy(), step),
        data[start:end].view("<i8").copy(),
        residual,
        code_length,
        row_length,
        (numbers[4], numbers[5], numbers[6]),
    )
    index = read_image(data[end:])
    if (index.d, index.ntotal, index.metric_type) != (width, rows, METRICS[metric]):
        raise CorruptFile("A codes file holds codes of other rows than its header says")
    return known, index
