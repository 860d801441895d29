"""`AsyncMilvus`: the methods of `Milvus` as coroutines. Each call is the same call, made by a
thread of the client.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial, update_wrapper
from typing import Any, Concatenate, ParamSpec, TypeVar

from milvine import __version__
from milvine.client import checks
from milvine.client.connection import KEYWORDS
from milvine.client.exceptions import ClientClosedError, NotConnectError, ParamError
from milvine.client.keywords import unknown_arguments
from milvine.client.milvus import Milvus
from milvine.deadline import Deadline
from milvine.waiting import Flag

P = ParamSpec("P")
R = TypeVar("R")
_NAMED = ("host", "port", "handler", "pool")
_CALLS_MAX = 32  # in flight at a time; further ones wait for their turn


def _awaitable(
    method: Callable[Concatenate[Milvus, P], R],
) -> Callable[Concatenate[AsyncMilvus, P], Coroutine[Any, Any, R]]:
    timeout = _Timeout(method)

    async def call(self: AsyncMilvus, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if kwargs.get("_async") or kwargs.get("_callback"):
            raise ParamError("_async and _callback are for Milvus. Await the call instead")
        # It may have to wait for a thread, and to connect.
        deadline = Deadline(timeout.of(args, kwargs))

        def work() -> R:
            milvus, left = self._connected(deadline), deadline.left()
            return (
                method(milvus, *args, **kwargs)
                if left is None
                else timeout.cut(left, method, milvus, args, kwargs)
            )

        return await self._in_thread(work)

    update_wrapper(call, method)
    return call


class _Timeout:
    """The argument `timeout` of a method, wherever a call has it."""

    def __init__(self, method: Callable[..., Any]) -> None:
        names = inspect.signature(method).parameters
        self._at = list(names).index("timeout") - 1 if "timeout" in names else None
        self._default = names["timeout"].default if "timeout" in names else None

    def of(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> float | None:
        """Seconds; None: no end."""
        given = self._at is not None and self._at < len(args)
        return checks.seconds(
            args[self._at or 0] if given else kwargs.get("timeout", self._default)
        )

    def cut(
        self,
        left: float,
        method: Callable[..., R],
        milvus: Milvus,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> R:
        """The result of the method, which may take the seconds that are left."""
        if self._at is not None and self._at < len(args):
            return method(milvus, *args[: self._at], left, *args[self._at + 1 :], **kwargs)
        return method(milvus, *args, **{**kwargs, "timeout": left})


class AsyncMilvus:
    """A client for asyncio programs.

    Arguments are those of `Milvus`. Nothing is opened before the first call, or before the block of
    `async with`, which closes the client when it is left. What the constructor of `Milvus` raises
    is raised there. A forked process needs a client of its own.

    Methods, arguments, results and errors are those of `Milvus`. A call whose task is cancelled is
    made to its end if a thread has begun it, or until the client is closed.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        unknown_arguments("AsyncMilvus", kwargs.keys() - _NAMED, KEYWORDS)
        accepted = {name: value for name, value in kwargs.items() if name in (*_NAMED, *KEYWORDS)}
        self._connects = bool(kwargs.get("try_connect", True))
        self._open = partial(Milvus, *args, **accepted)
        self._milvus: Milvus | None = None  # once it is connected
        self._made: Milvus | None = None
        self._closed = False
        self._lock, self._making = threading.Lock(), threading.Lock()
        self._awaited: set[Flag] = set()  # for each call that somebody awaits, set when it is over
        self._threads = ThreadPoolExecutor(_CALLS_MAX, thread_name_prefix="milvus-asyncio")

    def _connected(self, deadline: Deadline) -> Milvus:
        """Waits for the server, so it runs in a thread of the client.

        Raises:
            NotConnectError: it does not answer, or not before the `deadline`.
        """
        if self._milvus is not None:
            return self._milvus
        left = deadline.left()
        if not self._lock.acquire(timeout=-1 if left is None else left):
            raise NotConnectError("Not connected in time: another call was still connecting")
        try:
            if self._milvus is None:
                self._milvus = self._opened(deadline)
            return self._milvus
        finally:
            self._lock.release()

    def _opened(self, deadline: Deadline) -> Milvus:
        with self._making:
            if self._closed:
                raise ClientClosedError
            milvus = self._made = self._open(try_connect=False)
        if self._connects:
            milvus._check_version(deadline)
        return milvus

    async def _in_thread(self, work: Callable[[], R]) -> R:
        import asyncio  # here, because it would make `import milvus` slower by half

        if self._closed:
            raise ClientClosedError
        over = Flag()
        self._awaited.add(over)
        try:
            call = self._threads.submit(work)
            call.add_done_callback(lambda _: over.set())  # the loop may have ended meanwhile
            return await asyncio.wrap_future(call)
        finally:  # done, or cancelled
            over.set()
            self._awaited.discard(over)

    async def __aenter__(self) -> AsyncMilvus:
        await self._in_thread(lambda: self._connected(Deadline(None)))
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Waits for the calls that somebody awaits, then lets go of the database, as `Milvus.close`
        does. May be called again.

        A call whose task was cancelled is not waited for: against a server it fails.
        """
        import asyncio

        self._closed = True
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        for over in tuple(self._awaited):
            over.wait()
        with self._making:  # which never waits for a server; connecting does, and ends by this
            made, self._made, self._milvus = self._made, None, None
        if made is not None:
            made.close()
        self._threads.shutdown(wait=False)

    def client_version(self) -> str:
        """Version of this package."""
        return __version__

    create_collection = _awaitable(Milvus.create_collection)
    has_collection = _awaitable(Milvus.has_collection)
    get_collection_info = _awaitable(Milvus.get_collection_info)
    count_entities = _awaitable(Milvus.count_entities)
    list_collections = _awaitable(Milvus.list_collections)
    get_collection_stats = _awaitable(Milvus.get_collection_stats)
    drop_collection = _awaitable(Milvus.drop_collection)
    load_collection = _awaitable(Milvus.load_collection)
    release_collection = _awaitable(Milvus.release_collection)
    reload_segments = _awaitable(Milvus.reload_segments)
    create_partition = _awaitable(Milvus.create_partition)
    has_partition = _awaitable(Milvus.has_partition)
    list_partitions = _awaitable(Milvus.list_partitions)
    drop_partition = _awaitable(Milvus.drop_partition)
    create_index = _awaitable(Milvus.create_index)
    get_index_info = _awaitable(Milvus.get_index_info)
    drop_index = _awaitable(Milvus.drop_index)
    insert = _awaitable(Milvus.insert)
    get_entity_by_id = _awaitable(Milvus.get_entity_by_id)
    delete_entity_by_id = _awaitable(Milvus.delete_entity_by_id)
    list_id_in_segment = _awaitable(Milvus.list_id_in_segment)
    search = _awaitable(Milvus.search)
    search_in_segment = _awaitable(Milvus.search_in_segment)
    flush = _awaitable(Milvus.flush)
    compact = _awaitable(Milvus.compact)
    server_version = _awaitable(Milvus.server_version)
    server_status = _awaitable(Milvus.server_status)
    get_config = _awaitable(Milvus.get_config)
    set_config = _awaitable(Milvus.set_config)
    _cmd = _awaitable(Milvus._cmd)
