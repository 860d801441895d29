"""HTTP routes: /metrics, and how far index builds are."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from milvine.engine.database import Database
from milvine.server.metrics.progress import BuildProgress, collection_progress

_EXAMPLE = """# HELP keeping_alive_seconds_total Seconds since the start
# TYPE keeping_alive_seconds_total counter
keeping_alive_seconds_total 61.5
"""
_TEXTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Every metric",
        "content": {
            "text/plain": {"example": _EXAMPLE},
            "application/openmetrics-text": {"example": _EXAMPLE},
        },
    }
}
_PROGRESS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": (
            "Rows that have the index, rows that are to get it, and the builds that run now"
        ),
        "content": {
            "application/json": {
                "example": {
                    "collection_name": "demo",
                    "index_type": "HNSW",
                    "total_rows": 300000,
                    "built_rows": 200000,
                    "tail_rows": 120,
                    "building": [
                        {
                            "segment": "1795419270520371000",
                            "index_type": "HNSW",
                            "stage": "adding",
                            "done": 40960,
                            "rows": 100000,
                            "seconds": 2.5,
                        }
                    ],
                }
            }
        },
    },
    404: {"description": "No such collection"},
}


def metrics_router(registry: CollectorRegistry) -> APIRouter:
    """`GET /metrics`: what `registry` collects, as text of Prometheus, or of OpenMetrics for those
    who ask for it.
    """
    router = APIRouter(tags=["operation"])

    @router.get(
        "/metrics", summary="Metrics for Prometheus", response_class=Response, responses=_TEXTS
    )
    def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"Content-Type": content_type})

    return router


def progress_router(database: Database) -> APIRouter:
    """`GET /collections/{collection_name}/indexes/progress`: rows that have the index, and builds
    that run now.

    A collection that does not exist ends in CollectionNotFound, for the app's own handler.
    """
    router = APIRouter(tags=["indexes"])

    @router.get(
        "/collections/{collection_name}/indexes/progress",
        summary="How far index builds are",
        responses=_PROGRESS,
    )
    def progress(collection_name: str) -> BuildProgress:
        return collection_progress(database, collection_name)

    return router
