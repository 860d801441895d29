"""The application: routers, errors and edges put together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from starlette.exceptions import HTTPException

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.server.operations import Operations
from milvine.server.rest.admission import admit
from milvine.server.rest.calls import Calls, status_reply
from milvine.server.rest.documents import document
from milvine.server.rest.edges import Edges, no_mapping
from milvine.server.rest.endpoints import (
    collections,
    configuration,
    explain,
    indexes,
    partitions,
    rows,
    segments,
    system,
)
from milvine.server.rest.errors import NotAdmitted, code_and_message, http_status
from milvine.server.security.gate import Gate

_DOCUMENTS = {"openapi_url": "/openapi.json", "docs_url": "/docs", "redoc_url": "/redoc"}
_MODULES = (configuration, system, collections, indexes, partitions, segments, rows, explain)


def create_app(
    operations: Operations,
    database: Database,
    settings: Settings,
    routers: Sequence[APIRouter] = (),
    gate: Gate | None = None,
) -> FastAPI:
    """The REST API over `operations`, with `routers` beside it, behind `gate`. It owns nothing but
    threads.
    """
    documents = _DOCUMENTS if settings.http_docs else dict.fromkeys(_DOCUMENTS)
    app = FastAPI(
        title="Milvine", redirect_slashes=False, dependencies=[Depends(admit)], **documents
    )
    app.state.gate = gate
    app.state.calls = Calls(operations, database, settings)
    for router in (*(module.router for module in _MODULES), *routers):
        app.include_router(router)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_middleware(_Failures)
    app.add_middleware(Edges, routes=app.routes, origins=settings.cors_origins)
    described: Any = partial(document, app)
    app.openapi = described  # type: ignore[method-assign]
    return app


async def _http_error(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException) and error.status_code not in (404, 405):
        return status_reply(error.status_code, str(error.detail), 1)
    return await no_mapping(request, error)


class _Failures:
    """Every exception of an endpoint is an answer: the operations have told the events of those
    that nobody foresaw.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            code, message = code_and_message(error)
            if isinstance(error, NotAdmitted):
                answer = status_reply(error.http_status, message, code)
                answer.headers.update(error.headers)
            else:
                answer = status_reply(http_status(scope["path"], code), message, code)
            await answer(scope, receive, send)
