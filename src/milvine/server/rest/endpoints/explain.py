"""What a search does, and how long each step takes: an addition to the API of 1.x."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from milvine.engine.recall import HITS_ASKED, RECALL_ASKED
from milvine.index.params import RECALL
from milvine.server.operations.rows import explained
from milvine.server.rest.arrays import parse_rows, rows_of
from milvine.server.rest.bodies import RowsTask, Search, checked
from milvine.server.rest.calls import Here, Json, reply
from milvine.server.rest.documents import answers, takes
from milvine.server.rest.endpoints.collections import Name
from milvine.server.rest.errors import FieldMissing, IllegalBody, IllegalQuery
from milvine.server.rest.receive import Body
from milvine.types import RecallPoint, ScanStep, SearchSteps
from milvine.wire.packed import SearchRequest

router = APIRouter(default_response_class=Json)
T = TypeVar("T")
_CHOICE = {"picked", "curve"}


class Point(BaseModel):
    value: int = Field(description="Of the search parameter.")
    recall: float = Field(description="Mean share of the nearest rows that were found.")
    error: float = Field(description="Its standard error.")
    seconds: float = Field(description="Of a processor, a query, about: when the index was built.")


class Curve(BaseModel):
    k: int = Field(description="So many nearest rows.")
    points: list[Point]


class SegmentRecall(BaseModel):
    segment: str
    rows: int
    live: int
    kind: str = Field(description="The type of its index, or `exact`.")
    samples: int = Field(description="Rows that were searched for; 0: nothing was measured.")
    curves: list[Curve]
    picked: dict[str, int] | None = Field(
        description="Search parameters for the recall asked about; null: all rows are compared."
    )


class Recall(BaseModel):
    """How much the indexes of a collection find."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "index_type": "IVF_FLAT",
                    "parameter": "nprobe",
                    "recall": 0.95,
                    "topk": 10,
                    "picked": {"nprobe": 30},
                    "segments": [
                        {
                            "segment": "97",
                            "rows": 100000,
                            "live": 99000,
                            "kind": "IVF_FLAT",
                            "samples": 300,
                            "curves": [
                                {
                                    "k": 10,
                                    "points": [
                                        {
                                            "value": 32,
                                            "recall": 0.9697,
                                            "error": 0.003,
                                            "seconds": 0.00006,
                                        }
                                    ],
                                }
                            ],
                            "picked": {"nprobe": 30},
                        }
                    ],
                }
            ]
        }
    )
    index_type: str
    parameter: str = Field(description="Empty where a recall cannot be asked for in its place.")
    recall: float
    topk: int
    picked: dict[str, int] | None = Field(
        description="With these every index finds so much; null where there is none, or one"
        " does not."
    )
    segments: list[SegmentRecall]


class Scan(BaseModel):
    kind: str = Field(
        description="`tail`, `exact`, or the type of the index.", examples=["IVF_FLAT"]
    )
    segments: list[str] = Field(description="None for a tail.")
    rows: int
    masked: int = Field(description="Rows left out: deleted, or of another partition.")
    began: float = Field(description="Seconds from the beginning of the search.")
    seconds: float
    picked: dict[str, int] | None = Field(
        None,
        description="Only where a recall is asked for: the search parameters that it was turned"
        " into; none where all rows were compared.",
    )
    curve: list[Point] | None = Field(
        None, description="Only where a recall is asked for: what was measured of the index."
    )


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
    tags=["vectors"],
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
    scans = [_scan(scan, RECALL in steps.params) for scan in steps.scans]
    return {**asdict(steps), "scans": scans, "rows": sum(scan.rows for scan in steps.scans)}


def _scan(scan: ScanStep, with_choice: bool) -> dict[str, Any]:
    told = {**asdict(scan), "segments": list(map(str, scan.segments))}
    told["curve"] = _points(scan.curve)
    return told if with_choice else {key: told[key] for key in told if key not in _CHOICE}


def _points(points: Iterable[RecallPoint]) -> list[dict[str, Any]]:
    return [point._asdict() for point in points]


@router.get(
    "/collections/{collection_name}/indexes/recall",
    tags=["indexes"],
    responses=answers(200, Recall, "What was measured of each index when it was built"),
)
async def show_recall(
    here: Here,
    collection_name: Name,
    recall: Annotated[str, Query(description="What to ask about, above 0 and up to 1.")] = "",
    topk: Annotated[str, Query(description="Of so many nearest rows.")] = "",
) -> Response:
    """Show how much the indexes of a collection find, and what they take for a recall."""

    def work() -> Json:
        asked = _number(recall, RECALL, float, RECALL_ASKED)
        found = here.database.collection(collection_name).recall(
            asked, _number(topk, "topk", int, HITS_ASKED)
        )
        told = asdict(found)
        for segment, each in zip(told["segments"], found.segments, strict=True):
            segment["curves"] = [
                {"k": curve.k, "points": _points(curve.points)} for curve in each.curves
            ]
        return reply(told)

    return await here.run("DescribeIndex", work)


def _number(text: str, key: str, kind: Callable[[str], T], default: T) -> T:
    """Raises IllegalQuery."""
    try:
        return kind(text) if text else default
    except ValueError:
        raise IllegalQuery(f"Query param {key!r} is illegal, only a number supported") from None
