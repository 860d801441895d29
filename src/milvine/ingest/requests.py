"""Requests of callers: checked at once, so that what cannot be stored waits for nothing."""

from __future__ import annotations

import numpy as np

from milvine.index.finite import check_finite
from milvine.ingest.checks import check_ids, check_insert
from milvine.limits import DEFAULT_TAG
from milvine.state.collection import CollectionState
from milvine.state.insert_keys import key_of
from milvine.state.requests import DeleteRequest, InsertRequest
from milvine.types import Ids, Vectors


def insert_request(
    state: CollectionState,
    vectors: Vectors,
    ids: Ids | None,
    tag: str,
    key: str,
    refuse_nonfinite: bool,
) -> InsertRequest:
    """An insert that fits the collection as it is now. `tag` and `key` are empty for the default
    partition, and for none.

    Raises:
        IllegalVectorId, IllegalDimension, IllegalRowRecord: as `check_insert`, or no search would
            find one of the rows, and these are refused.
    """
    collection = state.version.collection
    check_insert(collection, collection.id_mode, vectors, ids)
    if refuse_nonfinite:
        check_finite(vectors)
    packed_key = key_of(key) if key else b""
    return InsertRequest(state, tag or DEFAULT_TAG, np.ascontiguousarray(vectors), ids, packed_key)


def delete_request(state: CollectionState, ids: Ids, tag: str) -> DeleteRequest:
    """Raises IllegalVectorId: these are no ids."""
    check_ids(ids)
    return DeleteRequest(state, tag, ids)
