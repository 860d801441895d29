"""Rows: insert, get, search, delete (specification 3.10 to 3.17). Bytes to bytes, vectors stay packed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from milvine.engine.database import Database
from milvine.errors import IllegalArgument, PartitionNotFound
from milvine.ingest.writer import check_id_mode
from milvine.server import validate
from milvine.server.operations.parameters import as_mapping, file_number, params_text, parse_params
from milvine.types import Query
from milvine.wire import packed, schema
from milvine.wire.status import set_status


def insert(database: Database, request: bytes) -> bytes:
    """InsertParam -> VectorIds, once the rows are durable."""
    wanted = packed.decode_insert(request)
    ids = wanted.ids if len(wanted.ids) else None
    validate.check_name(wanted.collection)
    validate.check_not_empty(wanted.rows)
    validate.check_ids_match(wanted.rows, len(wanted.ids))
    collection = database.collection(wanted.collection)
    check_id_mode(collection.id_mode, ids is None)
    vectors = validate.sized_vectors(wanted.rows, collection)
    validate.check_insert_bytes(vectors)
    tag = validate.trimmed(wanted.tag)
    if wanted.tag and not tag:
        raise PartitionNotFound.named(wanted.collection, tag)
    return packed.encode_ids(database.insert(wanted.collection, vectors, ids, tag))


def search(database: Database, request: bytes) -> bytes:
    """SearchParam -> TopKQueryResult."""
    return _search(database, packed.decode_search(request))


def search_in_files(database: Database, request: bytes) -> bytes:
    """SearchInFilesParam -> TopKQueryResult: in segments by id, or as Search when no id is given."""
    wanted = packed.decode_search_in_files(request)
    return _search(database, wanted.search, wanted.files)


def _search(database: Database, wanted: packed.SearchRequest, files: Sequence[str] = ()) -> bytes:
    params = parse_params(wanted.params)
    validate.check_name(wanted.collection)
    validate.check_topk(wanted.topk)
    tags = tuple(validate.checked_tag(tag) for tag in wanted.tags)
    collection = database.collection(wanted.collection)
    validate.check_search(params, wanted.topk, collection)
    validate.check_not_empty(wanted.rows)
    vectors = validate.sized_vectors(wanted.rows, collection)
    if wanted.rows.count > 1:
        width = min(wanted.topk, database.count(wanted.collection) + 1)
        validate.check_result_size(wanted.rows.count, width)
    segments = frozenset(map(file_number, files))
    hits = database.search(wanted.collection, Query(vectors, wanted.topk, as_mapping(params), tags), segments)
    return packed.encode_hits(hits.ids, hits.distances)


def search_by_id(database: Database, request: bytes) -> bytes:
    """SearchByIDParam -> TopKQueryResult: as Search, with stored rows for queries."""
    wanted = packed.parse(schema.SearchByIDParam, request)
    params = parse_params(params_text(wanted.extra_params))
    if not wanted.id_array:
        raise IllegalArgument("No vector id specified")
    validate.check_name(wanted.collection_name)
    validate.check_topk(wanted.topk)
    collection = database.collection(wanted.collection_name)
    validate.check_search(params, wanted.topk, collection)
    ids = np.fromiter(wanted.id_array, np.int64, len(wanted.id_array))
    validate.check_result_size(len(ids), min(wanted.topk, database.count(collection.name) + 1))
    tags = list(wanted.partition_tag_array)
    hits = database.search_by_id(collection.name, ids, wanted.topk, as_mapping(params), tags)
    return packed.encode_hits(hits.ids, hits.distances)


def get_vectors_by_id(database: Database, request: bytes) -> bytes:
    """VectorsIdentity -> VectorsData."""
    wanted = packed.decode_ids_request(request)
    validate.check_get_ids(len(wanted.ids))
    validate.check_name(wanted.collection)
    tags = (validate.trimmed(wanted.tag),) if wanted.tag else ()
    found, vectors = database.get(wanted.collection, wanted.ids, tags)
    return packed.encode_vectors(found, vectors)


def get_vector_ids(database: Database, request: bytes) -> bytes:
    """GetVectorIDsParam -> VectorIds, in insertion order."""
    wanted = packed.parse(schema.GetVectorIDsParam, request)
    validate.check_name(wanted.collection_name)
    return packed.encode_ids(database.segment_ids(wanted.collection_name, wanted.segment_name))


def delete_by_id(database: Database, request: bytes) -> bytes:
    """DeleteByIDParam -> Status. Unknown ids and an unknown tag are no error."""
    wanted = packed.decode_ids_request(request)
    validate.check_name(wanted.collection)
    collection = database.collection(wanted.collection)
    if len(wanted.ids):
        database.delete(collection.name, wanted.ids, validate.trimmed(wanted.tag))
    return bytes(set_status(schema.Status()).SerializeToString())
