"""The index of a collection (specification 4.7)."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from milvine.errors import IllegalIndexType
from milvine.index.registry import by_rest_name, every, installed, rest_name, rest_names
from milvine.server.operations.indexes import set_index
from milvine.server.rest import replies
from milvine.server.rest.bodies import NewIndex, parse
from milvine.server.rest.calls import Here, Json, gone, reply, status_reply
from milvine.server.rest.documents import answers, takes
from milvine.server.rest.endpoints.collections import Name
from milvine.server.rest.receive import Body
from milvine.types import OTHERS_LEAST

router = APIRouter(tags=["indexes"], default_response_class=Json)
_PATH = "/collections/{collection_name}/indexes"


@router.get(
    _PATH,
    responses=answers(200, replies.Index, "Type and parameters, whether or not anything is built"),
)
async def describe_index(here: Here, collection_name: Name) -> Response:
    """Describe the index of a collection."""

    def work() -> Json:
        index = here.database.collection(collection_name).definition.index
        described: dict[str, Any] = {"index_type": rest_name(index.type), "params": index.params}
        if index.type >= OTHERS_LEAST:
            described["index_number"] = int(index.type)
        return reply(described)

    return await here.run("DescribeIndex", work)


@router.post(
    _PATH,
    status_code=201,
    responses=answers(201, replies.Status, "Built"),
    openapi_extra=takes(NewIndex),
)
async def create_index(here: Here, request: Request, collection_name: Name) -> Response:
    """Index a collection; the answer comes when everything is built. The same index again is no
    work.
    """

    def work(body: Body) -> Json:
        collection = here.database.collection(collection_name)
        wanted = parse(body.data, NewIndex)
        kind = by_rest_name(wanted.index_type)
        if kind is None:
            raise IllegalIndexType(_unknown(wanted.index_type))
        set_index(collection, kind.number, wanted.params)
        return status_reply(201)

    return await here.run_with_body("CreateIndex", request, work)


def _unknown(name: str) -> str:
    refusal = f"index_type must be one of {', '.join(rest_names(every()))}, not {name!r}"
    return ". ".join([refusal, *installed().faults[None]])


@router.delete(
    _PATH, status_code=204, responses=answers(204, None, "Back to FLAT, also if there was no index")
)
async def drop_index(here: Here, collection_name: Name) -> Response:
    """Drop the index of a collection."""

    def work() -> Response:
        here.database.collection(collection_name).drop_index()
        return gone()

    return await here.run("DropIndex", work)
