"""What a request must satisfy before the engine sees it, in the words and the order of the
specification (3.0 to 3.20).

Existence, duplicates, id mode and matching of tags are the engine's to check: it alone can do so
without a race. What fits a definition it checks once more where that is another one by the time it
begins (`search/check.py`, for one).
"""

from __future__ import annotations

from milvine.errors import (
    IllegalArgument,
    IllegalDimension,
    IllegalRowRecord,
    IllegalVectorId,
    OutOfMemory,
)
from milvine.ingest.checks import NO_ROWS, WRONG_COUNT, WRONG_SIZE
from milvine.limits import (
    GET_IDS_MAX,
    INSERT_BYTES_MAX,
    MIB,
)
from milvine.types import Collection, Vectors
from milvine.wire.packed import Rows


def check_rows(rows: Rows, ids: int) -> None:
    """Whether there are rows, and an id for each where `ids` are given.

    Raises:
        IllegalRowRecord, IllegalVectorId.
    """
    check_not_empty(rows)
    check_ids_match(rows, ids)


def check_not_empty(rows: Rows) -> None:
    """Raises IllegalRowRecord when there is no vector, or none holds anything."""
    if not rows.elements:
        raise IllegalRowRecord(NO_ROWS)


def check_ids_match(rows: Rows, ids: int) -> None:
    """Raises IllegalVectorId when `ids` are given and are not as many as the rows."""
    if ids and ids != rows.count:
        raise IllegalVectorId(WRONG_COUNT)


def sized_vectors(rows: Rows, collection: Collection) -> Vectors:
    """The vectors of `rows`, of the collection's dtype and width.

    Raises:
        IllegalRowRecord: the rows have different lengths and no whole number on average.
        IllegalDimension: they have different lengths, or another one than the collection, or are of
            another kind.
    """
    if rows.elements % rows.count:
        raise IllegalRowRecord(WRONG_SIZE)
    vectors = rows.vectors
    if vectors is None or vectors.dtype != collection.dtype or vectors.shape[1] != collection.width:
        raise wrong_size()
    return vectors


def wrong_size() -> IllegalDimension:
    """The error for vectors of another width or kind than the collection's."""
    return IllegalDimension(WRONG_SIZE)


def too_many_bytes() -> IllegalRowRecord:
    """The error for an insert of more than 256 MB of vectors; exactly 256 MB pass."""
    return IllegalRowRecord(
        f"The amount of data inserted each time cannot exceed {INSERT_BYTES_MAX // MIB} MB"
    )


def check_get_ids(ids: int) -> None:
    """Raises IllegalArgument without ids, or with more than 1000."""
    if not ids:
        raise IllegalArgument("No vector id specified")
    if ids > GET_IDS_MAX:
        raise IllegalArgument(f"Input id array size cannot exceed: {GET_IDS_MAX}")


def check_result_bytes(nq: int, width: int, size: int, most: int) -> None:
    """Raises OutOfMemory: an answer of `nq` rows of `width` hits would take `size` bytes, more than
    `most`.
    """
    if size > most:
        raise OutOfMemory(
            f"The answer to {nq} queries with {width} hits each would take {size // MIB} MB; "
            f"the limit is {most // MIB} MB. Send fewer queries at a time or ask for fewer hits"
        )
