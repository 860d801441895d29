"""From requests to the records that are logged: the last check, of the very state that they are
applied to."""

from __future__ import annotations

import numpy as np

from milvine.catalog.model import InsertKey
from milvine.errors import CollectionNotFound, PartitionNotFound
from milvine.ingest.checks import check_ids, check_insert
from milvine.state.ids import IdSource
from milvine.state.insert_keys import repeated_ids
from milvine.state.requests import DeleteRequest, InsertRequest, Request
from milvine.types import IdMode
from milvine.wal.record import DeleteRecord, InsertRecord, Record

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
    earlier = state.recent.find(request.key)
    if earlier is not None:
        request.answer.set_result(repeated_ids(earlier, request.ids, len(request.vectors)))
        return True
    if (state.id, request.key) not in firsts:
        return False
    first, earlier = firsts[state.id, request.key]
    repeated_ids(earlier, request.ids, len(request.vectors))
    request.answer.follow(first.answer)
    return True
