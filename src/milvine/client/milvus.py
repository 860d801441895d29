"""`Milvus`: one method for each thing a database does, with the names, arguments and results of the
1.x client.

Every method returns a `Status`, or a pair of a `Status` and a value. Errors of the server are in
the status; wrong arguments raise `ParamError` before anything is sent. Values that are typed Any
are None when the status is not OK.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from milvine.client import checks, replies, requests
from milvine.client.collection_calls import CollectionCalls, named
from milvine.client.connection import Seconds
from milvine.client.exceptions import ParamError
from milvine.client.futures import (
    CompactFuture,
    CreateIndexFuture,
    FlushFuture,
    InsertFuture,
    SearchFuture,
)
from milvine.client.keywords import unknown_keywords
from milvine.client.status import Status
from milvine.deadline import Deadline
from milvine.types import IndexType

Params = dict[str, Any] | None
Callback = Callable[..., Any] | None


class Milvus(CollectionCalls):
    """A client of a Milvus 1.x server, of a Milvine server, or of a database in this process.

    Arguments of the constructor are those of `Connection`. Names of collections: at most 255 of
    ASCII letters, digits and underscores, no digit first. Timeouts are in seconds; a database in
    this process finishes every call, whatever its timeout. May be shared by threads.

    `vectors` are rows of numbers (lists, tuples or anything numpy reads, sent as float32). For
    binary collections they are rows of `bytes` or a numpy array of uint8, 8 dimensions a byte.
    `ids` are ints from 0 to 2**63 - 1, in a list, tuple, range or array, a column of pandas or
    Arrow, or a tensor; floats are refused.

    A keyword that `insert`, `create_index`, `search`, `search_in_segment`, `flush` or `compact`
    does not know changes nothing, as in 1.x, and is warned of.

    `_async=True` returns at once with a future whose `result()` is what the call would have
    returned; `_callback` is called with the same, unpacked, in a thread of the client for
    callbacks. It may wait for other calls; what it raises is logged.
    """

    # indexes

    def create_index(
        self,
        /,
        collection_name: str,
        index_type: IndexType | int | None = None,
        params: Params = None,
        timeout: Seconds = None,
        *,
        _async: bool = False,
        _callback: Callback = None,
        **unknown: Any,
    ) -> Any:
        """Sets the index of a collection, FLAT if None, and builds it for the rows that are there.
        Returns a Status.
        """
        unknown_keywords(Milvus.create_index, unknown)
        kind = checks.index_type(index_type)
        request = requests.index(checks.name(collection_name), kind, checks.params(params))
        if _async:
            rpc = replies.ASYNC_CREATE_INDEX
            return self._start(CreateIndexFuture, rpc, rpc.status, request, timeout, _callback)
        return self._status(replies.CREATE_INDEX, request, timeout)

    def get_index_info(self, collection_name: str, timeout: Seconds = 30) -> tuple[Status, Any]:
        """An `IndexParam`: the setting, whether anything was built yet or not."""
        return self._pair(replies.DESCRIBE_INDEX, named(collection_name), timeout)

    def drop_index(self, collection_name: str, timeout: Seconds = 30) -> Status:
        """Back to FLAT."""
        return self._status(replies.DROP_INDEX, named(collection_name), timeout)

    # rows

    def insert(
        self,
        /,
        collection_name: str,
        records: Any,
        ids: Any = None,
        partition_tag: str | None = None,
        params: Params = None,
        timeout: Seconds = None,
        *,
        insert_param: Any = None,
        split: bool = False,
        idempotency_key: str | None = None,
        _async: bool = False,
        _callback: Callback = None,
        **unknown: Any,
    ) -> Any:
        """Stores vectors. Returns (Status, ids): those given, or those made for them.

        `insert_param`, of `Prepare.insert_param`, is sent as it is; then everything else about the
        rows is None.

        `split=True` sends more than the 256 MB that one request may hold as several. Each is stored
        whole or not at all; the first that is not ends the insert, and the ids are then those of
        the rows stored before.

        An insert whose reply is lost with the connection is sent again, to a server of Milvine
        only, and stored once. With an `idempotency_key`, any text, you may send it again yourself,
        after a timeout for instance: same rows, same key, and the answer is that of the first. The
        server knows the last 10,000 keys of a collection.
        """
        unknown_keywords(Milvus.insert, unknown)
        key = checks.idempotency_key(idempotency_key) or requests.new_key()
        if insert_param is not None:
            request = requests.keyed_insert(checks.insert_message(insert_param), key)
        else:
            rows = checks.rows(collection_name, records, ids, partition_tag, params)
            if split:
                return self._insert_parts(requests.insert_parts(*rows, key), _async, timeout)
            request = requests.insert(*rows, key)
        if _async:
            return self._start(
                InsertFuture, replies.INSERT, replies.INSERT.pair, request, timeout, _callback
            )
        return self._pair(replies.INSERT, request, timeout)

    def _insert_parts(
        self, parts: Iterator[bytes], wants_future: bool, timeout: Seconds
    ) -> tuple[Status, list[int]]:
        if wants_future:
            raise ParamError("split=True does not go with _async=True")
        stored: list[int] = []
        deadline = Deadline(checks.seconds(timeout))
        for part in parts:
            status, ids = self._pair(replies.INSERT, part, deadline.left())
            stored += ids
            if not status.OK():
                break
        return status, stored

    def get_entity_by_id(
        self,
        collection_name: str,
        ids: Any,
        timeout: Seconds = None,
        partition_tag: str | None = None,
    ) -> tuple[Status, list[Any]]:
        """For each id, at most 1000, its vector as a list of float or as bytes; an empty list if
        there is none.
        """
        return self._pair(
            replies.GET_ENTITIES, _entities(collection_name, ids, partition_tag), timeout
        )

    def delete_entity_by_id(
        self,
        collection_name: str,
        id_array: Any,
        timeout: Seconds = None,
        partition_tag: str | None = None,
    ) -> Status:
        """Deletes every row with one of these ids; ids that do not exist are no error."""
        return self._status(
            replies.DELETE, _entities(collection_name, id_array, partition_tag), timeout
        )

    def list_id_in_segment(
        self, collection_name: str, segment_name: str, timeout: Seconds = None
    ) -> tuple[Status, list[int]]:
        request = requests.segment(
            checks.name(collection_name), checks.name(segment_name, "segment_name")
        )
        return self._pair(replies.GET_IDS, request, timeout)

    def search(
        self,
        /,
        collection_name: str,
        top_k: int,
        query_records: Any,
        partition_tags: Sequence[str] | None = None,
        params: Params = None,
        timeout: Seconds = None,
        *,
        _async: bool = False,
        _callback: Callback = None,
        **unknown: Any,
    ) -> Any:
        """The `top_k` rows nearest to each query, in all partitions or in those whose tag matches
        one of the patterns.

        Returns (Status, `TopKQueryResult`); [] for the result when the server refused, None when it
        did not answer.
        """
        if unknown:
            unknown_keywords(Milvus.search, unknown)
        k, vectors = checks.topk(top_k), checks.vectors(query_records)
        tags = checks.texts(partition_tags, "partition_tag_array")
        name, given = checks.name(collection_name), checks.params(params)
        in_process = None if _async else self._in_process(given, timeout)
        if in_process:
            return replies.SEARCH.told(replies.hits(in_process(name, vectors, k, tags, given)))
        request = requests.search(name, vectors, k, tags, given)
        if _async:
            rpc = replies.ASYNC_SEARCH
            return self._start(SearchFuture, rpc, rpc.pair, request, timeout, _callback)
        return self._pair(replies.SEARCH, request, timeout)

    def search_in_segment(
        self,
        /,
        collection_name: str,
        file_ids: Any,
        query_records: Any,
        top_k: int,
        params: Params = None,
        timeout: Seconds = None,
        *,
        _async: bool = False,
        _callback: Callback = None,
        **unknown: Any,
    ) -> Any:
        """As `search`, in the named segments only."""
        unknown_keywords(Milvus.search_in_segment, unknown)
        files = [str(file) for file in checks.ids(file_ids).tolist()]
        k, vectors = checks.topk(top_k), checks.vectors(query_records)
        request = requests.search_in_files(
            checks.name(collection_name), files, vectors, k, checks.params(params)
        )
        if _async:
            rpc = replies.ASYNC_SEARCH_IN_FILES
            return self._start(SearchFuture, rpc, rpc.pair, request, timeout, _callback)
        return self._pair(replies.SEARCH_IN_FILES, request, timeout)

    # maintenance

    def flush(
        self,
        /,
        collection_name_array: Sequence[str] | None = None,
        timeout: Seconds = None,
        *,
        _async: bool = False,
        _callback: Callback = None,
        **unknown: Any,
    ) -> Any:
        """Writes what was inserted and deleted into segments; all collections if none is named.
        Returns a Status.
        """
        unknown_keywords(Milvus.flush, unknown)
        names = checks.collections(collection_name_array)
        if _async and names:
            rpc = replies.FLUSH
            return self._start(
                FlushFuture, rpc, rpc.status, requests.flush(names), timeout, _callback
            )
        return self._status(replies.FLUSH, requests.flush(names), timeout)

    def compact(
        self,
        /,
        collection_name: str,
        timeout: Seconds = None,
        *,
        _async: bool = False,
        _callback: Callback = None,
        **unknown: Any,
    ) -> Any:
        """Rewrites segments without their deleted rows. Returns a Status."""
        unknown_keywords(Milvus.compact, unknown)
        rpc, request = replies.COMPACT, named(collection_name)
        if _async:
            return self._start(CompactFuture, rpc, rpc.status, request, timeout, _callback)
        return self._status(rpc, request, timeout)

    # the server

    def server_version(self, timeout: Seconds = 30) -> tuple[Status, Any]:
        return self._cmd("version", timeout)

    def server_status(self, timeout: Seconds = 30) -> tuple[Status, Any]:
        return self._cmd("status", timeout)

    def get_config(self, parent_key: str, child_key: str) -> tuple[Status, Any]:
        return self._cmd(f"get_config {parent_key}.{child_key}")

    def set_config(self, parent_key: str, child_key: str, value: object) -> tuple[Status, Any]:
        return self._cmd(f"set_config {parent_key}.{child_key} {value}")

    def _cmd(self, cmd: str, timeout: Seconds = 30) -> tuple[Status, Any]:
        """A command of the server's, as text; its answer is text."""
        return self._pair(replies.CMD, requests.command(checks.name(cmd, "cmd")), timeout)


def _entities(collection_name: Any, ids: Any, partition_tag: Any) -> bytes:
    return requests.entities(
        checks.name(collection_name), checks.ids(ids), checks.tag(partition_tag, optional=True)
    )
