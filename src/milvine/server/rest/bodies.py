"""Bodies of requests: one model each, which both checks what arrives and describes it in the
OpenAPI document.

Vectors and long lists of ids are not looked into here: `arrays.py` does that without an object per
check.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

from milvine.index.registry import known, rest_names
from milvine.limits import (
    DIMENSION_MAX,
    INDEX_FILE_SIZE_DEFAULT_MB,
    INDEX_FILE_SIZE_MAX_MB,
    TOPK_MAX,
)
from milvine.server.rest.errors import BodyUnparsable, FieldMissing, IllegalBody, RequestRefused

B = TypeVar("B", bound="RequestBody")
_ID = {"anyOf": [{"type": "string", "pattern": "^[0-9]{1,18}$"}, {"type": "integer", "minimum": 0}]}
_ROW = {"type": "array", "items": {"type": "number"}, "minItems": 1}

Vectors = Annotated[
    list[Any],
    WithJsonSchema({"type": "array", "items": _ROW, "minItems": 1}),
    Field(
        description=(
            "Rows of one length: the dimension, or for binary metrics dimension / 8 integers of"
            " 0..255."
        )
    ),
]
Ids = Annotated[
    list[Any],
    WithJsonSchema({"type": "array", "items": _ID}),
    Field(description="Decimal strings."),
]


class RequestBody(BaseModel):
    """Unknown fields are ignored, unless a model forbids them."""

    model_config = ConfigDict(strict=True)


class NewCollection(RequestBody):
    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "collection_name": "films",
                    "dimension": 128,
                    "index_file_size": 1024,
                    "metric_type": "L2",
                }
            ]
        },
    )
    collection_name: str = Field(
        description="Letters, digits and underscores; no digit first; at most 255."
    )
    dimension: int = Field(description=f"1 to {DIMENSION_MAX}; a multiple of 8 for binary metrics.")
    index_file_size: int = Field(
        INDEX_FILE_SIZE_DEFAULT_MB, description=f"MB, 1 to {INDEX_FILE_SIZE_MAX_MB}."
    )
    metric_type: str = Field(
        "L2",
        description=(
            "L2, IP, HAMMING, JACCARD, TANIMOTO, SUBSTRUCTURE or SUPERSTRUCTURE, in capitals."
        ),
    )


def _tell_index_types(schema: dict[str, Any]) -> None:
    """When the document is made: to list the types, all their kernels are loaded."""
    schema["description"] = (
        f"One of {', '.join(rest_names(known()))}; or a type that another distribution adds, by"
        " its name or number."
    )


class NewIndex(RequestBody):
    model_config = ConfigDict(
        strict=True,
        json_schema_extra={"examples": [{"index_type": "IVFFLAT", "params": {"nlist": 4096}}]},
    )
    index_type: str = Field(json_schema_extra=_tell_index_types)
    params: dict[str, Any] = Field(description="Build parameters; `{}` for FLAT.")


class PartitionTag(RequestBody):
    model_config = ConfigDict(
        strict=True, extra="forbid", json_schema_extra={"examples": [{"partition_tag": "summer"}]}
    )
    partition_tag: str


class NewRows(RequestBody):
    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "examples": [
                {
                    "vectors": [[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]],
                    "ids": ["1", "2"],
                    "partition_tag": "summer",
                }
            ]
        },
    )
    vectors: Vectors
    ids: Ids | None = Field(
        None, description="One for each vector; left out to have them generated."
    )
    partition_tag: str | None = None


class Search(RequestBody):
    topk: int = Field(description=f"1 to {TOPK_MAX}.")
    params: dict[str, Any] = Field(description="Search parameters of the index; `{}` for FLAT.")
    vectors: Vectors | None = None
    ids: Ids | None = Field(
        None, description="Search for the neighbours of stored rows; wins over `vectors`."
    )
    partition_tags: list[str] | None = Field(
        None, description="Tags, or regular expressions over whole tags."
    )
    file_ids: list[str] | None = Field(
        None, description="Segments to search in: names, or numbers from 1."
    )


class Delete(RequestBody):
    ids: Ids
    partition_tag: str | None = None


class RowsTask(RequestBody):
    """Either member; `delete` wins."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "examples": [
                {
                    "search": {
                        "topk": 10,
                        "params": {"nprobe": 16},
                        "vectors": [[0.1, 0.2, 0.3, 0.4]],
                    }
                },
                {"delete": {"ids": ["1", "2"]}},
            ]
        },
    )
    search: Search | None = None
    delete: Delete | None = None


class Scope(RequestBody):
    collection_name: str
    partition_tags: list[str] | None = None


class Flush(RequestBody):
    collection_names: list[str] = Field(description="Empty: all of them.")


class Compact(RequestBody):
    collection_name: str


class SystemTask(RequestBody):
    """One member; of several the first in this order counts."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "examples": [
                {"load": {"collection_name": "films"}},
                {"flush": {"collection_names": ["films"]}},
                {"compact": {"collection_name": "films"}},
                {"release": {"collection_name": "films"}},
            ]
        },
    )
    load: Scope | None = None
    flush: Flush | None = None
    compact: Compact | None = None
    release: Scope | None = None


class AdvancedConfig(RequestBody):
    model_config = ConfigDict(strict=True, extra="forbid")
    cpu_cache_capacity: int = Field(4, description="GiB, cache.cache_size.")
    cache_insert_data: bool = Field(False, description="cache.cache_insert_data")
    use_blas_threshold: int = Field(1100, description="engine_config.use_blas_threshold")


BODIES: tuple[type[RequestBody], ...] = (
    NewCollection,
    NewIndex,
    PartitionTag,
    NewRows,
    RowsTask,
    SystemTask,
    AdvancedConfig,
)


def parse(
    raw: bytes | bytearray,
    model: type[B],
    refusals: Mapping[str, type[RequestRefused]] | None = None,
) -> B:
    """The body as `model`. `refusals` names, by field, the error for a value of the wrong type.

    Raises:
        FieldMissing: nothing was sent, or a field is missing or null.
        IllegalBody: an unknown field, or no object.
        BodyUnparsable: no JSON, or a value of the wrong type.
    """
    return checked(parse_json(raw), model, refusals)


def parse_json(raw: bytes | bytearray) -> Any:
    """Any JSON value.

    Raises:
        FieldMissing, BodyUnparsable: as `parse`.
    """
    if not raw:
        raise FieldMissing("Request payload is empty.")
    try:
        return orjson.loads(raw)
    except ValueError as error:
        raise BodyUnparsable(f"The body is no JSON: {error}") from None


def checked(
    value: Any, model: type[B], refusals: Mapping[str, type[RequestRefused]] | None = None
) -> B:
    """As `parse`, of a JSON value."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise _refusal(error, refusals or {}) from None


def _refusal(
    error: ValidationError, refusals: Mapping[str, type[RequestRefused]]
) -> RequestRefused:
    first = error.errors(include_url=False, include_context=False)[0]
    where = [str(part) for part in first["loc"]]
    name = ".".join(where)
    if not where:
        return IllegalBody("The body must be a JSON object.")
    if first["type"] == "missing" or first["input"] is None:
        return FieldMissing(f"Field '{name}' miss.")
    if first["type"] == "extra_forbidden":
        return IllegalBody(f"Unknown field '{name}'.")
    refusal = next((refusals[part] for part in where if part in refusals), BodyUnparsable)
    return refusal(f"Field '{name}': {first['msg']}.")
