"""Asynchronous calls (specification 5.10): the same call, made by a thread of the client.

Calls and callbacks have threads of their own, so a callback may wait for other calls however many
there are. Everybody else waits for a call and its callback; a callback that waits for another call
waits for its reply alone, since the threads for callbacks may all be waiting so.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

from milvine.client import checks
from milvine.client.exceptions import ClientClosedError, FutureTimeoutError
from milvine.logs.failures import log
from milvine.pool import Pool
from milvine.waiting import Flag
from milvine.wire import packed, schema

_THREADS = 8  # that make calls, and as many that run callbacks

_logger = logging.getLogger("milvus")
_here = threading.local()  # `in_callback`: whether this thread runs a callback


class CallThreads:
    """The threads of one client. What was begun is ended before the process is."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.calls, self.callbacks = (
            Pool(_THREADS, "milvus-client"),
            Pool(_THREADS, "milvus-callback"),
        )
        atexit.register(self._finish)

    def close(self) -> None:
        """Calls that were not begun fail; nobody waits for those that were."""
        atexit.unregister(self._finish)
        self.calls.close(wait=False)
        self.callbacks.close(wait=False)

    def _finish(self) -> None:
        if os.getpid() == self.process:  # a forked child has none of the threads
            self.calls.close()
            self.callbacks.close()


class CallFuture:
    """A call under way.

    `call` gets the reply, `read` makes of it what the synchronous call returns. `callback`, if
    given, is called with that (a pair as two arguments) in a thread of the client, also when the
    server refused, but not when no reply came. What it raises is logged, and changes nothing about
    the call.

    Raises:
        ClientClosedError: the client was closed.
    """

    def __init__(
        self,
        threads: CallThreads,
        method: str,
        call: Callable[[], bytes],
        read: Callable[[bytes], Any],
        callback: Callable[..., Any] | None = None,
    ) -> None:
        self._method, self._call, self._read, self._callback = method, call, read, callback
        self._callbacks = threads.callbacks
        self._data, self._value, self._error = b"", None, None
        self._unclaimed = [None]  # whoever takes it out, a thread or `cancel`, has the call
        self._answered, self._over = Flag(), Flag()
        if not threads.calls.put(self._run):
            raise ClientClosedError

    _value: Any
    _error: BaseException | None

    def _claim(self) -> bool:
        try:
            self._unclaimed.pop()
        except IndexError:
            return False
        return True

    def _run(self) -> None:
        """On a thread for calls."""
        if not self._claim():
            return
        try:
            self._data = self._call()
            self._value = self._read(self._data)
        except BaseException as error:  # raised to whoever asks for the result
            self._end(error)
            return
        self._answered.set()
        if self._callback is None:
            self._over.set()
        elif not self._callbacks.put(self._tell):  # the client was closed meanwhile
            self._tell()

    def _tell(self) -> None:
        """On a thread for callbacks."""
        assert self._callback is not None
        _here.in_callback = True
        try:
            self._callback(*(self._value if isinstance(self._value, tuple) else (self._value,)))
        except BaseException:
            text = "%s: the callback failed; the call did not"
            log(_logger, logging.ERROR, text, self._method, traced=True)
        finally:
            _here.in_callback = False
            self._over.set()

    def _end(self, error: BaseException) -> None:
        self._error = error
        self._answered.set()
        self._over.set()

    def _wait(self, timeout: float | None) -> bool:
        over = self._answered if getattr(_here, "in_callback", False) else self._over
        return over.wait(timeout)

    def result(self, timeout: float | None = None, raw: bool = False) -> Any:
        """What the synchronous call returns, or the reply as a protobuf message if `raw`.

        Raises:
            FutureTimeoutError: it was not there within `timeout` seconds; None waits for ever, 0
                not at all.
            ParamError: the timeout is none.
            TransportFailed: no reply came; against a server it is a `grpc.RpcError` as well.
            ClientClosedError: the client was closed before.
            CancelledError: it was cancelled.
        """
        if not self._wait(checks.seconds(timeout)):
            raise FutureTimeoutError("Request timeout")
        if self._error is not None:
            raise self._error
        return packed.parse(schema.METHODS[self._method][1], self._data) if raw else self._value

    def done(self) -> None:
        """Waits until the call and its callback are over."""
        self._wait(None)

    def is_done(self) -> bool:
        return self._over.is_set()

    def cancel(self) -> bool:
        """Whether the call was stopped; one that a thread has begun runs on."""
        if self._claim():
            self._end(CancelledError())
        return isinstance(self._error, CancelledError)

    def exception(self) -> None:
        """Waits, and raises what the call raised, if anything."""
        self._wait(None)
        if self._error is not None:
            raise self._error


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
