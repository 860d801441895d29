"""Asynchronous calls (specification 5.10): the same call, made by a thread of the client."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from concurrent.futures import TimeoutError as NotYet
from typing import Any

from milvine.client.exceptions import FutureTimeoutError
from milvine.wire import packed, schema


class CallFuture:
    """A call under way.

    `call` gets the reply, `read` makes of it what the synchronous call returns. `callback`, if given, is called with
    that (a pair as two arguments) in a thread of the client, also when the server refused, but not when no reply came.
    """

    def __init__(
        self,
        executor: Executor,
        method: str,
        call: Callable[[], bytes],
        read: Callable[[bytes], Any],
        callback: Callable[..., Any] | None = None,
    ) -> None:
        self._method, self._call, self._read, self._callback = method, call, read, callback
        self._future: Future[tuple[bytes, Any]] = executor.submit(self._run)

    def _run(self) -> tuple[bytes, Any]:
        data = self._call()
        value = self._read(data)
        if self._callback is not None:
            self._callback(*(value if isinstance(value, tuple) else (value,)))
        return data, value

    def result(self, timeout: float | None = None, raw: bool = False) -> Any:
        """What the synchronous call returns, or the reply as a protobuf message if `raw`.

        Raises:
            FutureTimeoutError: it was not there within `timeout` seconds.
            TransportFailed: no reply came; against a server it is a `grpc.RpcError` as well.
        """
        try:
            data, value = self._future.result(timeout)
        except NotYet:
            raise FutureTimeoutError("Request timeout") from None
        return packed.parse(schema.METHODS[self._method][1], data) if raw else value

    def done(self) -> None:
        """Waits until the call and its callback are over."""
        if not self._future.cancelled():
            self._future.exception()

    def is_done(self) -> bool:
        return self._future.done()

    def cancel(self) -> bool:
        """Whether the call was stopped; one that a thread has begun runs on."""
        return self._future.cancel()

    def exception(self) -> None:
        """Waits, and raises what the call or its callback raised, if anything."""
        error = self._future.exception()
        if error is not None:
            raise error


class InsertFuture(CallFuture):
    pass


class CreateIndexFuture(CallFuture):
    pass


class SearchFuture(CallFuture):
    pass


class FlushFuture(CallFuture):
    pass


class CompactFuture(CallFuture):
    pass
