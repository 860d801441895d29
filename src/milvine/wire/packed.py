"""The messages that carry rows or many ids, between bytes and numpy, without a Python object per
number.

`decode_*` walk the bytes themselves; on anything irregular (rows of different lengths, numbers sent
unpacked, unknown fields, lengths that lie) the protobuf runtime decides, so what is accepted and
what a repeated field means is its business alone. `encode_*` write what it would write. Every
`decode_*` raises `Malformed` for bytes that are no such message, and nothing else.
"""

from __future__ import annotations

from milvine.wire.replies import (
    HitsReply,
    IdsReply,
    VectorsReply,
    decode_hits,
    decode_ids,
    decode_vectors,
    encode_hits,
    encode_ids,
    encode_vectors,
)
from milvine.wire.requests import (
    FEATURES,
    IDEMPOTENCY_KEY,
    IdsRequest,
    InsertRequest,
    SearchInFilesRequest,
    SearchRequest,
    decode_ids_request,
    decode_insert,
    decode_search,
    decode_search_in_files,
    encode_ids_request,
    encode_insert,
    encode_search,
)
from milvine.wire.row_records import Rows
from milvine.wire.varint import Malformed
from milvine.wire.walk import parse

__all__ = [
    "FEATURES",
    "IDEMPOTENCY_KEY",
    "HitsReply",
    "IdsReply",
    "IdsRequest",
    "InsertRequest",
    "Malformed",
    "Rows",
    "SearchInFilesRequest",
    "SearchRequest",
    "VectorsReply",
    "decode_hits",
    "decode_ids",
    "decode_ids_request",
    "decode_insert",
    "decode_search",
    "decode_search_in_files",
    "decode_vectors",
    "encode_hits",
    "encode_ids",
    "encode_ids_request",
    "encode_insert",
    "encode_search",
    "encode_vectors",
    "parse",
]
