"""Rows of a collection: insert, get, search, delete (specification 4.9 to 4.12)."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import unquote

import numpy as np
from fastapi import APIRouter, Query, Request, Response

from milvine.catalog.tags import trimmed
from milvine.engine.collection import OpenCollection
from milvine.engine.database import Database
from milvine.errors import IllegalVectorId, PartitionNotFound
from milvine.index.finite import check_finite
from milvine.server.admission import validate
from milvine.server.admission.answers import AS_TEXT
from milvine.server.operations.rows import delete_rows, nearest, nearest_to_stored, store_rows
from milvine.server.rest import bulk, replies
from milvine.server.rest.admission import Caller
from milvine.server.rest.arrays import ids_of, parse_rows, rows_of, rows_of_array
from milvine.server.rest.bodies import Delete, NewRows, RowsTask, Search, checked, parse_json
from milvine.server.rest.calls import Here, Json, reply, status_reply
from milvine.server.rest.documents import answers, takes
from milvine.server.rest.endpoints.collections import Name
from milvine.server.rest.endpoints.segments import rows_with_ids
from milvine.server.rest.errors import (
    BodyUnparsable,
    FieldMissing,
    IllegalBody,
    IllegalQuery,
    QueryMissing,
)
from milvine.server.rest.hits import hits_json
from milvine.server.rest.receive import Body
from milvine.server.security.roles import Role
from milvine.types import Collection, Hits, Ids
from milvine.wire.packed import InsertRequest, Rows, SearchRequest

router = APIRouter(tags=["vectors"], default_response_class=Json)
_PATH = "/collections/{collection_name}/vectors"
_NO_IDS = np.zeros(0, np.int64)
_BULK = (bulk.NPY, bulk.ARROW)
_KINDS = {
    bulk.NPY: (
        "One array in npy form: float32 (rows, dimension), or uint8 (rows, dimension / 8) for"
        " binary metrics."
    ),
    bulk.ARROW: (
        "An Arrow IPC stream with the column `vector` (lists of numbers), for inserts also `id`"
        " (int64)."
    ),
}
IdsOfRows = Annotated[
    str, Query(description="npy and Arrow bodies: ids, with commas between them.")
]
Tag = Annotated[str, Query(description="npy and Arrow bodies: the partition.")]
Topk = Annotated[str, Query(description="npy and Arrow bodies: as in the JSON body.")]
Params = Annotated[str, Query(description="npy and Arrow bodies: search parameters as JSON.")]
Repeated = Annotated[
    list[str], Query(description="npy and Arrow bodies: as in the JSON body, given repeatedly.")
]


@router.get(_PATH, responses=answers(200, replies.Rows, "One for each id, in the order of the ids"))
async def get_vectors(
    here: Here,
    collection_name: Name,
    ids: Annotated[
        str | None, Query(description="At most 1000 ids, with commas between them.")
    ] = None,
    partition_tag: Annotated[str, Query(description="Look in this partition alone.")] = "",
) -> Response:
    """Get rows by their ids."""

    def work() -> Json:
        collection = here.database.collection(collection_name)
        if not ids:
            raise QueryMissing("Query param 'ids' is required.")
        wanted = ids_of(ids.split(","), IllegalVectorId, IllegalVectorId)
        validate.check_get_ids(len(wanted))
        rows = rows_with_ids(collection, wanted, trimmed(partition_tag))
        return reply({"code": 0, "message": "OK", "vectors": rows})

    return await here.run("GetVectorsByID", work)


@router.post(
    _PATH,
    status_code=201,
    responses=answers(201, replies.Ids, "The ids of the rows, which are durable"),
    openapi_extra=takes(NewRows, **_KINDS),
)
async def insert(
    here: Here,
    request: Request,
    collection_name: Name,
    ids: IdsOfRows = "",
    partition_tag: Tag = "",
) -> Response:
    """Insert rows. With the header `Idempotency-Key`, a body that is sent again is stored once."""
    key = unquote(request.headers.get("idempotency-key", ""))

    def work(body: Body) -> Json:
        collection = _collection(here.database, collection_name, body)
        definition = collection.definition
        if body.kind in _BULK:
            rows, given = _bulk_rows(body, definition)
            if ids:
                given = ids_of(ids.split(","), IllegalVectorId, IllegalVectorId)
            wanted = InsertRequest(
                collection_name, rows, _NO_IDS if given is None else given, partition_tag, None, key
            )
        else:
            wanted = _insert_of_json(body, definition, key)
        if wanted.rows.vectors is not None:
            check_finite(wanted.rows.vectors)
        stored = store_rows(collection, wanted)
        return reply({"ids": list(map(str, stored.tolist()))}, 201)

    return await here.run_with_body("Insert", request, work)


@router.put(
    _PATH,
    responses=answers(
        200, replies.Hits, "The hits of each query, nearest first; a status for a delete"
    ),
    openapi_extra=takes(RowsTask, **_KINDS),
)
async def search_or_delete(
    here: Here,
    caller: Caller,
    request: Request,
    collection_name: Name,
    topk: Topk = "",
    params: Params = "",
    partition_tags: Repeated = [],  # noqa: B006 (FastAPI copies it)
    file_ids: Repeated = [],  # noqa: B006
) -> Response:
    """Search for the nearest rows, or delete rows by their ids."""

    def work(body: Body) -> Response:
        collection = _collection(here.database, collection_name, body)
        definition = collection.definition
        if body.kind in _BULK:
            search = _search_of_query(topk, params, partition_tags, file_ids)
            return _nearest(collection, search, _bulk_rows(body, definition)[0])
        value, rows = parse_rows(body.data, ("search", "vectors"), definition.metric.is_binary)
        task = _task_of(value)
        if isinstance(task, Delete):
            caller.demand("A delete", Role.WRITE)
            return _delete(collection, task)
        return _nearest(collection, task, rows)

    return await here.run_with_body(_rpc_of, request, work)


def _rpc_of(body: Body) -> str:
    return "DeleteByID" if body.member() == "delete" else "Search"


def _collection(database: Database, name: str, body: Body) -> OpenCollection:
    """Checked in the order of 1.x: that there is a body, then the collection."""
    if not body.data:
        raise FieldMissing("Request payload is empty.")
    return database.collection(name)


def _bulk_rows(body: Body, collection: Collection) -> tuple[Rows, Ids | None]:
    array, ids = (
        (bulk.array_of_npy(body.data), None)
        if body.kind == bulk.NPY
        else bulk.columns_of_arrow(body.data)
    )
    return rows_of_array(array, collection.metric.is_binary), ids


def _insert_of_json(body: Body, collection: Collection, key: str) -> InsertRequest:
    binary = collection.metric.is_binary
    value, rows = parse_rows(body.data, ("vectors",), binary)
    wanted = checked(value, NewRows, {"ids": IllegalBody})
    ids = ids_of(wanted.ids or (), IllegalBody, IllegalVectorId)
    rows = rows_of(wanted.vectors, binary) if rows is None else rows
    return InsertRequest(collection.name, rows, ids, wanted.partition_tag or "", None, key)


def _task_of(value: Any) -> Search | Delete:
    if not isinstance(value, dict) or not {"search", "delete"} & value.keys():
        raise IllegalBody("The body must have the member 'search' or 'delete'.")
    if "delete" in value:
        refused = {"ids": FieldMissing, "partition_tag": BodyUnparsable, "delete": BodyUnparsable}
        return checked(value["delete"], Delete, refused)
    return checked(value["search"], Search)


def _search_of_query(topk: str, params: str, tags: list[str], files: list[str]) -> Search:
    if not topk:
        raise QueryMissing("Query param 'topk' is required.")
    if not (topk.isascii() and topk.isdigit() and len(topk) < 10):
        raise IllegalQuery("Query param 'topk' is illegal, only non-negative integer supported")
    parsed = parse_json(params.encode()) if params else {}
    if not isinstance(parsed, dict):
        raise IllegalQuery("Query param 'params' is illegal, only a JSON object supported")
    return Search.model_construct(
        topk=int(topk), params=parsed, vectors=None, ids=None, partition_tags=tags, file_ids=files
    )


def _nearest(collection: OpenCollection, search: Search, rows: Rows | None) -> Response:
    tags = tuple(search.partition_tags or ())
    if search.ids is not None:
        ids = ids_of(search.ids, BodyUnparsable, IllegalVectorId)
        return nearest_to_stored(
            collection, ids, search.topk, search.params, _answer, tags, AS_TEXT
        )
    if rows is None and search.vectors is None:
        raise FieldMissing("Field 'vectors' miss.")
    definition = collection.definition
    if rows is None:
        rows = rows_of(search.vectors or [], definition.metric.is_binary)
    request = SearchRequest(definition.name, tags, rows, search.topk, None)
    return nearest(collection, request, search.params, _answer, search.file_ids or (), AS_TEXT)


def _answer(hits: Hits) -> Response:
    return Json(hits_json(hits))


def _delete(collection: OpenCollection, task: Delete) -> Response:
    ids = ids_of(task.ids, IllegalBody, IllegalBody)
    tag = task.partition_tag or ""
    if tag and not collection.has_partition(trimmed(tag)):
        raise PartitionNotFound.named(collection.definition.name, tag)
    delete_rows(collection, ids, tag)
    return status_reply()
