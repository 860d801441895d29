"""`Milvus`: one method for each thing a database does, with the names, arguments and results of the
1.x client.

Every method returns a `Status`, or a pair of a `Status` and a value. Errors of the server are in
the status; wrong arguments raise `ParamError` before anything is sent. Values that are typed Any
are None when the status is not OK.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from milvine.client import checks, replies, requests
from milvine.client.connection import Seconds
from milvine.client.exceptions import ParamError
from milvine.client.futures import InsertFuture, SearchFuture
from milvine.client.index_calls import Callback, IndexCalls, Params
from milvine.client.keywords import unknown_keywords
from milvine.client.status import Status
from milvine.deadline import Deadline


class Milvus(IndexCalls):
    """A client of a Milvus 1.x server, of a Milvine server, or of a database in this process.

    Arguments of the constructor are those of `Connection`, and so is what it raises. May be shared
    by threads.

    Args of every method:
        collection_name: 1 to 255 ASCII letters, digits and underscores, no digit first
            (specification 3.0). What is none of these gets code 9 ILLEGAL_COLLECTION_NAME.
        timeout: seconds of the whole call, a number of 0 or more or its text; None, or ten years
            and more, waits for ever. With 0 nothing is sent, and below 0 it is a ParamError. A
            database in this process finishes every call that was begun (specification 5.7).

    Returns of every method:
        A `Status`, or a pair of it and a value. What the server refuses is told by the status, its
        code being an int (`Status.SUCCESS` is 0; docs/errors.md lists them), what got no answer by
        a code that is a `grpc.StatusCode`: DEADLINE_EXCEEDED when the timeout is over, UNAVAILABLE
        when the connection was lost.

    Raises by every method:
        ParamError: an argument is wrong; nothing was sent.
        NotConnectError: no server was reached, or not before the timeout.
        ClientClosedError: after `close`, or during it.

    `vectors` are rows of numbers (lists, tuples or anything numpy reads), sent as float32, (n,
    dimension). For binary collections they are rows of `bytes` or a numpy array of uint8, (n,
    dimension / 8), the first dimension in the highest bit. `ids` are ints from 0 to 2**63 - 1, in a
    list, tuple, range or array, a column of pandas or Arrow, or a tensor; texts of digits count as
    their numbers, and floats, bools and masked values are refused.

    A keyword that `insert`, `create_index`, `search`, `search_in_segment`, `flush` or `compact`
    does not know changes nothing, as in 1.x, and is warned of.

    With `_async=True` these six return at once, with a future whose `result()` is what the call
    would have returned (`CallFuture`); `_callback` is called with the same, unpacked, in a thread
    of the client for callbacks. It may wait for other calls; what it raises is logged.
    """

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
        """Stores vectors, durable and visible to searches when the call returns, all of them or
        none (specification 3.10, 5.5).

        Args:
            collection_name: see `Milvus`.
            records: n vectors, see `Milvus`; float32 (n, dimension), or uint8 (n, dimension / 8)
                for a binary metric. At most 256 MB of them. NaN and infinity are stored, and no
                search finds such rows.
            ids: n ids, see `Milvus`, or None to have them made: int64, ascending. The first insert
                of a collection decides which of both it is for all. Not checked for repetition.
            partition_tag: the very tag of a partition; None or empty for `_default`.
            params: a dict, sent as JSON, without effect.
            timeout: seconds, see `Milvus`.
            insert_param: a message of `Prepare.insert_param`, sent as it is; then everything else
                about the rows is None.
            split: True sends more than 256 MB as several requests. Each is stored whole or not at
                all; the first that is not ends the insert. Not with `_async`.
            idempotency_key: a text. The same rows sent again with the same key are stored once, and
                answered as the first time. The server knows the last 10,000 keys of a collection.
                Without one the client makes its own, for an insert whose reply is lost with the
                connection: it is sent again to a server of Milvine, and stored once.

        Returns:
            (Status, list of int): the ids in the order of the rows, those given or made; [] when
            the status is not OK, with `split` those stored before. Codes 4 COLLECTION_NOT_EXISTS, 7
            ILLEGAL_DIMENSION, 11 ILLEGAL_ROWRECORD for too many bytes, 12 ILLEGAL_VECTOR_ID for ids
            the other way, 1 for an unknown tag, 5 for a key that other rows had. A future with
            `_async=True`.

        Raises:
            ParamError: records or ids are none, or not as many; a tag, key or params of another
                type; else as every call.
        """
        unknown_keywords(Milvus.insert, unknown)
        own_key = checks.idempotency_key(idempotency_key)
        key = own_key or requests.new_key()
        if insert_param is not None:
            request = requests.keyed_insert(checks.insert_message(insert_param), key)
        else:
            rows = checks.rows(collection_name, records, ids, partition_tag, params)
            if split:
                return self._insert_parts(requests.insert_parts(*rows, key), _async, timeout)
            name, vectors, given, tag, more = rows
            in_process = None if _async else self._in_process(more, timeout)
            if in_process:  # no reply is ever lost: a key of ours would be of no use
                reply = in_process.insert(name, vectors, given, tag, own_key or "")
                return replies.INSERT.pair_of(replies.ids(reply))
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
        """The vectors of rows by their ids (specification 3.16).

        Args:
            collection_name: see `Milvus`.
            ids: 1 to 1000 ids, see `Milvus`; they may repeat.
            timeout: seconds, see `Milvus`.
            partition_tag: a pattern, as of `search`; None or empty for all partitions.

        Returns:
            (Status, list) with one entry for each id, in their order: a list of `dimension` floats
            of float32 precision, `bytes` for a binary metric, or [] where there is no such row. Of
            several rows with one id it is one of them. [] for the list when the status is not OK:
            code 4 COLLECTION_NOT_EXISTS, 5 for more ids, 1 where nothing is stored or no partition
            matches.

        Raises:
            ParamError: the ids are none, a name or tag of another type; else as every call.
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
        """Deletes every row with one of these ids, durable and gone from searches when the call
        returns (specification 3.11). Rows inserted afterwards under such an id stay.

        Args:
            collection_name: see `Milvus`.
            id_array: one or more ids, see `Milvus`; that one does not exist is no error.
            timeout: seconds, see `Milvus`.
            partition_tag: the very tag of a partition; None or empty for all. An unknown one
                deletes nothing, and is no error.

        Returns:
            Status. Code 4 COLLECTION_NOT_EXISTS.

        Raises:
            ParamError: the ids are none, a name or tag of another type; else as every call.
        """
        return self._status(
            replies.DELETE, _entities(collection_name, id_array, partition_tag), timeout
        )

    def list_id_in_segment(
        self, collection_name: str, segment_name: str, timeout: Seconds = None
    ) -> tuple[Status, list[int]]:
        """The ids of a segment (specification 3.17).

        Args:
            collection_name: see `Milvus`.
            segment_name: as `get_collection_stats` names it; merges and `compact` make new ones.
            timeout: seconds, see `Milvus`.

        Returns:
            (Status, list of int): ids of the rows that are not deleted, in the order in which they
            were inserted; [] when the status is not OK. Codes 4 COLLECTION_NOT_EXISTS, 1 where
            there is no such segment of the collection.

        Raises:
            ParamError: a name is no str, or is empty; else as every call.
        """
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
        """The `top_k` rows nearest to each query (specification 3.13).

        Args:
            collection_name: see `Milvus`.
            top_k: an int from 1 to 16384.
            query_records: nq vectors of the collection's kind and dimension, see `Milvus`.
            partition_tags: a list or tuple of patterns: tags, or regular expressions that match a
                whole tag (specification 3.12); None or an empty one for all partitions.
            params: a dict of the parameters of the collection's index, such as `{"nprobe": 16}`
                (docs/indexes.md); None is none. FLAT takes any.
            timeout: seconds, see `Milvus`.

        Returns:
            (Status, `TopKQueryResult`): for each query, in their order, a row of hits with `id` and
            `distance`, nearest first, equal ones by id. Distances are float32: under L2 the
            **squared** Euclidean distance; under IP the inner product, largest first; under HAMMING
            the number of bits that differ; under JACCARD from 0 to 1; under TANIMOTO
            -log2(1 - JACCARD), from 0 to infinity; 0 for the hits of SUBSTRUCTURE and
            SUPERSTRUCTURE. With fewer rows than `top_k` a row of hits is shorter, and
            `result.shape` counts one filler, of id -1; with no rows at all `len(result)` is 0.
            When the server refused, [] for the result: codes 4 COLLECTION_NOT_EXISTS, 10
            ILLEGAL_TOPK, 7 ILLEGAL_DIMENSION, 5 for a parameter that is missing or out of range, 1
            where no partition matches. None when no answer came. With `_async=True` a future,
            whose result is None in both cases.

        Raises:
            ParamError: `top_k` is no int, the queries are none, tags, params or a name of another
                type; else as every call.
        """
        if unknown:
            unknown_keywords(Milvus.search, unknown)
        k, vectors = checks.topk(top_k), checks.vectors(query_records)
        tags = checks.texts(partition_tags, "partition_tag_array")
        name, given = checks.name(collection_name), checks.params(params)
        in_process = None if _async else self._in_process(given, timeout)
        if in_process:
            return replies.SEARCH.pair_of(
                replies.hits(in_process.search(name, vectors, k, tags, given))
            )
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
        """As `search`, in some segments only (specification 3.14).

        Args:
            collection_name: see `Milvus`.
            file_ids: one or more names of segments, as `get_collection_stats` has them, or the
                small numbers that 1.x has for its files; as ids, see `Milvus`. Those that are
                unknown are left out.
            query_records: as of `search`.
            top_k: as of `search`.
            params: as of `search`.
            timeout: seconds, see `Milvus`.

        Returns:
            As `search`; code 1 where none of the segments is known.

        Raises:
            ParamError: `file_ids` are no whole numbers; else as `search`.
        """
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


def _entities(collection_name: Any, ids: Any, partition_tag: Any) -> bytes:
    return requests.entities(
        checks.name(collection_name), checks.ids(ids), checks.tag(partition_tag, optional=True)
    )
