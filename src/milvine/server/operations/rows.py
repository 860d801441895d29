"""Rows: insert, get, search, delete (specification 3.10 to 3.17).

What every door calls takes and gives typed values (`store_rows`, `nearest`, ...); beside it stands
the rpc, bytes to bytes. Vectors stay packed either way.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from milvine.engine import definition_checks
from milvine.engine.database import Database
from milvine.errors import IllegalArgument, PartitionNotFound
from milvine.ingest.checks import check_id_mode
from milvine.search.check import check_params, check_topk
from milvine.server.admission import validate
from milvine.server.admission.answers import Answer
from milvine.server.operations.parameters import as_mapping, file_number, params_text, parse_params
from milvine.server.operations.prepared_search import known_query, remember
from milvine.types import Hits, Ids, Query, SearchSteps, Vectors
from milvine.wire import packed, schema
from milvine.wire.status import set_status

_EVERYWHERE: frozenset[int] = frozenset()


def store_rows(database: Database, wanted: packed.InsertRequest) -> Ids:
    """The ids of the rows, (n,) int64, once they are durable. `wanted.params` means nothing."""
    ids = wanted.ids if len(wanted.ids) else None
    definition_checks.check_name(wanted.collection)
    validate.check_not_empty(wanted.rows)
    validate.check_ids_match(wanted.rows, len(wanted.ids))
    collection = database.collection(wanted.collection)
    check_id_mode(collection.id_mode, ids is None)
    vectors = validate.sized_vectors(wanted.rows, collection)
    validate.check_insert_bytes(vectors)
    tag = definition_checks.trimmed(wanted.tag)
    if wanted.tag and not tag:
        raise PartitionNotFound.named(wanted.collection, tag)
    return database.insert(wanted.collection, vectors, ids, tag, wanted.key)


def insert(database: Database, request: bytes) -> bytes:
    """InsertParam -> VectorIds, once the rows are durable."""
    return packed.encode_ids(store_rows(database, packed.decode_insert(request)))


def nearest(
    database: Database,
    wanted: packed.SearchRequest,
    params: object,
    files: Sequence[str] = (),
    copies: int = 1,
) -> Answer[Hits]:
    """The rows nearest to those of `wanted`, in segments by id (`files`) or everywhere when no id
    is given.

    `params` is what the JSON text `wanted.params` says, of any kind. The answer counts `copies`
    times.
    """
    query, segments = None if files else known_query(database, wanted, params), _EVERYWHERE
    if query is None:
        query, segments = _checked_search(database, wanted, params, files)
    size = _hits_bytes(database, wanted.collection, wanted.rows.count, wanted.topk)
    find = partial(database.search, wanted.collection, query, segments)
    return Answer(database.memory.answers, size * copies, find)


def _hits_bytes(database: Database, name: str, nq: int, topk: int) -> int:
    """Of the answer to a search, at most.

    Raises:
        OutOfMemory: more than all answers together may take.
    """
    width = topk if nq == 1 else min(topk, database.count(name) + 1)
    return validate.checked_result_bytes(nq, width, database.memory.answers)


def explained(
    database: Database, wanted: packed.SearchRequest, params: object, files: Sequence[str] = ()
) -> SearchSteps:
    """What `nearest` does, and how long each step takes."""
    query, segments = _checked_search(database, wanted, params, files)
    # Hits are found all the same, though only the steps are answered.
    size = _hits_bytes(database, wanted.collection, wanted.rows.count, wanted.topk)
    explain = partial(database.explain, wanted.collection, query, segments)
    with Answer(database.memory.answers, size, explain) as steps:
        return steps


def _checked_search(
    database: Database, wanted: packed.SearchRequest, params: object, files: Sequence[str]
) -> tuple[Query, frozenset[int]]:
    """The query, and the segments to search in."""
    definition_checks.check_name(wanted.collection)
    check_topk(wanted.topk)
    tags = tuple(definition_checks.checked_tag(tag) for tag in wanted.tags)
    collection = database.collection(wanted.collection)
    check_params(params, wanted.topk, collection)
    validate.check_not_empty(wanted.rows)
    vectors = validate.sized_vectors(wanted.rows, collection)
    query = Query(vectors, wanted.topk, as_mapping(params), tags, collection)
    if not files:
        remember(collection, wanted, params, query)
    return query, frozenset(map(file_number, files))


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
    with nearest(database, wanted, parse_params(wanted.params), files) as hits:
        return packed.encode_hits(hits.ids, hits.distances)


def nearest_to_stored(
    database: Database,
    name: str,
    ids: Ids,
    topk: int,
    params: object,
    tags: Sequence[str] = (),
    copies: int = 1,
) -> Answer[Hits]:
    """As `nearest`, with the rows `ids` (n,) for queries."""
    if not len(ids):
        raise IllegalArgument("No vector id specified")
    definition_checks.check_name(name)
    check_topk(topk)
    size = _hits_bytes(database, name, len(ids), topk)
    return Answer(
        database.memory.answers,
        size * copies,
        partial(database.search_by_id, name, ids, topk, as_mapping(params), list(tags)),
    )


def search_by_id(database: Database, request: bytes) -> bytes:
    """SearchByIDParam -> TopKQueryResult: as Search, with stored rows for queries."""
    wanted = packed.parse(schema.SearchByIDParam, request)
    params = parse_params(params_text(wanted.extra_params))
    ids = np.fromiter(wanted.id_array, np.int64, len(wanted.id_array))
    tags = list(wanted.partition_tag_array)
    with nearest_to_stored(
        database, wanted.collection_name, ids, wanted.topk, params, tags
    ) as hits:
        return packed.encode_hits(hits.ids, hits.distances)


def stored_rows(
    database: Database, wanted: packed.IdsRequest, copies: int = 1
) -> Answer[tuple[NDArray[np.bool_], Vectors]]:
    """Which of the ids are stored, (n,), and their vectors (n, width), zeros where missing."""
    validate.check_get_ids(len(wanted.ids))
    definition_checks.check_name(wanted.collection)
    tags = (definition_checks.trimmed(wanted.tag),) if wanted.tag else ()
    size = len(wanted.ids) * database.collection(wanted.collection).row_bytes
    get = partial(database.get, wanted.collection, wanted.ids, tags)
    return Answer(database.memory.answers, size * copies, get)


def get_vectors_by_id(database: Database, request: bytes) -> bytes:
    """VectorsIdentity -> VectorsData."""
    with stored_rows(database, packed.decode_ids_request(request)) as found:
        return packed.encode_vectors(*found)


def ids_of_segment(database: Database, name: str, segment: str) -> Ids:
    """Ids of the live rows of a segment, (rows,) int64, in insertion order."""
    definition_checks.check_name(name)
    return database.segment_ids(name, segment)


def get_vector_ids(database: Database, request: bytes) -> bytes:
    """GetVectorIDsParam -> VectorIds, in insertion order."""
    wanted = packed.parse(schema.GetVectorIDsParam, request)
    ids = ids_of_segment(database, wanted.collection_name, wanted.segment_name)
    with Answer(database.memory.answers, ids.nbytes, lambda: ids):
        return packed.encode_ids(ids)


def delete_rows(database: Database, wanted: packed.IdsRequest) -> None:
    """Unknown ids and an unknown tag are no error."""
    definition_checks.check_name(wanted.collection)
    collection = database.collection(wanted.collection)
    if len(wanted.ids):
        database.delete(collection.name, wanted.ids, definition_checks.trimmed(wanted.tag))


def delete_by_id(database: Database, request: bytes) -> bytes:
    """DeleteByIDParam -> Status."""
    delete_rows(database, packed.decode_ids_request(request))
    return bytes(set_status(schema.Status()).SerializeToString())
