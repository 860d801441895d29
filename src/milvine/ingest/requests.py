"""What the writer is asked to store: requests, and the records that they become."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from milvine.catalog.model import InsertKey
from milvine.errors import CollectionNotFound, PartitionNotFound
from milvine.index.finite import check_finite
from milvine.ingest.checks import check_ids, check_insert
from milvine.ingest.ids import IdSource
from milvine.ingest.keys import ids_again, key_of
from milvine.ingest.state import CollectionState
from milvine.limits import DEFAULT_TAG
from milvine.types import IdMode, Ids, Vectors
from milvine.waiting import Outcome
from milvine.wal.record import DeleteRecord, InsertRecord, Record


@dataclass(slots=True, eq=False)
class InsertRequest:
    """Rows for a partition. `vectors` (n, width) must be C-contiguous and must not change any more.

    With a `key` of 16 bytes it is stored once, however often it comes.
    """

    state: CollectionState
    tag: str
    vectors: Vectors
    ids: Ids | None
    key: bytes = b""
    answer: Outcome[Ids] = field(default_factory=Outcome)

    @property
    def bytes(self) -> int:
        return int(self.vectors.nbytes)


@dataclass(slots=True, eq=False)
class DeleteRequest:
    """Ids to delete from one partition, or from the whole collection when `tag` is empty."""

    state: CollectionState
    tag: str
    ids: Ids
    answer: Outcome[Ids] = field(default_factory=Outcome)

    @property
    def bytes(self) -> int:
        return int(self.ids.nbytes)


Request = InsertRequest | DeleteRequest


def insert_request(
    state: CollectionState,
    vectors: Vectors,
    ids: Ids | None,
    tag: str,
    key: str,
    refuse_nonfinite: bool,
) -> InsertRequest:
    """An insert that fits the collection as it is now, so that what cannot be stored waits for
    nothing. `tag` and `key`: empty for the default partition, and for none.

    Raises:
        IllegalVectorId, IllegalDimension, IllegalRowRecord: as `check_insert`, or no search would
            find one of the rows, and these are refused.
    """
    collection = state.version.collection
    check_insert(collection, collection.id_mode, vectors, ids)
    if refuse_nonfinite:
        check_finite(vectors)
    known = key_of(key) if key else b""
    return InsertRequest(state, tag or DEFAULT_TAG, np.ascontiguousarray(vectors), ids, known)


def delete_request(state: CollectionState, ids: Ids, tag: str) -> DeleteRequest:
    """Raises IllegalVectorId: these are no ids."""
    check_ids(ids)
    return DeleteRequest(state, tag, ids)


FirstInserts = dict[tuple[int, bytes], tuple[InsertRequest, InsertKey]]
"""The first insert of each key in a group, by collection id and key."""


def record_of(request: Request, modes: dict[int, IdMode], ids: IdSource) -> Record | None:
    """The record to log; None for a delete that has nothing to do.

    Args:
        modes: by collection id, what the requests before it in the group have decided; what it
            decides is added.
        ids: gives those of rows that come without.

    Raises:
        CollectionNotFound, PartitionNotFound, IllegalVectorId, IllegalDimension,
            IllegalRowRecord: refused, nothing is logged.
    """
    state = request.state
    if state.dropped:
        raise CollectionNotFound.named(state.collection.name)
    partition = state.version.partition(request.tag) if request.tag else None
    if isinstance(request, DeleteRequest):
        check_ids(request.ids)
        if not len(request.ids) or (request.tag and partition is None):
            return None
        return DeleteRecord(state.id, partition.id if partition else 0, request.ids)
    generated = request.ids is None
    mode = modes.get(state.id, state.collection.id_mode)
    check_insert(state.collection, mode, request.vectors, request.ids)
    if partition is None:
        raise PartitionNotFound.named(state.collection.name, request.tag)
    modes[state.id] = IdMode.GENERATED if generated else IdMode.GIVEN
    taken = ids.take(len(request.vectors)) if request.ids is None else request.ids
    rows = request.vectors.reshape(-1).view(np.uint8).reshape(len(taken), -1)
    return InsertRecord(state.id, partition.id, taken, rows, generated, request.key)


def answered(request: InsertRequest, firsts: FirstInserts) -> bool:
    """Whether an insert of the same key came before, earlier or in this group: then it is answered
    as that one is.

    Raises:
        IllegalArgument: it is another insert.
    """
    state = request.state
    if state.dropped:
        return False
    known = state.recent.find(request.key)
    if known is not None:
        request.answer.set_result(ids_again(known, request.ids, len(request.vectors)))
        return True
    if (state.id, request.key) not in firsts:
        return False
    first, known = firsts[state.id, request.key]
    ids_again(known, request.ids, len(request.vectors))
    request.answer.follow(first.answer)
    return True
