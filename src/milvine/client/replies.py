"""Replies from bytes: one reader for each kind, and for each rpc one row that says what its
`Status` tells.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from milvine.client.results import CollectionSchema, IndexParam, PartitionParam, TopKQueryResult
from milvine.client.status import Status
from milvine.client.transports.base import TransportFailed
from milvine.types import IndexType, MetricType
from milvine.wire import packed, schema
from milvine.wire.status import read_status
from milvine.wire.walk import SMALL

T = TypeVar("T")
_NOTHING = type(None)


@dataclass(frozen=True, slots=True)
class Reply(Generic[T]):
    code: int
    reason: str
    value: T


@dataclass(frozen=True, slots=True)
class Rpc(Generic[T]):
    """An rpc as its caller sees it (specification 5.4).

    `message` replaces the server's reason on success. Calling `refused` makes the value beside an
    error of the server, `unanswered` the one beside an error of the call.
    """

    method: str
    read: Callable[[bytes], Reply[T]]
    message: str | None = None
    refused: Callable[[], Any] = _NOTHING
    unanswered: Callable[[], Any] = _NOTHING

    def pair(self, data: bytes) -> tuple[Status, Any]:
        return self.pair_of(self.read(data))

    def pair_of(self, reply: Reply[T]) -> tuple[Status, Any]:
        if reply.code:
            return Status(reply.code, reply.reason), self.refused()
        return Status(
            Status.SUCCESS, reply.reason if self.message is None else self.message
        ), reply.value

    def status(self, data: bytes) -> Status:
        return self.pair(data)[0]


def failed(error: TransportFailed) -> Status:
    """The status of a call that got no reply: its code is a `grpc.StatusCode`."""
    return Status(error.code(), f"Error occurred. {error.details()}")


def _parsed(message_class: Any, data: bytes, value_of: Callable[[Any], T]) -> Reply[T]:
    message = packed.parse(message_class, data)
    return Reply(*read_status(message), value_of(message))


def _plain(data: bytes) -> Reply[None]:
    return _parsed(schema.Status, data, lambda message: None)


def _bool(data: bytes) -> Reply[bool]:
    return _parsed(schema.BoolReply, data, lambda message: bool(message.bool_reply))


def _text(data: bytes) -> Reply[str]:
    return _parsed(schema.StringReply, data, lambda message: str(message.string_reply))


def _count(data: bytes) -> Reply[int]:
    return _parsed(
        schema.CollectionRowCount, data, lambda message: int(message.collection_row_count)
    )


def _names(data: bytes) -> Reply[list[str]]:
    return _parsed(schema.CollectionNameList, data, lambda message: list(message.collection_names))


def _stats(data: bytes) -> Reply[dict[str, Any]]:
    return _parsed(
        schema.CollectionInfo, data, lambda message: json.loads(message.json_info or "{}")
    )


def _schema(data: bytes) -> Reply[CollectionSchema]:
    return _parsed(schema.CollectionSchema, data, _schema_of)


def _schema_of(message: Any) -> CollectionSchema:
    metric = MetricType(message.metric_type)
    return CollectionSchema(
        message.collection_name, message.dimension, message.index_file_size, metric
    )


def _index(data: bytes) -> Reply[IndexParam]:
    return _parsed(schema.IndexParam, data, _index_of)


def _index_of(message: Any) -> IndexParam:
    params = _params_of(message.extra_params)
    return IndexParam(message.collection_name, IndexType(message.index_type), params)


def _params_of(pairs: Sequence[Any]) -> dict[str, Any]:
    text = next((pair.value for pair in pairs if pair.key == "params"), "")
    value = json.loads(text or "{}")
    return value if isinstance(value, dict) else {}


def ids(reply: packed.IdsReply) -> Reply[list[int]]:
    return Reply(reply.code, reply.reason, reply.ids.tolist())


def _ids(data: bytes) -> Reply[list[int]]:
    return ids(packed.decode_ids(data))


def _entities(data: bytes) -> Reply[list[Any]]:
    """One entry per id: list of float, or bytes; an empty list where there is no such id."""
    reply = packed.decode_vectors(data)
    binary = reply.vectors.dtype.kind == "u"
    rows: list[Any] = [row.tobytes() for row in reply.vectors] if binary else reply.vectors.tolist()
    return Reply(
        reply.code,
        reply.reason,
        [row if found else [] for row, found in zip(rows, reply.found, strict=True)],
    )


def hits(reply: packed.HitsReply) -> Reply[TopKQueryResult]:
    return Reply(
        reply.code, reply.reason, TopKQueryResult.of(reply.row_num, reply.ids, reply.distances)
    )


def _hits(data: bytes) -> Reply[TopKQueryResult]:
    if len(data) > SMALL:
        return hits(packed.decode_hits(data))
    # As lists: they cost less here than arrays, and are mostly what callers look at.
    return _parsed(
        schema.TopKQueryResult,
        data,
        lambda few: TopKQueryResult.of(few.row_num, few.ids[:], few.distances[:]),
    )


CREATE_COLLECTION = Rpc("CreateCollection", _plain, "Create collection successfully!")
HAS_COLLECTION = Rpc("HasCollection", _bool, "Success", bool, bool)
DESCRIBE_COLLECTION = Rpc("DescribeCollection", _schema, "Describe collection successfully!")
COUNT_COLLECTION = Rpc("CountCollection", _count, "Success!")
SHOW_COLLECTION_INFO = Rpc("ShowCollectionInfo", _stats, "Success")
DROP_COLLECTION = Rpc("DropCollection", _plain, "Delete collection successfully!")
CREATE_INDEX = Rpc("CreateIndex", _plain, "Build index successfully!")
DESCRIBE_INDEX = Rpc("DescribeIndex", _index, "Successfully")
DROP_INDEX = Rpc("DropIndex", _plain)
CREATE_PARTITION = Rpc("CreatePartition", _plain)
HAS_PARTITION = Rpc("HasPartition", _bool, None, bool, bool)
DROP_PARTITION = Rpc("DropPartition", _plain)
SEARCH = Rpc("Search", _hits, "Search vectors successfully!", list)
SEARCH_IN_FILES = replace(SEARCH, method="SearchInFiles")
CMD = Rpc("Cmd", _text, "Success!")
DELETE = Rpc("DeleteByID", _plain)
PRELOAD = Rpc("PreloadCollection", _plain)
RELEASE = Rpc("ReleaseCollection", _plain)
RELOAD_SEGMENTS = Rpc("ReloadSegments", _plain)
FLUSH = Rpc("Flush", _plain)
COMPACT = Rpc("Compact", _plain)
SHOW_COLLECTIONS = Rpc("ShowCollections", _names, "Show collections successfully!", list, list)
INSERT = Rpc("Insert", _ids, "Add vectors successfully!", list, list)
GET_ENTITIES = Rpc("GetVectorsByID", _entities, "Obtain vector successfully", list, list)
GET_IDS = Rpc("GetVectorIDs", _ids, "Success", list, list)

ASYNC_CREATE_INDEX = replace(CREATE_INDEX, message=None)
ASYNC_SEARCH = replace(SEARCH, message="Search successfully!", refused=_NOTHING)
ASYNC_SEARCH_IN_FILES = replace(ASYNC_SEARCH, method="SearchInFiles")


def show_partitions(collection_name: str) -> Rpc[list[PartitionParam]]:
    """ShowPartitions; its reply does not say of which collection."""

    def read(data: bytes) -> Reply[list[PartitionParam]]:
        return _parsed(schema.PartitionList, data, tags)

    def tags(message: Any) -> list[PartitionParam]:
        return [PartitionParam(collection_name, tag) for tag in message.partition_tag_array]

    return Rpc("ShowPartitions", read, "Success", list, list)
