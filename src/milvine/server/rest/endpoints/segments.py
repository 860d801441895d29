"""Segments of a collection (specification 4.8)."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Path, Query, Response

from milvine.engine.collection import OpenCollection
from milvine.errors import IllegalArgument, SegmentNotFound
from milvine.server.admission import validate
from milvine.server.rest import replies
from milvine.server.rest.calls import Here, Json, reply
from milvine.server.rest.documents import answers
from milvine.server.rest.endpoints.collections import Name
from milvine.server.rest.errors import code_and_message
from milvine.server.rest.paging import AllRequired, Offset, PageSize, page
from milvine.types import Ids

router = APIRouter(tags=["segments"], default_response_class=Json)
_PATH = "/collections/{collection_name}/segments"
Segment = Annotated[str, Path(description="Name of the segment, a number.")]


@router.get(_PATH, responses=answers(200, replies.Segments, "A page of them"))
async def list_segments(
    here: Here,
    collection_name: Name,
    offset: Offset = "",
    page_size: PageSize = "",
    all_required: AllRequired = "",
    partition_tag: Annotated[
        str, Query(description="Those of this partition; ignored with all_required.")
    ] = "",
) -> Response:
    """List the segments of a collection: what is flushed, by partition."""

    def work() -> Json:
        wanted = page(offset, page_size, all_required)
        collection = here.database.collection(collection_name)
        found = _segments(collection, "" if wanted.all else partition_tag)
        return reply(
            {"code": 0, "message": "OK", "count": len(found), "segments": wanted.of(found)}
        )

    return await here.run("ShowCollectionInfo", work)


@router.get(
    _PATH + "/{segment_name}/ids", responses=answers(200, replies.SegmentIds, "A page of them")
)
async def list_ids(
    here: Here,
    collection_name: Name,
    segment_name: Segment,
    offset: Offset = "",
    page_size: PageSize = "",
) -> Response:
    """List the ids of the rows in a segment, in the order of their insertion; deleted ones are left
    out.
    """

    def work() -> Json:
        wanted = page(offset, page_size)
        ids = here.database.collection(collection_name).segment_ids(segment_name)
        shown = ids[wanted.offset : wanted.offset + wanted.size]
        return reply({"ids": list(map(str, shown.tolist())), "count": len(ids)})

    return await here.run("GetVectorIDs", work)


@router.get(
    _PATH + "/{segment_name}/vectors", responses=answers(200, replies.SegmentRows, "A page of them")
)
async def list_vectors(
    here: Here,
    collection_name: Name,
    segment_name: Segment,
    offset: Offset = "",
    page_size: PageSize = "",
) -> Response:
    """List the rows in a segment. A page over 1000 of them has an error for `code`, and none, as in
    1.x.
    """

    def work() -> Json:
        wanted = page(offset, page_size)
        collection = here.database.collection(collection_name)
        ids = collection.segment_ids(segment_name)
        shown = ids[wanted.offset : wanted.offset + wanted.size]
        rows = _rows(collection, shown, _tag_of(collection, segment_name))
        return reply({**rows, "count": len(ids)})

    return await here.run("GetVectorsByID", work)


@router.get(_PATH + "/{segment_name}/{other}", include_in_schema=False)
async def list_nothing(here: Here) -> Response:
    """Whatever else is asked of a segment is null, as in 1.x."""
    return await here.run("Cmd", lambda: reply(None))


def _segments(collection: OpenCollection, tag: str = "") -> list[dict[str, Any]]:
    return [
        {
            "data_size": segment.data_size,
            "index_name": segment.index_name,
            "name": segment.name,
            "partition_tag": part.tag,
            "row_count": segment.row_count,
        }
        for part in collection.stats().partitions
        for segment in part.segments
        if not tag or part.tag == tag
    ]


def _rows(collection: OpenCollection, ids: Ids, tag: str) -> dict[str, Any]:
    try:
        if len(ids):
            validate.check_get_ids(len(ids))
        return {"code": 0, "message": "OK", "vectors": rows_with_ids(collection, ids, tag)}
    except IllegalArgument as error:
        code, message = code_and_message(error)
        return {"code": code, "message": message, "vectors": []}


def rows_with_ids(collection: OpenCollection, ids: Ids, tag: str) -> list[dict[str, Any]]:
    """One row for each of `ids`, the vector empty where it is not stored."""
    tags = (tag,) if tag else ()
    found, vectors = (
        collection.get(ids, tags) if len(ids) else (np.zeros(0, bool), np.zeros((0, 1)))
    )
    rows = zip(ids.tolist(), found.tolist(), vectors, strict=True)
    return [{"id": str(id), "vector": vector if there else []} for id, there, vector in rows]


def _tag_of(collection: OpenCollection, segment: str) -> str:
    for each in _segments(collection):
        if each["name"] == segment:
            return str(each["partition_tag"])
    raise SegmentNotFound  # a merge was faster
