"""JSON lists, npy and Arrow bodies as the rows and ids that operations take.

Large JSON bodies are parsed in pieces: the text of the vectors is cut out, its rows are parsed some
tens of kilobytes at a time and packed at once, so that never more than one piece exists as Python
numbers. What does not go that way is parsed whole, which decides.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import orjson

from milvine.errors import CallerError, IllegalRowRecord
from milvine.server.rest.bodies import parse_json
from milvine.server.rest.errors import BodyUnparsable
from milvine.types import Ids, Vectors
from milvine.wire.packed import Rows

_LARGE_BYTES = 1 << 18
_PIECE_BYTES = 1 << 16
_START = re.compile(rb'"vectors"\s*:\s*(?=\[\s*\[)')
_BETWEEN = re.compile(rb"\s*,\s*")
_CUT = "the rows, parsed apart"
_LETTERS = (b"u", b"l")  # one of them is in true, false and null, none in a number


class _Irregular(Exception):
    """The text of the rows is not what the quick way takes; it may be right or wrong."""


def parse_rows(raw: bytearray, path: Sequence[str], binary: bool) -> tuple[Any, Rows | None]:
    """The body as JSON, and its vectors as rows where the body is large; then the list at `path` is
    empty.

    Raises:
        FieldMissing, BodyUnparsable, IllegalRowRecord: nothing was sent, no JSON, rows that are
            none.
    """
    start = _START.search(raw) if len(raw) >= _LARGE_BYTES else None
    end = raw.find(b"]]", start.end()) + 1 if start else 0
    if start is None or not end:
        return parse_json(raw), None
    try:
        value = parse_json(
            b"".join(
                (memoryview(raw)[: start.end()], orjson.dumps(_CUT), memoryview(raw)[end + 1 :])
            )
        )
        holder = value
        for key in path[:-1]:
            holder = holder[key]
        if holder[path[-1]] != _CUT:
            raise _Irregular
        holder[path[-1]] = []
        return value, _rows_of_pieces(raw, raw.index(b"[", start.end()) + 1, end, binary)
    except (_Irregular, BodyUnparsable, KeyError, TypeError):
        return parse_json(raw), None


def rows_of(lists: list[Any], binary: bool) -> Rows:
    """Vectors that came as JSON lists.

    Raises:
        BodyUnparsable: a row is no list, or holds something other than numbers.
        IllegalRowRecord: rows of several lengths, or numbers out of range.
    """
    if not lists:
        return Rows()
    _check_lists(lists)
    width = len(lists[0])
    if bool in set(map(type, chain.from_iterable(lists))):
        raise BodyUnparsable("Field 'vectors': a vector must hold numbers alone.")
    return _rows(_packed(lists, width, binary), width, binary, len(lists))


def _rows_of_pieces(raw: bytearray, at: int, end: int, binary: bool) -> Rows:
    packed, count, width = bytearray(), 0, -1
    for lists in _pieces(raw, at, end):
        _check_lists(lists)
        width = len(lists[0]) if width < 0 else width
        packed += _packed(lists, width, binary)
        count += len(lists)
    return _rows(packed, width, binary, count)


def _pieces(raw: bytearray, at: int, end: int) -> Iterator[list[Any]]:
    while at < end:
        stop = raw.find(b"]", min(at + _PIECE_BYTES, end - 1), end) + 1
        text = raw[at:stop]
        if any(letter in text for letter in _LETTERS):
            raise _Irregular
        yield parse_json(b"[" + text + b"]")
        between = _BETWEEN.match(raw, stop, end)
        if between is None and stop < end:
            raise _Irregular
        at = between.end() if between else stop


def _check_lists(lists: list[Any]) -> None:
    if set(map(type, lists)) != {list}:
        raise BodyUnparsable("Field 'vectors': every vector must be a list of numbers.")


def _packed(lists: list[list[Any]], width: int, binary: bool) -> bytes:
    if set(map(len, lists)) != {width}:
        raise IllegalRowRecord("The vectors have different lengths.")
    try:
        if binary:
            return b"".join(map(bytes, lists))
        pack = struct.Struct(f"<{width}f").pack
        return b"".join([pack(*row) for row in lists])
    except (struct.error, TypeError):
        wanted = "integers of 0 to 255" if binary else "numbers"
        raise BodyUnparsable(f"Field 'vectors': a vector must hold {wanted} alone.") from None
    except (OverflowError, ValueError):
        wanted = "of 0 to 255" if binary else "that a float of 32 bits can hold"
        raise IllegalRowRecord(f"A vector must hold numbers {wanted}.") from None


def _rows(packed: bytes | bytearray, width: int, binary: bool, count: int) -> Rows:
    if not width:
        return Rows(count)
    flat = np.frombuffer(bytearray(packed), np.uint8 if binary else "<f4")
    return rows_of_array(flat.reshape(count, width), binary)


def rows_of_array(array: Vectors, binary: bool) -> Rows:
    """Vectors (n, width) of any number type as rows; binary ones must be uint8.

    Raises:
        IllegalRowRecord: another shape or type, or numbers that are not finite.
    """
    if array.ndim != 2 or array.dtype.kind not in "fiu" or (binary and array.dtype != np.uint8):
        wanted = "uint8 (rows, dimension / 8)" if binary else "float32 (rows, dimension)"
        raise IllegalRowRecord(f"The array is {array.dtype} {array.shape}. Expected {wanted}")
    if not array.size:
        return Rows(len(array))
    with np.errstate(over="ignore"):
        vectors = np.ascontiguousarray(array, np.uint8 if binary else np.float32)
    if not binary and not np.isfinite(vectors).all():
        raise IllegalRowRecord(
            "A vector must hold finite numbers: there is a NaN, an infinity or a number too large."
        )
    return Rows(len(vectors), vectors.size, vectors)


def ids_of(
    values: Sequence[Any], wrong_type: type[CallerError], no_number: type[CallerError]
) -> Ids:
    """Decimal strings, or integers, as (n,) int64.

    Raises:
        `wrong_type`: neither a string nor an integer.
        `no_number`: no decimal number, or one that is negative or over 63 bits.
    """
    if set(map(type, values)) - {str, int}:
        raise wrong_type("Field 'ids': an id must be an integer or a decimal string.")
    texts = (
        values if all(type(value) is str for value in values) else [str(value) for value in values]
    )
    joined = "".join(texts)
    if "" not in texts and joined.isascii() and (joined.isdigit() or not texts):
        try:
            return np.fromiter(map(int, texts), np.int64, len(texts))
        except (OverflowError, ValueError):
            pass
    raise no_number("An id must be a decimal number of 0 to 9223372036854775807.")
