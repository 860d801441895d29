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
        """Makes a collection, durable when the call returns (specification 3.1, 5.5).

        Args:
            param: a dict, left as it is. `collection_name`: see `Milvus`. `dimension`: an int from
                1 to 32768, for binary metrics a multiple of 8. `index_file_size`: an int, the MB
                from which on segments are merged no further and indexed, 1 to 4096, default 1024.
                `metric_type`: a `MetricType` or its number, default L2. Other keys are sent as
                they are, without effect here, and warned of.
            timeout: seconds, see `Milvus`.

        Returns:
            Status. Codes 7 ILLEGAL_DIMENSION, 5 ILLEGAL_ARGUMENT for the file size, 9
            ILLEGAL_COLLECTION_NAME for a name that is none or is taken, besides those of every
            call.

        Raises:
            ParamError: no dict, a required key is missing (one that looks like it is named), a
                value of another type; else as every call.
        """
        request = requests.collection_schema(*schema_of(param))
        unknown_keys("create_collection", param, _KEYS)
        return self._status(replies.CREATE_COLLECTION, request, timeout)

    def has_collection(self, collection_name: str, timeout: Seconds = 30) -> tuple[Status, bool]:
        """Whether there is such a collection (specification 3.2).

        Args:
            collection_name: see `Milvus`.
            timeout: seconds, see `Milvus`.

        Returns:
            (Status, bool). That there is none is no error; False also with any status not OK.

        Raises:
            ParamError: the name is no str, or is empty; else as every call.
        """
        return self._pair(replies.HAS_COLLECTION, named(collection_name), timeout)

    def get_collection_info(
        self, collection_name: str, timeout: Seconds = 30
    ) -> tuple[Status, Any]:
        """How a collection was made (specification 3.2, 5.9).

        Args:
            collection_name: see `Milvus`.
            timeout: seconds, see `Milvus`.

        Returns:
            (Status, `CollectionSchema`) with `collection_name`, `dimension`, `index_file_size` in
            MB and `metric_type`; None for it when the status is not OK. Code 4
            COLLECTION_NOT_EXISTS.

        Raises:
            ParamError: the name is no str, or is empty; else as every call.
        """
        return self._pair(replies.DESCRIBE_COLLECTION, named(collection_name), timeout)

    def count_entities(self, collection_name: str, timeout: Seconds = 30) -> tuple[Status, Any]:
        """Counts the rows of all partitions, flushed or not, deleted ones left out
        (specification 3.2; 1.x counts flushed rows alone).

        Args:
            collection_name: see `Milvus`.
            timeout: seconds, see `Milvus`.

        Returns:
            (Status, int), 0 or more; None when the status is not OK. Code 4 COLLECTION_NOT_EXISTS.

        Raises:
            ParamError: the name is no str, or is empty; else as every call.
        """
        return self._pair(replies.COUNT_COLLECTION, named(collection_name), timeout)

    def list_collections(self, timeout: Seconds = 30) -> tuple[Status, list[str]]:
        """Names of all collections (specification 3.2).

        Args:
            timeout: seconds, see `Milvus`.

        Returns:
            (Status, list of str) in order of creation; [] when the status is not OK.

        Raises:
            ParamError: the timeout is none; else as every call.
        """
        return self._pair(replies.SHOW_COLLECTIONS, requests.command("show_collections"), timeout)

    def get_collection_stats(
        self, collection_name: str, timeout: Seconds = 30
    ) -> tuple[Status, Any]:
        """Rows, partitions and segments of a collection (specification 3.3).

        Args:
            collection_name: see `Milvus`.
            timeout: seconds, see `Milvus`.

        Returns:
            (Status, dict): `row_count`, and `partitions`, a list with `_default` first. Each of
            them has `tag`, `row_count` and `segments`, None or a list of dicts: `name`,
            `row_count`, `index_name` and `data_size` in bytes. None for the dict when the status
            is not OK. Code 4 COLLECTION_NOT_EXISTS.

        Raises:
            ParamError: the name is no str, or is empty; else as every call.
        """
        return self._pair(replies.SHOW_COLLECTION_INFO, named(collection_name), timeout)

    def drop_collection(self, collection_name: str, timeout: Seconds = 30) -> Status:
        """Drops a collection with all that is in it, at once; the room on the disk comes back later
        (specification 3.4). The name may be used again.

        Args:
            collection_name: see `Milvus`.
            timeout: seconds, see `Milvus`.

        Returns:
            Status. Code 4 COLLECTION_NOT_EXISTS.

        Raises:
            ParamError: the name is no str, or is empty; else as every call.
        """
        return self._status(replies.DROP_COLLECTION, named(collection_name), timeout)

    def load_collection(
        self,
        collection_name: str,
        partition_tags: Sequence[str] | float | None = None,
        timeout: Seconds = None,
    ) -> Status:
        """Reads a collection into memory ahead of its first search, which works without
        (specification 3.18).

        Args:
            collection_name: see `Milvus`.
            partition_tags: a list or tuple of patterns, as of `search`; None or an empty one for
                all partitions. A number is taken for the timeout, as the second argument of 0.2.14
                was, and warned of.
            timeout: seconds, see `Milvus`.

        Returns:
            Status. Code 4 COLLECTION_NOT_EXISTS, 1 where no partition matches. What has no room in
            the cache is left out, and the status is OK.

        Raises:
            ParamError: a name or tag is no str; else as every call.
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
        """Lets go of what `load_collection` or searches brought into memory; searches still work
        (specification 3.18).

        Args:
            collection_name: see `Milvus`.
            partition_tags: as of `load_collection`.
            timeout: seconds, see `Milvus`.

        Returns:
            Status. Code 4 COLLECTION_NOT_EXISTS, 1 where no partition matches.

        Raises:
            ParamError: a name or tag is no str; else as every call.
        """
        return self._status(replies.RELEASE, _preload(collection_name, partition_tags), timeout)

    def reload_segments(
        self, collection_name: str, segment_ids: Sequence[str], timeout: Seconds = None
    ) -> Status:
        """For the reading nodes of a 1.x cluster; does nothing here (specification 3.18).

        Args:
            collection_name: see `Milvus`.
            segment_ids: a list or tuple of names of segments, str or int.
            timeout: seconds, see `Milvus`.

        Returns:
            Status, OK whatever the names are.

        Raises:
            ParamError: no list, or a name that is empty; else as every call.
            NotImplementedError: with `handler="HTTP"`, whose API has nothing for it.
        """
        names = checks.segments(segment_ids)
        request = requests.segments(checks.name(collection_name), names)
        return self._status(replies.RELOAD_SEGMENTS, request, timeout)

    # partitions

    def create_partition(
        self, collection_name: str, partition_tag: str, timeout: Seconds = 30
    ) -> Status:
        """Makes a partition, durable when the call returns (specification 3.7).

        Args:
            collection_name: see `Milvus`.
            partition_tag: 1 to 255 bytes of UTF-8 once blanks at both ends are cut off. At most
                4096 partitions of a collection, by default.
            timeout: seconds, see `Milvus`.

        Returns:
            Status. Code 4 COLLECTION_NOT_EXISTS; 1 for a tag that is none or is taken, `_default`
            among them, or where there are too many.

        Raises:
            ParamError: the name is no str or empty, or the tag is no str; else as every call.
        """
        return self._status(
            replies.CREATE_PARTITION, _partition(collection_name, partition_tag), timeout
        )

    def has_partition(
        self, collection_name: str, partition_tag: str, timeout: Seconds = 30
    ) -> tuple[Status, bool]:
        """Whether there is a partition of this very tag (specification 3.8).

        Args:
            collection_name: see `Milvus`.
            partition_tag: as of `create_partition`; `_default` is always there.
            timeout: seconds, see `Milvus`.

        Returns:
            (Status, bool); False when the status is not OK. Code 4 COLLECTION_NOT_EXISTS.

        Raises:
            ParamError: the name is no str or empty, or the tag is no str; else as every call.
        """
        return self._pair(
            replies.HAS_PARTITION, _partition(collection_name, partition_tag), timeout
        )

    def list_partitions(
        self, collection_name: str, timeout: Seconds = 30
    ) -> tuple[Status, list[PartitionParam]]:
        """The partitions of a collection (specification 3.8).

        Args:
            collection_name: see `Milvus`.
            timeout: seconds, see `Milvus`.

        Returns:
            (Status, list of `PartitionParam`), `_default` first, then in order of creation; [] when
            the status is not OK. Code 4 COLLECTION_NOT_EXISTS.

        Raises:
            ParamError: the name is no str, or is empty; else as every call.
        """
        return self._pair(replies.show_partitions(collection_name), named(collection_name), timeout)

    def drop_partition(
        self, collection_name: str, partition_tag: str, timeout: Seconds = 30
    ) -> Status:
        """Drops a partition with its rows, at once (specification 3.9). The tag may be used again.

        Args:
            collection_name: see `Milvus`.
            partition_tag: as of `create_partition`.
            timeout: seconds, see `Milvus`.

        Returns:
            Status. Code 4 COLLECTION_NOT_EXISTS, 9 for `_default`, 1 where there is no such tag.

        Raises:
            ParamError: the name is no str or empty, or the tag is no str; else as every call.
        """
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
