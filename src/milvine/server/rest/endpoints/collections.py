"""Collections (specification 4.4 to 4.6)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from milvine.engine.collection import OpenCollection
from milvine.engine.stats import CollectionStats
from milvine.errors import IllegalMetricType
from milvine.index.registry import rest_name
from milvine.server.operations.collections import new_collection
from milvine.server.rest import replies
from milvine.server.rest.bodies import NewCollection, parse
from milvine.server.rest.calls import Here, Json, gone, reply, status_reply
from milvine.server.rest.documents import answers, takes
from milvine.server.rest.paging import AllRequired, Offset, PageSize, page
from milvine.server.rest.receive import Body
from milvine.types import MetricType

router = APIRouter(tags=["collections"], default_response_class=Json)
Name = Annotated[str, Path(description="Name of the collection.")]

_METRICS = {metric.name: metric for metric in MetricType if metric is not MetricType.INVALID}


@router.get(
    "/collections", responses=answers(200, replies.Collections, "A page of them", collection=False)
)
async def list_collections(
    here: Here, offset: Offset = "", page_size: PageSize = "", all_required: AllRequired = ""
) -> Response:
    """List collections, in the order of their creation."""

    def work() -> Json:
        wanted = page(offset, page_size, all_required, strict=False)
        names = here.database.collections()
        described = [_described(here.database.collection(name)) for name in wanted.of(names)]
        return reply({"collections": described, "count": len(names)})

    return await here.run("ShowCollections", work)


@router.post(
    "/collections",
    status_code=201,
    responses=answers(201, replies.Status, "Created", collection=False),
    openapi_extra=takes(NewCollection),
)
async def create_collection(here: Here, request: Request) -> Response:
    """Create a collection."""

    def work(body: Body) -> Json:
        wanted = parse(body.data, NewCollection)
        metric = _METRICS.get(wanted.metric_type)
        if metric is None:
            raise IllegalMetricType(
                f"metric_type must be one of {', '.join(_METRICS)}, not {wanted.metric_type!r}"
            )
        new_collection(
            here.database, wanted.collection_name, wanted.dimension, wanted.index_file_size, metric
        )
        return status_reply(201)

    return await here.run_with_body("CreateCollection", request, work)


@router.get(
    "/collections/{collection_name}",
    responses=answers(
        200, replies.CollectionInfo, "The collection, or with `info=stat` its statistics"
    ),
)
async def describe_collection(
    here: Here,
    collection_name: Name,
    info: Annotated[str, Query(description="`stat`: rows and segments by partition instead.")] = "",
) -> Response:
    """Describe a collection and count its rows."""

    def work() -> Json:
        collection = here.database.collection(collection_name)
        if info == "stat":
            return reply(stats_of(collection.stats()))
        return reply(_described(collection))

    return await here.run("ShowCollectionInfo" if info == "stat" else "DescribeCollection", work)


@router.delete(
    "/collections/{collection_name}", status_code=204, responses=answers(204, None, "Dropped")
)
async def drop_collection(here: Here, collection_name: Name) -> Response:
    """Drop a collection with all that is in it."""

    def work() -> Response:
        here.database.collection(collection_name).drop()
        return gone()

    return await here.run("DropCollection", work)


def _described(collection: OpenCollection) -> dict[str, Any]:
    version = collection.pin()
    definition = version.collection
    return {
        "collection_name": definition.name,
        "dimension": definition.dimension,
        "index_file_size": definition.index_file_size_mb,
        "metric_type": definition.metric.name,
        "count": version.live_rows(),
        "index": rest_name(definition.index.type),
        "index_params": definition.index.params_json,
    }


def stats_of(stats: CollectionStats) -> dict[str, Any]:
    """Statistics as JSON has them: a partition without segments has null for them."""
    parts = [
        {**asdict(part), "segments": list(map(asdict, part.segments)) or None}
        for part in stats.partitions
    ]
    odd = {"nonfinite_rows": stats.nonfinite_rows} if stats.nonfinite_rows else {}
    return {"partitions": parts, "row_count": stats.row_count, **odd}
