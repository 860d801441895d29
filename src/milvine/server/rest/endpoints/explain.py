"""What a search does, and how long each step takes: an addition to the API of 1.x."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from milvine.server.operations.rows import explained
from milvine.server.rest.arrays import parse_rows, rows_of
from milvine.server.rest.bodies import RowsTask, Search, checked
from milvine.server.rest.calls import Here, Json, reply
from milvine.server.rest.documents import answers, takes
from milvine.server.rest.endpoints.collections import Name
from milvine.server.rest.errors import FieldMissing, IllegalBody
from milvine.server.rest.receive import Body
from milvine.types import SearchSteps
from milvine.wire.packed import SearchRequest

router = APIRouter(tags=["vectors"], default_response_class=Json)


class Scan(BaseModel):
    kind: str = Field(
        description="`tail`, `exact`, or the type of the index.", examples=["IVF_FLAT"]
    )
    segments: list[str] = Field(description="None for a tail.")
    rows: int
    masked: int = Field(description="Rows left out: deleted, or of another partition.")
    began: float = Field(description="Seconds from the beginning of the search.")
    seconds: float


class Steps(BaseModel):
    """What a search did; times in seconds."""

    metric: str
    params: dict[str, float]
    plan_seconds: float
    scan_seconds: float
    reduce_seconds: float
    scans: list[Scan]
    skipped: int = Field(description="Segments and tail blocks without a live row.")
    rows: int = Field(description="Of all scans.")
    nq: int
    topk: int


@router.post(
    "/collections/{collection_name}/explain",
    responses=answers(200, Steps, "What the search did, in place of what it found"),
    openapi_extra=takes(RowsTask),
)
async def explain(here: Here, request: Request, collection_name: Name) -> Response:
    """Search, and tell what was done. The body is that of a search."""

    def work(body: Body) -> Json:
        if not body.data:
            raise FieldMissing("Request payload is empty.")
        collection = here.database.collection(collection_name)
        binary = collection.definition.metric.is_binary
        value, rows = parse_rows(body.data, ("search", "vectors"), binary)
        if not isinstance(value, dict) or "search" not in value:
            raise IllegalBody("The body must have the member 'search'.")
        search = checked(value["search"], Search)
        if rows is None and search.vectors is None:
            raise FieldMissing("Field 'vectors' miss.")
        found = rows_of(search.vectors or [], binary) if rows is None else rows
        wanted = SearchRequest(
            collection_name, tuple(search.partition_tags or ()), found, search.topk, None
        )
        steps = explained(collection, wanted, search.params, search.file_ids or ())
        return reply({**_document(steps), "nq": found.count, "topk": search.topk})

    return await here.run_with_body("Search", request, work)


def _document(steps: SearchSteps) -> dict[str, Any]:
    """Names of segments are text, as in the statistics."""
    scans = [{**asdict(scan), "segments": list(map(str, scan.segments))} for scan in steps.scans]
    return {**asdict(steps), "scans": scans, "rows": sum(scan.rows for scan in steps.scans)}
