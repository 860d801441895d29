"""The methods of `Milvus` about what is done with stored rows (indexes, flush, compact), and about
the server itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from milvine.client import checks, replies, requests
from milvine.client.collection_calls import CollectionCalls, named
from milvine.client.connection import Seconds
from milvine.client.futures import CompactFuture, CreateIndexFuture, FlushFuture
from milvine.client.keywords import unknown_keywords
from milvine.client.status import Status
from milvine.types import IndexType

Params = dict[str, Any] | None
Callback = Callable[..., Any] | None


class IndexCalls(CollectionCalls):
    """A client but for what reads and writes rows."""

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
        """Sets the index of a collection, and builds it for the rows that are there: returns when
        every segment of 4096 rows or more has it (specification 3.5). Smaller ones are searched
        exactly, and later ones are built in the background.

        Args:
            collection_name: see `Milvus`.
            index_type: an `IndexType` or its number; None is FLAT. Binary metrics take FLAT and
                IVF_FLAT.
            params: a dict of its parameters, such as `{"nlist": 16384}` (docs/indexes.md); None is
                none.
            timeout: seconds, see `Milvus`; a server builds on when it is over.

        Returns:
            Status. Codes 4 COLLECTION_NOT_EXISTS, 8 ILLEGAL_INDEX_TYPE, 5 for a parameter that is
            missing or out of range, 7 where it does not divide the dimension, 21
            BUILD_INDEX_ERROR. A future with `_async=True`.

        Raises:
            ParamError: no index type, or `params` that are no dict or no JSON; else as every call.
        """
        unknown_keywords(IndexCalls.create_index, unknown)
        kind = checks.index_type(index_type)
        request = requests.index(checks.name(collection_name), kind, checks.params(params))
        if _async:
            rpc = replies.ASYNC_CREATE_INDEX
            return self._start(CreateIndexFuture, rpc, rpc.status, request, timeout, _callback)
        return self._status(replies.CREATE_INDEX, request, timeout)

    def get_index_info(self, collection_name: str, timeout: Seconds = 30) -> tuple[Status, Any]:
        """The index setting of a collection, whether anything was built yet or not
        (specification 3.6).

        Args:
            collection_name: see `Milvus`.
            timeout: seconds, see `Milvus`.

        Returns:
            (Status, `IndexParam`) with `index_type`, FLAT where none was set, and `params`; None
            for it when the status is not OK. Code 4 COLLECTION_NOT_EXISTS.

        Raises:
            ParamError: the name is no str, or is empty; else as every call.
        """
        return self._pair(replies.DESCRIBE_INDEX, named(collection_name), timeout)

    def drop_index(self, collection_name: str, timeout: Seconds = 30) -> Status:
        """Back to FLAT: searches compare every row (specification 3.6).

        Args:
            collection_name: see `Milvus`.
            timeout: seconds, see `Milvus`.

        Returns:
            Status, OK also where there is no index. Code 4 COLLECTION_NOT_EXISTS.

        Raises:
            ParamError: the name is no str, or is empty; else as every call.
        """
        return self._status(replies.DROP_INDEX, named(collection_name), timeout)

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
        """Writes what was inserted and deleted before the call into segments (specification 3.19).
        Neither durability nor visibility needs it.

        Args:
            collection_name_array: a list or tuple of names; None or an empty one for all
                collections.
            timeout: seconds, see `Milvus`.

        Returns:
            Status. Code 4 COLLECTION_NOT_EXISTS for the first name that is unknown. A future with
            `_async=True`, but where no collection is named.

        Raises:
            ParamError: no list, a name that is no str or empty; else as every call.
        """
        unknown_keywords(IndexCalls.flush, unknown)
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
        """Rewrites the segments of which a tenth or more is deleted, without those rows, and builds
        indexes anew that hold many of them (specification 3.20). Deletes are flushed first.

        Args:
            collection_name: see `Milvus`.
            timeout: seconds, see `Milvus`.

        Returns:
            Status, OK also where there is nothing to do. Codes 4 COLLECTION_NOT_EXISTS, 21
            BUILD_INDEX_ERROR. A future with `_async=True`.

        Raises:
            ParamError: the name is no str, or is empty; else as every call.
        """
        unknown_keywords(IndexCalls.compact, unknown)
        rpc, request = replies.COMPACT, named(collection_name)
        if _async:
            return self._start(CompactFuture, rpc, rpc.status, request, timeout, _callback)
        return self._status(rpc, request, timeout)

    # the server

    def server_version(self, timeout: Seconds = 30) -> tuple[Status, Any]:
        """The version that the server reports, such as 1.1.1 (specification 2.5).

        Args:
            timeout: seconds, see `Milvus`.

        Returns:
            (Status, str); None for the text when the status is not OK.

        Raises:
            ParamError: the timeout is none; else as every call.
        """
        return self._cmd("version", timeout)

    def server_status(self, timeout: Seconds = 30) -> tuple[Status, Any]:
        """Whether the server answers (specification 2.5).

        Args:
            timeout: seconds, see `Milvus`.

        Returns:
            (Status, "OK"); None for the text when the status is not OK.

        Raises:
            ParamError: the timeout is none; else as every call.
        """
        return self._cmd("status", timeout)

    def get_config(self, parent_key: str, child_key: str) -> tuple[Status, Any]:
        """A setting of the server (specification 2.5). Waits at most 30 seconds.

        Args:
            parent_key: its section, such as `cache`.
            child_key: its key, such as `cache_size` (docs/configuration.md).

        Returns:
            (Status, str): the value as it was given; None when the status is not OK. Code 1 where
            there is no such setting.

        Raises:
            NotConnectError, ClientClosedError: as every call.
        """
        return self._cmd(f"get_config {parent_key}.{child_key}")

    def set_config(self, parent_key: str, child_key: str, value: object) -> tuple[Status, Any]:
        """Changes a setting of the server, and keeps it (specification 2.5). Waits at most 30
        seconds.

        Args:
            parent_key: as of `get_config`.
            child_key: as of `get_config`.
            value: its text is sent.

        Returns:
            (Status, str), the text empty; None when the status is not OK. Codes 1 where there is no
            such setting, 5 for a value that is none.

        Raises:
            NotConnectError, ClientClosedError: as every call.
        """
        return self._cmd(f"set_config {parent_key}.{child_key} {value}")

    def _cmd(self, cmd: str, timeout: Seconds = 30) -> tuple[Status, Any]:
        """A command of the server's, as text; its answer is text."""
        return self._pair(replies.CMD, requests.command(checks.name(cmd, "cmd")), timeout)
