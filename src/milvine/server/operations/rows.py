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
from milvine.errors import (
    CollectionNotFound,
    IllegalArgument,
    IllegalDimension,
    IllegalPartition,
    PartitionNotFound,
)
from milvine.ingest.checks import check_id_mode, check_insert
from milvine.limits import INSERT_BYTES_MAX
from milvine.search.check import check_params, check_topk
from milvine.search.prepared import PreparedSearch
from milvine.server.admission import validate
from milvine.server.admission.answers import Answer
from milvine.server.admission.budget import SHORT_BYTES
from milvine.server.operations.parameters import file_number, params_text, parse_params
from milvine.types import Collection, Hits, Ids, SearchSteps, Vectors
from milvine.wire import packed, schema
from milvine.wire.status import set_status

T = TypeVar("T")
_HIT_BYTES = 12


def store_rows(where: Database | OpenCollection, wanted: packed.InsertRequest) -> Ids:
    """The ids of the rows, (n,) int64, once they are durable.

    `where`: the collection, or the database whose collection `wanted` names. `wanted.params` means
    nothing.
    """
    try:
        collection = where.collection(wanted.collection) if isinstance(where, Database) else where
    except CollectionNotFound:  # 1.x looks at the rows first
        validate.check_rows(wanted.rows, len(wanted.ids))
        raise
    vectors, ids, tag = wanted.rows.vectors, wanted.ids if len(wanted.ids) else None, wanted.tag
    if vectors is None or not vectors.size:
        definition = collection.definition
        validate.check_rows(wanted.rows, len(wanted.ids))
        check_id_mode(definition.id_mode, ids is None)
        vectors = validate.sized_vectors(wanted.rows, definition)
    if vectors.nbytes > INSERT_BYTES_MAX:
        raise validate.too_many_bytes()
    try:
        if tag and not trimmed(tag):
            definition = collection.definition
            check_insert(definition, definition.id_mode, vectors, ids)
            raise PartitionNotFound.named(definition.name, "")
        return collection.insert(vectors, ids, trimmed(tag) if tag else "", wanted.key)
    except IllegalDimension:
        raise validate.wrong_size() from None  # in the words of 1.x


def insert(database: Database, request: bytes) -> bytes:
    """InsertParam -> VectorIds, once the rows are durable."""
    return packed.encode_ids(store_rows(database, packed.decode_insert(request)))


def nearest(
    where: Database | OpenCollection,
    wanted: packed.SearchRequest,
    params: object,
    answer: Callable[[Hits], T],
    files: Sequence[str] = (),
    copies: int = 1,
) -> T:
    """What `answer` makes of the rows nearest to those of `wanted`, in segments by id (`files`) or
    everywhere when no id is given.

    `where`: the collection, or the database whose collection `wanted` names. `params` is what the
    JSON text `wanted.params` says, of any kind. Hits are in memory from the search to the end of
    `answer`, and count `copies` times.
    """
    collection, prepared, vectors = _prepared(where, wanted, params, files)
    size = len(vectors) * prepared.hits_per_query * _HIT_BYTES * copies
    try:
        if size <= SHORT_BYTES:
            return answer(collection.find(prepared, vectors))
        most = collection.memory.answers
        validate.check_result_bytes(len(vectors), prepared.hits_per_query, size // copies, most)
        with Answer(most, size, partial(collection.find, prepared, vectors)) as hits:
            return answer(hits)
    except IllegalDimension:
        raise validate.wrong_size() from None  # in the words of 1.x


def _prepared(
    where: Database | OpenCollection,
    wanted: packed.SearchRequest,
    params: object,
    files: Sequence[str],
) -> tuple[OpenCollection, PreparedSearch, Vectors]:
    """The search that is wanted, where, and its vectors, which may be of another width or kind
    still.
    """
    try:
        collection = where.collection(wanted.collection) if isinstance(where, Database) else where
    except CollectionNotFound:  # 1.x looks at topk and tags first
        _check_scope(wanted)
        raise
    if wanted.tags:
        _check_scope(wanted)
    segments = _segments(collection, wanted, params, files) if files else EVERYWHERE
    try:
        prepared = collection.prepare(wanted.topk, params, wanted.tags, segments)
    except (PartitionNotFound, IllegalPartition):  # 1.x looks at the vectors first
        _sized(wanted.rows, collection.definition)
        raise
    vectors = wanted.rows.vectors
    if vectors is None or not vectors.size:
        vectors = _sized(wanted.rows, prepared.collection)
    return collection, prepared, vectors


def _sized(rows: packed.Rows, definition: Collection) -> Vectors:
    validate.check_not_empty(rows)
    return validate.sized_vectors(rows, definition)


def _check_scope(wanted: packed.SearchRequest) -> None:
    check_topk(wanted.topk)
    for tag in wanted.tags:
        checked_tag(tag)


def _segments(
    collection: OpenCollection,
    wanted: packed.SearchRequest,
    params: object,
    files: Sequence[str],
) -> frozenset[int]:
    """Those with these ids, which 1.x reads when everything else is known to be right."""
    definition = collection.definition
    check_topk(wanted.topk)
    check_params(params, wanted.topk, definition)
    _sized(wanted.rows, definition)
    return frozenset(map(file_number, files))


def explained(
    collection: OpenCollection,
    wanted: packed.SearchRequest,
    params: object,
    files: Sequence[str] = (),
) -> SearchSteps:
    """What `nearest` does, and how long each step takes."""
    _, prepared, vectors = _prepared(collection, wanted, params, files)
    # Hits are found all the same, though only the steps are answered.
    size = len(vectors) * prepared.hits_per_query * _HIT_BYTES
    most = collection.memory.answers
    validate.check_result_bytes(len(vectors), prepared.hits_per_query, size, most)
    try:
        with Answer(most, size, partial(collection.explain, prepared, vectors)) as steps:
            return steps
    except IllegalDimension:
        raise validate.wrong_size() from None


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
    return nearest(database, wanted, params, _encoded, files)


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
    size, most = len(ids) * width * _HIT_BYTES, collection.memory.answers
    validate.check_result_bytes(len(ids), width, size, most)
    find = partial(collection.search_by_id, ids, topk, params, list(tags))
    with Answer(most, size * copies, find) as hits:
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
    get = partial(collection.get, ids, tags)
    with Answer(collection.memory.answers, size * copies, get) as found:
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
    with Answer(database.memory.answers, ids.nbytes, lambda: ids):
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
