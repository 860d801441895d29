"""Inserts and deletes of a caller: checked at once, so that what cannot be stored waits for
nothing, then queued.
"""

from __future__ import annotations

import time

import numpy as np

from milvine.errors import MilvineError
from milvine.events import Inserted, InsertFailed
from milvine.index.finite import check_finite
from milvine.ingest.checks import check_id_mode, check_ids, check_rows
from milvine.limits import DEFAULT_TAG
from milvine.state.collection import CollectionState
from milvine.state.insert_keys import key_of
from milvine.state.requests import DeleteRequest, InsertRequest
from milvine.state.stores import Stores
from milvine.types import Ids, Vectors


def insert_request(
    stores: Stores, state: CollectionState, vectors: Vectors, ids: Ids | None, tag: str, key: str
) -> InsertRequest:
    """An insert that fits the collection as it is now. `key`: any text, empty for none.

    Raises:
        IllegalVectorId: the collection's ids are given the other way, or these
            are not one for each row.
        IllegalDimension, IllegalRowRecord: the vectors are not of this collection, there are none,
            or no search would find one and `insert.refuse_nonfinite` is on.
    """
    collection = state.version.collection
    check_id_mode(collection.id_mode, ids is None)
    check_rows(collection, vectors, ids)
    if stores.settings.refuse_nonfinite:
        check_finite(vectors)
    return InsertRequest(state, tag or DEFAULT_TAG, np.ascontiguousarray(vectors), ids, key_of(key))


def insert(stores: Stores, request: InsertRequest, began: float) -> Ids:
    """The ids of the rows, (n,) int64, once they are durable and visible. `began`: when
    the caller's call did."""
    name = request.state.collection.name
    try:
        stored: Ids = stores.writer.submit(request).result()
    except MilvineError:
        stores.events.emit(InsertFailed(name, len(request.vectors)))
        raise
    if stores.events:
        stores.events.emit(Inserted(name, len(stored), request.bytes, time.perf_counter() - began))
    return stored


def delete(stores: Stores, state: CollectionState, ids: Ids, tag: str) -> None:
    """Returns when the rows are gone for everybody.

    Raises:
        IllegalVectorId: these are no ids.
    """
    check_ids(ids)
    stores.writer.submit(DeleteRequest(state, tag, ids)).result()
