"""Rows: insert, get, search, delete (specification 3.10 to 3.17).

What every door calls takes and gives typed values (`store_rows`, `nearest`, ...); beside it stands
the rpc, bytes to bytes. Vectors stay packed either way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from milvine.catalog.tags import checked_tag, trimmed
from milvine.engine.collection import EVERYWHERE, OpenCollection
from milvine.engine.database import Database
from milvine.errors import CollectionNotFound, IllegalArgument, PartitionNotFound
from milvine.search.check import check_topk
from milvine.search.prepared import PreparedSearch
from milvine.server.admission import validate
from milvine.server.admission.answers import Answer, budget
from milvine.server.admission.budget import SHORT_BYTES
from milvine.server.operations.parameters import file_number, params_text, parse_params
from milvine.types import Hits, Ids, SearchSteps, Vectors
from milvine.wire import packed, schema
from milvine.wire.status import set_status

T = TypeVar("T")
_HIT_BYTES = 12


def store_rows(collection: OpenCollection, wanted: packed.InsertRequest) -> Ids:
    """The ids of the rows, (n,) int64, once they are durable. Name and parameters of `wanted` mean
    nothing here.
    """
    validate.check_rows(wanted.rows, len(wanted.ids))
    ids = wanted.ids if len(wanted.ids) else None
    collection.check_id_mode(ids is None)
    vectors = validate.sized_vectors(wanted.rows, collection.definition)
    validate.check_insert_bytes(vectors)
    tag = trimmed(wanted.tag)
    if wanted.tag and not tag:
        raise PartitionNotFound.named(collection.definition.name, tag)
    return collection.insert(vectors, ids, tag, wanted.key)


def insert(database: Database, request: bytes) -> bytes:
    """InsertParam -> VectorIds, once the rows are durable."""
    return packed.encode_ids(insert_rows(database, packed.decode_insert(request)))


def insert_rows(database: Database, wanted: packed.InsertRequest) -> Ids:
    """As `store_rows`, in the collection that is named."""
    try:
        collection = database.collection(wanted.collection)
    except CollectionNotFound:  # 1.x looks at the rows first
        validate.check_rows(wanted.rows, len(wanted.ids))
        raise
    return store_rows(collection, wanted)


def nearest(
    collection: OpenCollection,
    wanted: packed.SearchRequest,
    params: object,
    answer: Callable[[Hits], T],
    files: Sequence[str] = (),
    copies: int = 1,
) -> T:
    """What `answer` makes of the rows nearest to those of `wanted`, in segments by id (`files`) or
    everywhere when no id is given.

    `params` is what the JSON text `wanted.params` says, of any kind; the name in `wanted` means
    nothing here. Hits are in memory from the search to the end of `answer`, and count `copies`
    times.
    """
    segments = frozenset(map(file_number, files)) if files else EVERYWHERE
    prepared = collection.prepare(wanted.topk, params, wanted.tags, segments)
    vectors = _vectors(prepared, wanted.rows)
    size = len(vectors) * prepared.width * _HIT_BYTES * copies
    if size <= SHORT_BYTES:
        return answer(collection.find(prepared, vectors))
    validate.check_result_bytes(len(vectors), prepared.width, size // copies, budget().most)
    with Answer(size, partial(collection.find, prepared, vectors)) as hits:
        return answer(hits)


def searched(database: Database, wanted: packed.SearchRequest) -> OpenCollection:
    """The collection that is to be searched.

    Raises:
        IllegalCollectionName, CollectionNotFound; IllegalTopk, IllegalPartition in the order of
            1.x.
    """
    try:
        return database.collection(wanted.collection)
    except CollectionNotFound:  # 1.x looks at topk and tags first
        check_topk(wanted.topk)
        for tag in wanted.tags:
            checked_tag(tag)
        raise


def _vectors(prepared: PreparedSearch, rows: packed.Rows) -> Vectors:
    """Those of a request, in the words of 1.x where they do not fit."""
    vectors, collection = rows.vectors, prepared.collection
    if vectors is None or not len(vectors) or not prepared.takes(vectors):
        validate.check_not_empty(rows)
        return validate.sized_vectors(rows, collection)
    return vectors


def explained(
    collection: OpenCollection,
    wanted: packed.SearchRequest,
    params: object,
    files: Sequence[str] = (),
) -> SearchSteps:
    """What `nearest` does, and how long each step takes."""
    segments = frozenset(map(file_number, files)) if files else EVERYWHERE
    prepared = collection.prepare(wanted.topk, params, wanted.tags, segments)
    vectors = _vectors(prepared, wanted.rows)
    # Hits are found all the same, though only the steps are answered.
    size = len(vectors) * prepared.width * _HIT_BYTES
    validate.check_result_bytes(len(vectors), prepared.width, size, budget().most)
    with Answer(size, partial(collection.explain, prepared, vectors)) as steps:
        return steps


def search(database: Database, request: bytes) -> bytes:
    """SearchParam -> TopKQueryResult."""
    return _search(database, packed.decode_search(request))


def search_in_files(database: Database, request: bytes) -> bytes:
    """SearchInFilesParam -> TopKQueryResult: in segments by id, or as Search when no id is
    given.
    """
    wanted = packed.decode_search_in_files(request)
    return _search(database, wanted.search, wanted.files)


def _search(database: Database, wanted: packed.SearchRequest, files: Sequence[str] = ()) -> bytes:
    params = parse_params(wanted.params)
    return nearest(searched(database, wanted), wanted, params, _encoded, files)


def _encoded(hits: Hits) -> bytes:
    return packed.encode_hits(hits.ids, hits.distances)


def nearest_to_stored(
    collection: OpenCollection,
    ids: Ids,
    topk: int,
    params: object,
    answer: Callable[[Hits], T],
    tags: Sequence[str] = (),
    copies: int = 1,
) -> T:
    """As `nearest`, with the rows `ids` (n,) for queries."""
    _check_wanted(ids)
    check_topk(topk)
    width = topk if len(ids) == 1 else min(topk, collection.count() + 1)
    size = len(ids) * width * _HIT_BYTES
    validate.check_result_bytes(len(ids), width, size, budget().most)
    with Answer(
        size * copies, partial(collection.search_by_id, ids, topk, params, list(tags))
    ) as hits:
        return answer(hits)


def search_by_id(database: Database, request: bytes) -> bytes:
    """SearchByIDParam -> TopKQueryResult: as Search, with stored rows for queries."""
    wanted = packed.parse(schema.SearchByIDParam, request)
    params = parse_params(params_text(wanted.extra_params))
    ids = np.fromiter(wanted.id_array, np.int64, len(wanted.id_array))
    tags = list(wanted.partition_tag_array)
    _check_wanted(ids)
    try:
        collection = database.collection(wanted.collection_name)
    except CollectionNotFound:  # 1.x looks at topk first
        check_topk(wanted.topk)
        raise
    return nearest_to_stored(collection, ids, wanted.topk, params, _encoded, tags)


def _check_wanted(ids: Ids) -> None:
    if not len(ids):
        raise IllegalArgument("No vector id specified")


def stored_rows(
    collection: OpenCollection,
    ids: Ids,
    tag: str,
    answer: Callable[[NDArray[np.bool_], Vectors], T],
    copies: int = 1,
) -> T:
    """What `answer` makes of which of the ids are stored, (n,), and their vectors (n, width), zeros
    where missing.
    """
    validate.check_get_ids(len(ids))
    tags = (trimmed(tag),) if tag else ()
    size = len(ids) * collection.definition.row_bytes
    with Answer(size * copies, partial(collection.get, ids, tags)) as found:
        return answer(*found)


def get_vectors_by_id(database: Database, request: bytes) -> bytes:
    """VectorsIdentity -> VectorsData."""
    wanted = packed.decode_ids_request(request)
    validate.check_get_ids(len(wanted.ids))
    collection = database.collection(wanted.collection)
    return stored_rows(collection, wanted.ids, wanted.tag, packed.encode_vectors)


def get_vector_ids(database: Database, request: bytes) -> bytes:
    """GetVectorIDsParam -> VectorIds, in insertion order."""
    wanted = packed.parse(schema.GetVectorIDsParam, request)
    ids = database.collection(wanted.collection_name).segment_ids(wanted.segment_name)
    with Answer(ids.nbytes, lambda: ids):
        return packed.encode_ids(ids)


def delete_rows(collection: OpenCollection, ids: Ids, tag: str) -> None:
    """Unknown ids and an unknown tag are no error."""
    if len(ids):
        collection.delete(ids, trimmed(tag))


def delete_by_id(database: Database, request: bytes) -> bytes:
    """DeleteByIDParam -> Status."""
    wanted = packed.decode_ids_request(request)
    delete_rows(database.collection(wanted.collection), wanted.ids, wanted.tag)
    return bytes(set_status(schema.Status()).SerializeToString())
