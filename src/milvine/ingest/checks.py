"""Whether rows, ids and records fit the collection that they are for.

Asked before anything is logged, by the writer itself, of the very state that the record will be
applied to; and again of every record that is read back. What is logged can therefore always be
applied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from milvine.catalog.definition_files import Definition
from milvine.catalog.model import Contents
from milvine.errors import IllegalDimension, IllegalRowRecord, IllegalVectorId
from milvine.types import Collection, IdMode
from milvine.wal.record import InsertRecord, Record

NO_ROWS = "The vector array is empty. Make sure you have entered vector records."
WRONG_SIZE = "The vector dimension must be equal to the collection dimension."
WRONG_COUNT = "The size of vector ID array must be equal to the size of the vector."


def check_insert(collection: Collection, mode: IdMode, vectors: object, ids: object) -> None:
    """Whether `vectors` are rows of the collection, (n, width) of its dtype, and `ids` are None or
    (n,) int64, as `mode` says; in the order of 1.x (specification 3.10).

    Raises:
        IllegalRowRecord: there are none, or it is no array of two dimensions.
        IllegalVectorId: the ids are of another type, not as many, or given where they are
            generated, or the other way round.
        IllegalDimension: the vectors have another width or dtype.
    """
    if not isinstance(vectors, np.ndarray) or vectors.ndim != 2:
        raise IllegalRowRecord(f"The vectors must be an array of shape (rows, {collection.width})")
    if not vectors.size:
        raise IllegalRowRecord(NO_ROWS)
    if ids is not None:
        check_ids(ids)
        if len(ids) != len(vectors):  # type: ignore[arg-type]
            raise IllegalVectorId(WRONG_COUNT)
    if mode is not IdMode.UNDECIDED:
        check_id_mode(mode, ids is None)
    if vectors.dtype != collection.dtype or vectors.shape[1] != collection.width:
        raise IllegalDimension(
            f"{WRONG_SIZE} A vector of {collection.name} is {collection.width} of"
            f" {collection.dtype}, these are {vectors.shape[1]} of {vectors.dtype}"
        )


def check_ids(ids: object) -> None:
    """Whether `ids` are (n,) int64. Any values are ids, 0 and negative ones
    too (specification 3.10).

    Raises:
        IllegalVectorId: they are not.
    """
    if not isinstance(ids, np.ndarray) or ids.ndim != 1 or ids.dtype != np.int64:
        raise IllegalVectorId(
            f"The ids must be an array of int64 of shape (rows,), not {_described(ids)}"
        )


def check_id_mode(mode: IdMode, generated: bool) -> None:
    """Ids are given by the caller in all inserts of a collection, or in none
    (specification 3.10, 5a and 5b).

    Raises:
        IllegalVectorId: this insert does it the other way.
    """
    if mode is IdMode.GIVEN and generated:
        raise IllegalVectorId(
            "Entities IDs are user-defined. Please provide IDs for all entities of the collection."
        )
    if mode is IdMode.GENERATED and not generated:
        raise IllegalVectorId(
            "Entities IDs are auto-generated. All vectors of this collection must use"
            " auto-generated IDs."
        )


def _described(value: object) -> str:
    return (
        f"{value.dtype} of shape {value.shape}"
        if isinstance(value, np.ndarray)
        else type(value).__name__
    )


class Fitting:
    """Whether records that are read back from a log can be of a database with these definitions.

    Args:
        definitions: its collections with their partitions.
        flushed: by collection id, the LSN up to which records need not be applied any more.
    """

    def __init__(self, definitions: Sequence[Definition], flushed: Mapping[int, int]) -> None:
        self._collections = {collection.id: collection for collection, _ in definitions}
        self._owners = {p.id: p.collection_id for _, partitions in definitions for p in partitions}
        self._flushed = flushed

    @classmethod
    def of(cls, contents: Contents) -> Fitting:
        stored = contents.collections
        return cls([(each.collection, each.partitions) for each in stored], contents.flushed)

    def misfit(self, lsn: int, record: Record) -> str:
        """Why a record cannot be applied; empty when it can, is flushed, or its
        collection was dropped."""
        collection = self._collections.get(record.collection_id)
        if collection is None or lsn <= self._flushed.get(collection.id, 0):
            return ""
        if self._owners.get(record.partition_id, collection.id) != collection.id:
            return f"it names partition {record.partition_id}, which is not of {collection.name}"
        if isinstance(record, InsertRecord) and record.rows.shape[1] != collection.row_bytes:
            has = record.rows.shape[1]
            return (
                f"its rows have {has} bytes, those of {collection.name} have {collection.row_bytes}"
            )
        return ""


def never_made(contents: Contents, record: Record) -> str:
    """What a record names that the catalog never made, which proves that it lost commits; or empty.

    Ids are not given twice, and a definition is durable before the first record that names it.
    """
    if record.collection_id > contents.last_collection_id:
        return f"collection {record.collection_id}"
    if record.partition_id > contents.last_partition_id:
        return f"partition {record.partition_id} of collection {record.collection_id}"
    return ""
