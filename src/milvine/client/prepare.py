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
    """One method for each kind of request; each returns its message of `milvus.proto`
    (specification 1.4, 5.6).

    `Milvus.insert(None, None, insert_param=Prepare.insert_param(...))` sends such a message as it
    is. Nothing is asked of a server here. Arguments are those of the methods of `Milvus`, but a
    name may be empty; what is out of range the server will refuse.

    Raises:
        ParamError: an argument of another type, vectors or ids that are none, parameters that JSON
            does not have.
    """

    @classmethod
    def collection_name(cls, collection_name: str) -> Any:
        """`CollectionName`: for has, describe, count and drop collection, describe and drop
        index.
        """
        return _message("HasCollection", requests.collection(_name(collection_name)))

    @classmethod
    def collection_schema(
        cls,
        collection_name: str,
        dimension: int,
        index_file_size: int,
        metric_type: MetricType | int,
        param: Any,
    ) -> Any:
        """`CollectionSchema`: `dimension` 1 to 32768, `index_file_size` in MB, 1 to 4096. `param`
        is a dict of further keys, for `extra_params`; None or empty for none.
        """
        request = requests.collection_schema(
            _name(collection_name),
            checks.integer(dimension, "dimension"),
            checks.integer(index_file_size, "index_file_size"),
            checks.metric_type(metric_type),
            checks.params(param),
        )
        return _message("CreateCollection", request)

    @classmethod
    def preload_param(cls, collection_name: str, partition_tags: Sequence[str] | None) -> Any:
        """`PreloadCollectionParam`, for load_collection; no tags for all partitions."""
        return _message("PreloadCollection", _preload(collection_name, partition_tags))

    @classmethod
    def release_param(cls, collection_name: str, partition_tags: Sequence[str] | None) -> Any:
        """`PreloadCollectionParam`, for release_collection."""
        return _message("ReleaseCollection", _preload(collection_name, partition_tags))

    @classmethod
    def reload_param(cls, collection_name: str, segment_ids: Sequence[str]) -> Any:
        """`ReLoadSegmentsParam`: names of segments, as str or numbers."""
        names = checks.segments(segment_ids)
        return _message("ReloadSegments", requests.segments(_name(collection_name), names))

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
        """`InsertParam`: vectors and ids as of `Milvus.insert`. `partition_tag` None is the
        default partition. Other keywords are ignored, as in 1.x.
        """
        given = None if ids is None else checks.ids(ids)
        tag = checks.tag(partition_tag, optional=True)
        name, rows = _name(collection_name), checks.vectors(vectors)
        return _message("Insert", requests.insert(name, rows, given, tag, checks.params(params)))

    @classmethod
    def index_param(
        cls, collection_name: str, index_type: IndexType | int, params: Mapping[str, Any] | None
    ) -> Any:
        """`IndexParam`: parameters of the index, such as `{"nlist": 16384}`; None is none."""
        name, kind = _name(collection_name), checks.index_type(index_type)
        return _message("CreateIndex", requests.index(name, kind, checks.params(params)))

    @classmethod
    def search_param(
        cls,
        collection_name: str,
        topk: int,
        query_records: Any,
        partitions: Sequence[str] | None,
        params: Mapping[str, Any] | None,
    ) -> Any:
        """`SearchParam`: queries as of `Milvus.search`, `topk` 1 to 16384; no `partitions` for
        all.
        """
        k, vectors = checks.topk(topk), checks.vectors(query_records)
        tags = checks.texts(partitions, "partition_tag_array")
        name, given = _name(collection_name), checks.params(params)
        return _message("Search", requests.search(name, vectors, k, tags, given))

    @classmethod
    def search_vector_in_files_param(
        cls,
        collection_name: str,
        query_records: Any,
        topk: int,
        ids: Sequence[Any],
        params: Mapping[str, Any] | None,
    ) -> Any:
        """`SearchInFilesParam`: `ids` are those of segments, as str or numbers."""
        k, vectors = checks.topk(topk), checks.vectors(query_records)
        files, name = checks.segments(ids, "ids"), _name(collection_name)
        request = requests.search_in_files(name, files, vectors, k, checks.params(params))
        return _message("SearchInFiles", request)

    @classmethod
    def cmd(cls, cmd: str) -> Any:
        """`Command`, such as `version`."""
        return _message("Cmd", requests.command(checks.text(cmd, "cmd")))

    @classmethod
    def partition_param(cls, collection_name: str, tag: str) -> Any:
        """`PartitionParam`, for create, has and drop partition."""
        request = requests.partition(_name(collection_name), checks.tag(tag))
        return _message("CreatePartition", request)

    @classmethod
    def delete_by_id_param(
        cls, collection_name: str, id_array: Any, partition_tag: str | None = None
    ) -> Any:
        """`DeleteByIDParam`: ids as of `Milvus.insert`; no tag for all partitions."""
        tag = checks.tag(partition_tag, optional=True)
        request = requests.entities(_name(collection_name), checks.ids(id_array), tag)
        return _message("DeleteByID", request)

    @classmethod
    def flush_param(cls, collection_names: Sequence[str]) -> Any:
        """`FlushParam`: an empty list for all collections."""
        names = checks.texts(collection_names, "collection_names")
        return _message("Flush", requests.flush(names))

    @classmethod
    def compact_param(cls, collection_name: str) -> Any:
        """`CollectionName`."""
        return _message("Compact", requests.collection(_name(collection_name)))


def _name(collection_name: Any) -> str:
    """As a program may have it before it knows the name: it can be empty."""
    return checks.text(collection_name, "collection_name")


def _preload(collection_name: Any, partition_tags: Any) -> bytes:
    tags = checks.texts(partition_tags, "partition_tags")
    return requests.preload(_name(collection_name), tags)


def _message(rpc: str, request: bytes) -> Any:
    return packed.parse(schema.METHODS[rpc][0], request)
