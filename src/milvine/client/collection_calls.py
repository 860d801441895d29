"""The methods of `Milvus` about whole collections and their partitions: made, looked at, brought
into memory, dropped.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from milvine.client import checks, replies, requests
from milvine.client.connection import Connection, Seconds
from milvine.client.exceptions import ParamError
from milvine.client.keywords import missing, unknown_keys
from milvine.client.results import PartitionParam
from milvine.client.status import Status
from milvine.limits import INDEX_FILE_SIZE_DEFAULT_MB
from milvine.types import MetricType

_KEYS = ("collection_name", "dimension", "index_file_size", "metric_type")


class CollectionCalls(Connection):
    """A client as far as it deals with collections as a whole, not with their rows and indexes."""

    # collections

    def create_collection(self, param: dict[str, Any], timeout: Seconds = 30) -> Status:
        """A new collection.

        `param`: collection_name; dimension, 1 to 32768; index_file_size in MB, 1 to 4096, default
        1024; metric_type, default `MetricType.L2`. Other keys are sent as they are, without effect
        here, and warned of.
        """
        request = requests.collection_schema(*schema_of(param))
        unknown_keys("create_collection", param, _KEYS)
        return self._status(replies.CREATE_COLLECTION, request, timeout)

    def has_collection(self, collection_name: str, timeout: Seconds = 30) -> tuple[Status, bool]:
        return self._pair(replies.HAS_COLLECTION, named(collection_name), timeout)

    def get_collection_info(
        self, collection_name: str, timeout: Seconds = 30
    ) -> tuple[Status, Any]:
        """A `CollectionSchema`."""
        return self._pair(replies.DESCRIBE_COLLECTION, named(collection_name), timeout)

    def count_entities(self, collection_name: str, timeout: Seconds = 30) -> tuple[Status, Any]:
        """Number of rows in all partitions."""
        return self._pair(replies.COUNT_COLLECTION, named(collection_name), timeout)

    def list_collections(self, timeout: Seconds = 30) -> tuple[Status, list[str]]:
        """Names in order of creation."""
        return self._pair(replies.SHOW_COLLECTIONS, requests.command("show_collections"), timeout)

    def get_collection_stats(
        self, collection_name: str, timeout: Seconds = 30
    ) -> tuple[Status, Any]:
        """A dict of rows, partitions and segments with their sizes in bytes."""
        return self._pair(replies.SHOW_COLLECTION_INFO, named(collection_name), timeout)

    def drop_collection(self, collection_name: str, timeout: Seconds = 30) -> Status:
        return self._status(replies.DROP_COLLECTION, named(collection_name), timeout)

    def load_collection(
        self,
        collection_name: str,
        partition_tags: Sequence[str] | float | None = None,
        timeout: Seconds = None,
    ) -> Status:
        """Reads a collection into memory ahead of its first search. In 0.2.14 the second argument
        was the timeout.
        """
        if isinstance(partition_tags, int | float):
            warnings.warn(
                "load_collection: name the timeout, as in timeout=30",
                DeprecationWarning,
                stacklevel=2,
            )
            partition_tags, timeout = None, partition_tags
        return self._status(replies.PRELOAD, _preload(collection_name, partition_tags), timeout)

    def release_collection(
        self,
        collection_name: str,
        partition_tags: Sequence[str] | None = None,
        timeout: Seconds = None,
    ) -> Status:
        """Lets memory go; searches still work."""
        return self._status(replies.RELEASE, _preload(collection_name, partition_tags), timeout)

    def reload_segments(
        self, collection_name: str, segment_ids: Sequence[str], timeout: Seconds = None
    ) -> Status:
        names = checks.segments(segment_ids)
        request = requests.segments(checks.name(collection_name), names)
        return self._status(replies.RELOAD_SEGMENTS, request, timeout)

    # partitions

    def create_partition(
        self, collection_name: str, partition_tag: str, timeout: Seconds = 30
    ) -> Status:
        return self._status(
            replies.CREATE_PARTITION, _partition(collection_name, partition_tag), timeout
        )

    def has_partition(
        self, collection_name: str, partition_tag: str, timeout: Seconds = 30
    ) -> tuple[Status, bool]:
        return self._pair(
            replies.HAS_PARTITION, _partition(collection_name, partition_tag), timeout
        )

    def list_partitions(
        self, collection_name: str, timeout: Seconds = 30
    ) -> tuple[Status, list[PartitionParam]]:
        """`_default` first, then in order of creation."""
        return self._pair(replies.show_partitions(collection_name), named(collection_name), timeout)

    def drop_partition(
        self, collection_name: str, partition_tag: str, timeout: Seconds = 30
    ) -> Status:
        """Drops a partition with its rows."""
        return self._status(
            replies.DROP_PARTITION, _partition(collection_name, partition_tag), timeout
        )


def schema_of(param: Any) -> tuple[str, int, int, MetricType, dict[str, Any]]:
    """(collection_name, dimension, index_file_size in MB, metric, surplus keys) of
    create_collection's dict.
    """
    if not isinstance(param, dict):
        raise ParamError(f"Param type incorrect, expect {dict} but get {type(param)} instead")
    rest = dict(param)
    for key in ("collection_name", "dimension"):
        if key not in rest:
            raise missing(key, rest, _KEYS)
    return (
        checks.name(rest.pop("collection_name")),
        checks.integer(rest.pop("dimension"), "dimension"),
        checks.integer(rest.pop("index_file_size", INDEX_FILE_SIZE_DEFAULT_MB), "index_file_size"),
        checks.metric_type(rest.pop("metric_type", MetricType.L2)),
        rest,
    )


def named(collection_name: Any) -> bytes:
    return requests.collection(checks.name(collection_name))


def _partition(collection_name: Any, partition_tag: Any) -> bytes:
    return requests.partition(checks.name(collection_name), checks.tag(partition_tag))


def _preload(collection_name: Any, partition_tags: Sequence[str] | None) -> bytes:
    tags = checks.texts(partition_tags, "partition_tags")
    return requests.preload(checks.name(collection_name), tags)
