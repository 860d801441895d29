"""`Prepare`: requests as protobuf messages, for programs that make them once and send them often
(5.6).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from milvine.client import checks, requests
from milvine.types import IndexType, MetricType
from milvine.wire import packed, schema


class Prepare:
    """One method for each kind of request; each returns its message of `milvus.proto`.

    `Milvus.insert(None, None, insert_param=Prepare.insert_param(...))` sends such a message as it
    is. Arguments are those of the methods of `Milvus`, and so are the errors: `ParamError` for
    vectors or ids that are none.
    """

    @classmethod
    def collection_name(cls, collection_name: str) -> Any:
        return _message("HasCollection", requests.collection(collection_name))

    @classmethod
    def collection_schema(
        cls,
        collection_name: str,
        dimension: int,
        index_file_size: int,
        metric_type: MetricType | int,
        param: Any,
    ) -> Any:
        """`param` holds further keys, for `extra_params`; None or empty for none."""
        request = requests.collection_schema(
            collection_name,
            dimension,
            index_file_size,
            checks.metric_type(metric_type),
            param or {},
        )
        return _message("CreateCollection", request)

    @classmethod
    def preload_param(cls, collection_name: str, partition_tags: Sequence[str] | None) -> Any:
        return _message(
            "PreloadCollection", requests.preload(collection_name, list(partition_tags or ()))
        )

    @classmethod
    def release_param(cls, collection_name: str, partition_tags: Sequence[str] | None) -> Any:
        return _message(
            "ReleaseCollection", requests.preload(collection_name, list(partition_tags or ()))
        )

    @classmethod
    def reload_param(cls, collection_name: str, segment_ids: Sequence[str]) -> Any:
        return _message("ReloadSegments", requests.segments(collection_name, segment_ids))

    @classmethod
    def insert_param(
        cls,
        collection_name: str,
        vectors: Any,
        partition_tag: str | None,
        ids: Any = None,
        params: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """`partition_tag` None is the default partition. Other keywords are ignored, as in 1.x."""
        given = None if ids is None else checks.ids(ids)
        tag = checks.tag(partition_tag, optional=True)
        request = requests.insert(
            collection_name, checks.vectors(vectors), given, tag, params or {}
        )
        return _message("Insert", request)

    @classmethod
    def index_param(
        cls, collection_name: str, index_type: IndexType | int, params: Mapping[str, Any] | None
    ) -> Any:
        return _message(
            "CreateIndex",
            requests.index(collection_name, checks.index_type(index_type), params or {}),
        )

    @classmethod
    def search_param(
        cls,
        collection_name: str,
        topk: int,
        query_records: Any,
        partitions: Sequence[str] | None,
        params: Mapping[str, Any] | None,
    ) -> Any:
        vectors = checks.vectors(query_records)
        return _message(
            "Search",
            requests.search(collection_name, vectors, topk, list(partitions or ()), params or {}),
        )

    @classmethod
    def search_vector_in_files_param(
        cls,
        collection_name: str,
        query_records: Any,
        topk: int,
        ids: Sequence[Any],
        params: Mapping[str, Any] | None,
    ) -> Any:
        """`ids` are those of segments."""
        files, vectors = [str(file) for file in ids], checks.vectors(query_records)
        return _message(
            "SearchInFiles",
            requests.search_in_files(collection_name, files, vectors, topk, params or {}),
        )

    @classmethod
    def cmd(cls, cmd: str) -> Any:
        return _message("Cmd", requests.command(cmd))

    @classmethod
    def partition_param(cls, collection_name: str, tag: str) -> Any:
        return _message("CreatePartition", requests.partition(collection_name, tag))

    @classmethod
    def delete_by_id_param(
        cls, collection_name: str, id_array: Any, partition_tag: str | None = None
    ) -> Any:
        tag = checks.tag(partition_tag, optional=True)
        return _message("DeleteByID", requests.entities(collection_name, checks.ids(id_array), tag))

    @classmethod
    def flush_param(cls, collection_names: Sequence[str]) -> Any:
        return _message("Flush", requests.flush(collection_names))

    @classmethod
    def compact_param(cls, collection_name: str) -> Any:
        return _message("Compact", requests.collection(collection_name))


def _message(rpc: str, request: bytes) -> Any:
    return packed.parse(schema.METHODS[rpc][0], request)
