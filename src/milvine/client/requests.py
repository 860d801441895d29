"""Requests as bytes, from arguments that were checked (specification 5.6)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from milvine.client.exceptions import ParamError
from milvine.limits import INSERT_BYTES_MAX
from milvine.types import Ids, IndexType, MetricType, Vectors
from milvine.wire import packed, schema
from milvine.wire.walk import bytes_field

_PARAMS = "params"


def _serialized(message: Any) -> bytes:
    return bytes(message.SerializeToString())


def params_json(params: Mapping[str, Any]) -> str:
    """Compact JSON; numpy scalars count as the numbers they are.

    Raises:
        ParamError: there is something in them that JSON does not have.
    """
    if all(type(key) is str and type(value) is int for key, value in params.items()):
        return _json_of_integers(tuple(params.items()))
    try:
        return _JSON.encode(params)
    except (TypeError, ValueError, RecursionError) as error:
        raise ParamError(f"Params cannot be sent as JSON: {error}") from None


@lru_cache(maxsize=256)  # a program searches with the same few parameters
def _json_of_integers(items: tuple[tuple[str, int], ...]) -> str:
    return _JSON.encode(dict(items))


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{value!r} is {type(value).__name__}")


_JSON = json.JSONEncoder(separators=(",", ":"), default=_plain)


def _pairs(params: Mapping[str, Any]) -> list[Any]:
    return [schema.KeyValuePair(key=_PARAMS, value=params_json(params))]


def _client() -> Any:
    """1.x clients send a status in two of their requests, and servers skip it."""
    return schema.Status(error_code=0, reason="Client")


def collection(name: str) -> bytes:
    return _serialized(schema.CollectionName(collection_name=name))


def collection_schema(
    name: str, dimension: int, index_file_size: int, metric: MetricType, surplus: Mapping[str, Any]
) -> bytes:
    message = schema.CollectionSchema(
        status=_client(),
        collection_name=name,
        dimension=dimension,
        index_file_size=index_file_size,
        metric_type=int(metric),
        extra_params=_pairs(surplus) if surplus else [],
    )
    return _serialized(message)


def index(name: str, index_type: IndexType, params: Mapping[str, Any]) -> bytes:
    message = schema.IndexParam(
        status=_client(),
        collection_name=name,
        index_type=int(index_type),
        extra_params=_pairs(params),
    )
    return _serialized(message)


def partition(name: str, tag: str) -> bytes:
    return _serialized(schema.PartitionParam(collection_name=name, tag=tag))


def new_key() -> str:
    """An idempotency key of 16 random bytes."""
    return os.urandom(16).hex()


def insert(
    name: str, vectors: Vectors, ids: Ids | None, tag: str, params: Mapping[str, Any], key: str = ""
) -> bytes:
    return packed.encode_insert(name, vectors, ids, tag, params_json(params), key)


def insert_parts(
    name: str, vectors: Vectors, ids: Ids | None, tag: str, params: Mapping[str, Any], key: str
) -> Iterator[bytes]:
    """As `insert`, in as many requests as it takes, each made when its turn comes, with a key of
    its own.
    """
    rows = max(1, INSERT_BYTES_MAX // vectors[:1].nbytes)
    for start in range(0, len(vectors), rows):
        part = slice(start, start + rows)
        yield insert(
            name, vectors[part], None if ids is None else ids[part], tag, params, f"{key}/{start}"
        )


def keyed_insert(message: Any, key: str) -> bytes:
    """An InsertParam as it is, with a key behind it if it has none."""
    if any(pair.key == packed.IDEMPOTENCY_KEY for pair in message.extra_params):
        return _serialized(message)
    pair = schema.KeyValuePair(key=packed.IDEMPOTENCY_KEY, value=key)
    return _serialized(message) + bytes_field(5, _serialized(pair))


def entities(name: str, ids: Ids, tag: str) -> bytes:
    """For GetVectorsByID and DeleteByID."""
    return packed.encode_ids_request(name, ids, tag)


def search(
    name: str, vectors: Vectors, topk: int, tags: Sequence[str], params: Mapping[str, Any]
) -> bytes:
    return packed.encode_search(name, vectors, topk, tags, params_json(params))


def search_in_files(
    name: str, files: Sequence[str], vectors: Vectors, topk: int, params: Mapping[str, Any]
) -> bytes:
    parts = [bytes_field(1, file, always=True) for file in files]
    return b"".join([*parts, bytes_field(2, search(name, vectors, topk, (), params))])


def segment(name: str, segment_name: str) -> bytes:
    return _serialized(schema.GetVectorIDsParam(collection_name=name, segment_name=segment_name))


def segments(name: str, segment_ids: Sequence[str]) -> bytes:
    return _serialized(
        schema.ReLoadSegmentsParam(collection_name=name, segment_id_array=segment_ids)
    )


def preload(name: str, tags: Sequence[str]) -> bytes:
    """For PreloadCollection and ReleaseCollection."""
    return _serialized(
        schema.PreloadCollectionParam(collection_name=name, partition_tag_array=tags)
    )


def flush(names: Sequence[str]) -> bytes:
    return _serialized(schema.FlushParam(collection_name_array=names))


def command(text: str) -> bytes:
    """For Cmd, and for ShowCollections, which ignores the text."""
    return _serialized(schema.Command(cmd=text))
