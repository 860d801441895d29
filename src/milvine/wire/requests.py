"""Requests that carry rows or many ids, between bytes and numpy. Imported through
`milvine.wire.packed`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from milvine.types import Ids, Vectors
from milvine.wire import schema
from milvine.wire.buffers import join
from milvine.wire.row_records import NO_ROWS, Irregular, Rows, rows_field, rows_of_records
from milvine.wire.search_template import SearchTemplates
from milvine.wire.varint import encode_int64s
from milvine.wire.walk import (
    BYTES,
    VARINT,
    Walk,
    bytes_field,
    decode,
    int64s_of,
    joined,
    once,
    packed_field,
    parse,
    varint_field,
)

_FLOATS = np.dtype("<f4")
_STRINGS_MAX = 1 << 16  # in one list; more are for the protobuf runtime, which counts them first
_PARAMS = "params"  # the one key of extra_params that means something in 1.x (specification 2.1)
IDEMPOTENCY_KEY = "idempotency_key"
"""Milvine's own: in the extra_params of an insert, a text that is the same when it is sent again.
"""
FEATURES = "features"
"""Milvine's own word for Cmd: what the server has beyond 1.x, IDEMPOTENCY_KEY if it knows what that
means.
"""


class InsertRequest(NamedTuple):
    """`ids` is empty when none were sent. `params` is the JSON text of extra_params, None when
    absent.

    `key` is the idempotency key, empty when none was sent.
    """

    collection: str
    rows: Rows
    ids: Ids
    tag: str
    params: str | None
    key: str = ""


class SearchRequest(NamedTuple):
    collection: str
    tags: tuple[str, ...]
    rows: Rows
    topk: int
    params: str | None


class SearchInFilesRequest(NamedTuple):
    files: tuple[str, ...]
    search: SearchRequest


class IdsRequest(NamedTuple):
    """VectorsIdentity and DeleteByIDParam, which are the same on the wire."""

    collection: str
    ids: Ids
    tag: str


def _params_of(pairs: Sequence[Any], key: str = _PARAMS) -> str | None:
    return next((str(pair.value) for pair in reversed(pairs) if pair.key == key), None)


def _key_of(pairs: Sequence[Any]) -> str:
    return _params_of(pairs, IDEMPOTENCY_KEY) or ""


def _pair(walk: Walk, pairs: list[Any]) -> None:
    if len(pairs) >= 64:
        raise Irregular
    pairs.append(parse(schema.KeyValuePair, bytes(walk.payload())))


def decode_insert(data: bytes) -> InsertRequest:
    """InsertParam."""
    return decode(_fast_insert, _slow_insert, schema.InsertParam, data)


def _fast_insert(walk: Walk) -> InsertRequest:
    collection, rows, tag = "", NO_ROWS, ""
    ids: list[Ids] = []
    pairs: list[Any] = []
    for field in walk.fields():
        if field == (2, BYTES):
            once(rows)
            rows = walk.rows()
        elif field == (3, BYTES):
            ids.append(walk.int64s())
        elif field == (1, BYTES):
            collection = walk.text()
        elif field == (4, BYTES):
            tag = walk.text()
        elif field == (5, BYTES):
            _pair(walk, pairs)
        else:
            raise Irregular
    return InsertRequest(
        collection, rows, joined(ids, np.int64), tag, _params_of(pairs), _key_of(pairs)
    )


def _slow_insert(message: Any) -> InsertRequest:
    rows = rows_of_records(message.row_record_array)
    pairs, ids = message.extra_params, int64s_of(message.row_id_array)
    tag = message.partition_tag
    return InsertRequest(message.collection_name, rows, ids, tag, _params_of(pairs), _key_of(pairs))


SINGLE: SearchTemplates[SearchRequest] = SearchTemplates()
"""Searches of one vector that were decoded before."""


def decode_search(data: bytes) -> SearchRequest:
    """SearchParam."""
    found = SINGLE.find(data)
    if found is not None:
        like, vectors = found
        return SearchRequest(
            like.collection, like.tags, Rows(1, vectors.size, vectors), like.topk, like.params
        )
    wanted = decode(_fast_search, _slow_search, schema.SearchParam, data)
    if wanted.rows.count == 1:
        SINGLE.keep(
            data, SearchRequest(wanted.collection, wanted.tags, NO_ROWS, wanted.topk, wanted.params)
        )
    return wanted


def _fast_search(walk: Walk) -> SearchRequest:
    collection, rows, topk = "", NO_ROWS, 0
    tags: list[str] = []
    pairs: list[Any] = []
    for field in walk.fields():
        if field == (3, BYTES):
            once(rows)
            rows = walk.rows()
        elif field == (1, BYTES):
            collection = walk.text()
        elif field == (2, BYTES):
            tags.append(walk.text())
        elif field == (4, VARINT):
            topk = walk.varint()
        elif field == (5, BYTES):
            _pair(walk, pairs)
        else:
            raise Irregular
        if len(tags) > _STRINGS_MAX:
            raise Irregular
    return SearchRequest(collection, tuple(tags), rows, topk, _params_of(pairs))


def _slow_search(message: Any) -> SearchRequest:
    rows, params = rows_of_records(message.query_record_array), _params_of(message.extra_params)
    return SearchRequest(
        message.collection_name, tuple(message.partition_tag_array), rows, message.topk, params
    )


def decode_search_in_files(data: bytes) -> SearchInFilesRequest:
    """SearchInFilesParam."""
    return decode(_fast_search_in_files, _slow_search_in_files, schema.SearchInFilesParam, data)


def _fast_search_in_files(walk: Walk) -> SearchInFilesRequest:
    files: list[str] = []
    search: SearchRequest | None = None
    for field in walk.fields():
        if field == (1, BYTES) and len(files) < _STRINGS_MAX:
            files.append(walk.text())
        elif field == (2, BYTES) and search is None:
            search = _fast_search(Walk(bytes(walk.payload())))
        else:
            raise Irregular
    if search is None:
        raise Irregular
    return SearchInFilesRequest(tuple(files), search)


def _slow_search_in_files(message: Any) -> SearchInFilesRequest:
    return SearchInFilesRequest(tuple(message.file_id_array), _slow_search(message.search_param))


def decode_ids_request(data: bytes) -> IdsRequest:
    """VectorsIdentity or DeleteByIDParam."""
    return decode(_fast_ids_request, _slow_ids_request, schema.VectorsIdentity, data)


def _fast_ids_request(walk: Walk) -> IdsRequest:
    collection, tag = "", ""
    ids: list[Ids] = []
    for field in walk.fields():
        if field == (2, BYTES):
            ids.append(walk.int64s())
        elif field == (1, BYTES):
            collection = walk.text()
        elif field == (3, BYTES):
            tag = walk.text()
        else:
            raise Irregular
    return IdsRequest(collection, joined(ids, np.int64), tag)


def _slow_ids_request(message: Any) -> IdsRequest:
    return IdsRequest(message.collection_name, int64s_of(message.id_array), message.partition_tag)


@lru_cache(maxsize=64)  # a program searches with the same few parameters
def _pair_field(params: str | None, key: str = _PARAMS) -> bytes:
    if params is None:
        return b""
    return bytes_field(5, schema.KeyValuePair(key=key, value=params).SerializeToString())


def encode_insert(
    collection: str,
    vectors: Vectors,
    ids: Ids | None = None,
    tag: str = "",
    params: str | None = None,
    key: str = "",
) -> bytes:
    """InsertParam of `vectors` (rows, width): uint8 is sent as binary rows, any other dtype as
    float32.
    """
    parts = [bytes_field(1, collection), rows_field(2, vectors)]
    parts += [] if ids is None else packed_field(3, encode_int64s(ids))
    parts += [bytes_field(4, tag), _pair_field(params), _pair_field(key or None, IDEMPOTENCY_KEY)]
    return join(parts)


def encode_search(
    collection: str,
    vectors: Vectors,
    topk: int,
    tags: Sequence[str] = (),
    params: str | None = None,
) -> bytes:
    """SearchParam of `vectors` (nq, width); dtypes as in `encode_insert`."""
    if len(vectors) == 1 and vectors.size and vectors.dtype == _FLOATS:
        before, after = _around_one(collection, vectors.shape[1], topk, tuple(tags), params)
        return before + vectors.tobytes() + after
    return _encode_search(collection, vectors, topk, tags, params)


@lru_cache(maxsize=256)  # a program asks for the same, with one vector after the other
def _around_one(
    collection: str, width: int, topk: int, tags: tuple[str, ...], params: str | None
) -> tuple[bytes, bytes]:
    """What lies before and behind the numbers of the one vector."""
    marks = np.full((1, width), np.nan, _FLOATS)  # holds bytes that no text does
    whole = _encode_search(collection, marks, topk, tags, params)
    before = whole.index(marks.tobytes())
    return whole[:before], whole[before + marks.nbytes :]


def _encode_search(
    collection: str, vectors: Vectors, topk: int, tags: Sequence[str], params: str | None
) -> bytes:
    parts = [bytes_field(1, collection), *(bytes_field(2, tag, always=True) for tag in tags)]
    parts += [rows_field(3, vectors), varint_field(4, topk), _pair_field(params)]
    return join(parts)


def encode_ids_request(collection: str, ids: Ids, tag: str = "") -> bytes:
    """VectorsIdentity or DeleteByIDParam."""
    return b"".join(
        [bytes_field(1, collection), *packed_field(2, encode_int64s(ids)), bytes_field(3, tag)]
    )
