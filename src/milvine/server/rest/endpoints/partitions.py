"""Partitions of a collection."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from milvine.catalog.tags import tag_to_create, tag_to_drop
from milvine.server.rest import replies
from milvine.server.rest.bodies import PartitionTag, parse
from milvine.server.rest.calls import Here, Json, gone, reply, status_reply
from milvine.server.rest.documents import answers, takes
from milvine.server.rest.endpoints.collections import Name
from milvine.server.rest.paging import AllRequired, Offset, PageSize, page
from milvine.server.rest.receive import Body

router = APIRouter(tags=["partitions"], default_response_class=Json)
_PATH = "/collections/{collection_name}/partitions"


@router.get(_PATH, responses=answers(200, replies.Partitions, "A page of them"))
async def list_partitions(
    here: Here,
    collection_name: Name,
    offset: Offset = "",
    page_size: PageSize = "",
    all_required: AllRequired = "",
) -> Response:
    """List the partitions of a collection, `_default` first."""

    def work() -> Json:
        wanted = page(offset, page_size, all_required)
        tags = here.database.collection(collection_name).partitions()
        return reply(
            {"partitions": [{"partition_tag": tag} for tag in wanted.of(tags)], "count": len(tags)}
        )

    return await here.run("ShowPartitions", work)


@router.post(
    _PATH,
    status_code=201,
    responses=answers(201, replies.Status, "Created"),
    openapi_extra=takes(PartitionTag),
)
async def create_partition(here: Here, request: Request, collection_name: Name) -> Response:
    """Create a partition."""

    def work(body: Body) -> Json:
        collection = here.database.collection(collection_name)
        tag = parse(body.data, PartitionTag).partition_tag
        collection.create_partition(tag_to_create(tag))
        return status_reply(201)

    return await here.run_with_body("CreatePartition", request, work)


@router.delete(
    _PATH,
    status_code=204,
    responses=answers(204, None, "Dropped"),
    openapi_extra=takes(PartitionTag),
)
async def drop_partition(here: Here, request: Request, collection_name: Name) -> Response:
    """Drop a partition with its rows."""

    def work(body: Body) -> Response:
        collection = here.database.collection(collection_name)
        tag = parse(body.data, PartitionTag).partition_tag
        collection.drop_partition(tag_to_drop(tag))
        return gone()

    return await here.run_with_body("DropPartition", request, work)
