"""HTTP routes: /metrics, and how far index builds are."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from milvine.engine.database import Database
from milvine.server.metrics.progress import collection_progress


def metrics_router(registry: CollectorRegistry) -> APIRouter:
    """`GET /metrics`: what `registry` collects, as text of Prometheus, or of OpenMetrics for those who ask for it."""
    router = APIRouter(tags=["operation"])

    @router.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
    def metrics(accept: Annotated[str, Header()] = "") -> Response:
        encode, content_type = choose_encoder(accept)
        return Response(encode(registry), headers={"Content-Type": content_type})

    return router


def progress_router(database: Database) -> APIRouter:
    """`GET /collections/{collection_name}/indexes/progress`: rows that have the index, and builds that run now.

    A collection that does not exist ends in CollectionNotFound, for the app's own handler.
    """
    router = APIRouter(tags=["indexes"])

    @router.get("/collections/{collection_name}/indexes/progress", summary="How far index builds are")
    def progress(collection_name: str) -> dict[str, Any]:
        return asdict(collection_progress(database, collection_name))

    return router
