"""The configuration of the running server (specification 4.2, 4.15)."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from milvine.config import parse_bool, parse_size
from milvine.redaction import as_shown
from milvine.server.rest import replies
from milvine.server.rest.bodies import AdvancedConfig, parse, parse_json
from milvine.server.rest.calls import Here, Json, reply, status_reply
from milvine.server.rest.documents import answers, takes
from milvine.server.rest.errors import IllegalBody
from milvine.server.rest.receive import Body

router = APIRouter(tags=["configuration"], default_response_class=Json)
_ADVANCED = {
    "cpu_cache_capacity": "cache.cache_size",
    "cache_insert_data": "cache.cache_insert_data",
    "use_blas_threshold": "engine_config.use_blas_threshold",
}


@router.get(
    "/config/advanced",
    responses=answers(200, replies.Advanced, "The cache in whole GiB", collection=False),
)
async def advanced(here: Here) -> Response:
    """Three settings of the cache and of exact search."""

    def work() -> Json:
        cache, insert, threshold = map(here.operations.configuration.get, _ADVANCED.values())
        return reply(
            {
                "cpu_cache_capacity": parse_size("cache.cache_size", cache) >> 30,
                "cache_insert_data": parse_bool("cache.cache_insert_data", insert),
                "use_blas_threshold": int(threshold),
            }
        )

    return await here.run("Cmd", work)


@router.put(
    "/config/advanced",
    responses=answers(
        200, replies.Status, "Set, one after the other until one fails", collection=False
    ),
    openapi_extra=takes(AdvancedConfig),
)
async def set_advanced(here: Here, request: Request) -> Response:
    """Set them; one that is left out gets its default."""

    def work(body: Body) -> Json:
        wanted = parse(body.data, AdvancedConfig)
        values = {
            "cpu_cache_capacity": f"{wanted.cpu_cache_capacity}GB",
            "cache_insert_data": _text(wanted.cache_insert_data),
            "use_blas_threshold": str(wanted.use_blas_threshold),
        }
        for name, key in _ADVANCED.items():
            here.operations.configuration.set(key, values[name])
        return status_reply()

    return await here.run_with_body("Cmd", request, work)


@router.get(
    "/system/config",
    responses={
        200: {
            "description": "Section, key, value as text; and `restart_required`",
            "model": dict[str, Any],
            "content": {
                "application/json": {
                    "example": {"cache": {"cache_size": "4GB"}, "restart_required": False}
                }
            },
        }
    },
)
async def show(here: Here) -> Response:
    """All settings."""

    def work() -> Json:
        configuration = here.operations.configuration
        return reply({**configuration.tree(), "restart_required": configuration.restart_required})

    return await here.run("Cmd", work)


@router.put(
    "/system/config",
    responses=answers(
        200, replies.ConfigSet, "Set, one after the other until one fails", collection=False
    ),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"type": "object", "additionalProperties": {"type": "object"}},
                    "example": {
                        "cache": {"cache_size": "8GB"},
                        "engine_config": {"use_blas_threshold": 800},
                    },
                }
            },
        }
    },
)
async def set_values(here: Here, request: Request) -> Response:
    """Set some, as `{"section": {"key": value}}`."""

    def work(body: Body) -> Json:
        configuration = here.operations.configuration
        leaves = _leaves(parse_json(body.data))
        for key, value in leaves:
            configuration.set(key, value)
        message = "".join(
            f"set_config {key} {as_shown(key, value)} successfully;" for key, value in leaves
        )
        return reply(
            {"code": 0, "message": message, "restart_required": configuration.restart_required}
        )

    return await here.run_with_body("Cmd", request, work)


def _leaves(value: Any) -> list[tuple[str, str]]:
    """Keys with their values as text, in the order of the body."""
    if not isinstance(value, dict) or not all(
        isinstance(section, dict) for section in value.values()
    ):
        raise IllegalBody("The body must be an object of objects.")
    leaves = [
        (f"{name}.{key}", leaf) for name, section in value.items() for key, leaf in section.items()
    ]
    for key, leaf in leaves:
        if not isinstance(leaf, (str, int, float)):
            raise IllegalBody(f"{key} must be a string, a number or a bool.")
    return [(key, _text(leaf)) for key, leaf in leaves]


def _text(leaf: object) -> str:
    return str(leaf).lower() if isinstance(leaf, bool) else str(leaf)
