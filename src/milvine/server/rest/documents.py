"""The OpenAPI document: bodies and answers of endpoints, which FastAPI cannot see where bytes are
parsed here.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

import milvine
from milvine.server.rest.bodies import BODIES
from milvine.server.rest.replies import Status

_REF = "#/components/schemas/{model}"
DESCRIPTION = """The RESTful API of Milvus 1.x.

Ids are decimal strings, for JavaScript's numbers do not hold 64 bits. Failures answer
`{"message", "code"}` with status 400, or 404 where a collection of the path does not exist. An
unknown path or method answers 404 in plain text."""

Answers = dict[int | str, dict[str, Any]]


def answers(
    status: int, model: type[BaseModel] | None, text: str, collection: bool = True
) -> Answers:
    """`responses` of an endpoint: its success, and how it fails. `collection`: its path
    names one.
    """
    success: dict[str, Any] = {"description": text}
    if model is not None:
        success["model"] = model
    found: Answers = {status: success, 400: {"description": "Refused", "model": Status}}
    if collection:
        found[404] = {
            "description": "The collection, or the segment, does not exist",
            "model": Status,
        }
    return found


def takes(model: type[BaseModel], **others: str) -> dict[str, Any]:
    """`openapi_extra` of an endpoint: a JSON body, and other types of content by what they hold."""
    content: dict[str, Any] = {
        "application/json": {"schema": {"$ref": _REF.format(model=model.__name__)}}
    }
    for kind, text in others.items():
        content[kind] = {"schema": {"type": "string", "format": "binary", "description": text}}
    return {"requestBody": {"required": True, "content": content}}


def document(app: FastAPI) -> dict[str, Any]:
    """The document, made once."""
    if app.openapi_schema is None:
        made = get_openapi(
            title="Milvine", version=milvine.__version__, description=DESCRIPTION, routes=app.routes
        )
        _, bodies = models_json_schema(
            [(model, "validation") for model in BODIES], ref_template=_REF
        )
        made.setdefault("components", {}).setdefault("schemas", {}).update(bodies["$defs"])
        made["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        made["security"] = [{}, {"token": []}]  # whether a server asks for tokens is its own affair
        for operation in (o for path in made["paths"].values() for o in path.values()):
            operation["responses"].pop("422", None)
        app.openapi_schema = made
    return app.openapi_schema
