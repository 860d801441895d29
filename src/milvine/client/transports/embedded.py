"""A database in this process: the server's operations without a server and without a socket.

Clients of one folder share one database, which is closed with the last of them, or when the process
ends. The engine is imported when the first folder is opened.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from milvine.client.address import FolderAddress
from milvine.client.exceptions import ClientClosedError, NotConnectError
from milvine.client.transports.base import InProcess, TransportFailed
from milvine.errors import DatabaseClosed, FolderGone, MilvineError
from milvine.interrupts import foreign
from milvine.types import Ids, Vectors
from milvine.wire.packed import HitsReply, IdsReply, InsertRequest, Rows, SearchRequest


@dataclass(eq=False)
class _Opened:
    """One open database and the clients that use it, each by an object of its own."""

    process: int
    database: Any
    operations: Any
    clients: set[object] = field(default_factory=set)


_NO_IDS = np.zeros(0, np.int64)
_opened: dict[Path, _Opened] = {}
_elsewhere: list[_Opened] = []
"""Those whose folder was moved, removed or replaced since: they still have clients,
and take no new ones."""
# Reentrant: a client may be collected, and so closed, while another one opens.
_lock = threading.RLock()


def _acquire(folder: Path, client: object) -> _Opened:
    with _lock:
        opened = _opened.get(folder)
        if opened is not None and not opened.clients:  # its last close was interrupted
            _end(opened)
            opened = None
        if opened is not None and not _in_place(opened):
            _elsewhere.append(_opened.pop(folder))
            opened = None
        if opened is None:
            opened = _opened[folder] = _open(folder)
        opened.clients.add(client)
        return opened


def _in_place(opened: _Opened) -> bool:
    """Whether its path still leads to the folder that it has open, rather than
    to another or to none."""
    try:
        opened.database.check_place()
    except FolderGone:
        return False
    return True


def _open(folder: Path) -> _Opened:
    kept = import_module("milvine.server.configuration.kept_settings")
    said: Callable[[str], str] = str
    try:
        configuration = kept.embedded_configuration(folder)
        settings, said = configuration.settings, partial(kept.with_places, configuration)
        events = import_module("milvine.logs.embedded").speak_up(configuration.notices)
        database = import_module("milvine.engine.database").Database.open(folder, settings, events)
    except (MilvineError, OSError) as error:
        if foreign(error):
            raise
        reason = said(str(error))
        raise NotConnectError(f"Cannot open the database in {folder}: {reason}") from error
    operations = import_module("milvine.server.operations").Operations(
        database, settings, events, configuration, _passes
    )
    return _Opened(os.getpid(), database, operations)


def _passes(error: BaseException) -> bool:
    """Whether an error is the caller's to see as it is, and no answer of the database."""
    return isinstance(error, DatabaseClosed) or foreign(error)


def _release(opened: _Opened, client: object) -> None:
    """Twice is as once: an interrupt may come before the database is closed."""
    with _lock:
        opened.clients.discard(client)
        if not opened.clients:
            _end(opened)


def _end(opened: _Opened) -> None:
    opened.database.close()
    for folder in [folder for folder, each in _opened.items() if each is opened]:
        del _opened[folder]
    if opened in _elsewhere:
        _elsewhere.remove(opened)


@atexit.register
def _close_all() -> None:
    with _lock:
        left = [*_opened.values(), *_elsewhere]
        _opened.clear()
        _elsewhere.clear()
    with ExitStack() as closing:  # all of them, whatever one of them meets
        for opened in left:
            closing.callback(opened.database.close)


def _forget() -> None:
    """A forked child opens databases of its own, and the lock may be held by a thread
    that it does not have."""
    global _lock
    _lock = threading.RLock()
    _opened.clear()
    _elsewhere.clear()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_forget)


class EmbeddedTransport:
    """Calls run in the caller's thread, and those that were begun to their end: of timeouts only 0
    is kept, which begins none.
    """

    def __init__(self, folder: Path) -> None:
        self._client, self._closed = object(), False
        self._opened: _Opened | None = _acquire(folder.resolve(), self._client)
        self._refused: Any = import_module("milvine.server.operations").Refused

    def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        operations = self._operations()
        if timeout == 0.0:
            raise TransportFailed(_grpc_code("DEADLINE_EXCEEDED"), "Deadline Exceeded")
        try:
            reply: bytes = operations.call(method, request)
        except self._refused as error:
            raise TransportFailed(_grpc_code(error.status.name), str(error)) from None
        except DatabaseClosed:  # during the call
            raise self._ended() from None
        return reply

    @property
    def in_process(self) -> InProcess:
        """What takes arrays as they are."""
        return self

    def insert(
        self, collection: str, vectors: Vectors, ids: Ids | None, tag: str, key: str
    ) -> IdsReply:
        """As the call Insert, with nothing encoded. The rows are copied: they are the caller's, who
        may change them in another thread meanwhile.
        """
        operations = self._operations()
        rows = Rows(len(vectors), vectors.size, vectors.copy())
        given = _NO_IDS if ids is None else ids.copy()
        wanted = InsertRequest(collection, rows, given, tag, None, key)
        try:
            reply: IdsReply = operations.insert(wanted)
        except DatabaseClosed:
            raise self._ended() from None
        return reply

    def search(
        self,
        collection: str,
        vectors: Vectors,
        topk: int,
        tags: Sequence[str],
        params: Mapping[str, Any],
    ) -> HitsReply:
        """As the call Search, with nothing encoded: a small search costs half as much."""
        wanted = SearchRequest(
            collection, tuple(tags), Rows(len(vectors), vectors.size, vectors), topk, None
        )
        operations = self._operations()
        try:
            reply: HitsReply = operations.search(wanted, params)
        except DatabaseClosed:
            raise self._ended() from None
        return reply

    def _operations(self) -> Any:
        opened = self._opened
        if opened is None:
            raise ClientClosedError
        if opened.process != os.getpid():
            raise NotConnectError(
                "An embedded database stays with the process that opened it. Let the parent make"
                " the calls, or run `milvine serve` for both; a child may open another folder."
            )
        return opened.operations

    def _ended(self) -> Exception:
        """Why the database was closed: by this client, its last, or with the process."""
        return (
            ClientClosedError()
            if self._closed
            else NotConnectError("The embedded database was closed")
        )

    def close(self) -> None:
        self._closed = True
        opened = self._opened
        if opened is not None:
            _release(opened, self._client)
            self._opened = None


def _grpc_code(name: str) -> Any:
    """What a server's client would see. grpc is imported for this name only."""
    return getattr(import_module("grpc").StatusCode, name)


def open_transport(
    address: FolderAddress, wait_timeout: float, max_retry: int, pre_ping: bool
) -> EmbeddedTransport:
    """There is nobody to wait for: only the folder counts."""
    return EmbeddedTransport(address.folder)
