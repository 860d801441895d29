"""A database as a whole, from when its folder is open until it is closed: what works beside its
callers, whether it takes their calls, and how it is set.
"""

from __future__ import annotations

import threading

from milvine.config import Settings
from milvine.engine.back_pressure import SearchBackPressure
from milvine.engine.following import Follower
from milvine.engine.inspection import Inspection, inspect
from milvine.engine.live import set_live
from milvine.engine.opening import Opening, close_parts, flush_rest
from milvine.engine.readiness import check_parts
from milvine.errors import DatabaseClosed, ReadOnly
from milvine.ingest.stores import Stores
from milvine.maintenance.worker import Worker
from milvine.search.executor import Executor
from milvine.storage.forks import let_go_in_children


class Lifecycle:
    """What a `Database` is apart from what is in it. It owns the parts, and closes them."""

    def __init__(self, parts: Opening, settings: Settings) -> None:
        self._parts = parts
        self.stores = parts.stores  # what callers and jobs share; for the engine and its tests
        self.memory = memory = parts.memory  # bytes of each part, as planned when it was opened
        searches = SearchBackPressure(memory.searches)
        self._executor = Executor(settings.search_threads, searches.reserve, memory.search_portion)
        self._worker = Worker(parts.stores) if settings.background and not parts.read_only else None
        self._follower = Follower(parts, settings.background) if parts.read_only else None
        self._closed, self._ended = "", False  # why it takes no calls, once it does not
        self._closing = threading.RLock()
        let_go_in_children(self)
        if self._worker:
            self._worker.wake()

    def forked(self) -> None:
        """In a child there are none of the threads."""
        self._closed = (
            "A database stays with the process that opened it, and this one was forked from that."
            " Let the parent make the calls, or run `milvine serve` for both; a child may open"
            " another folder"
        )
        self._closing, self._ended = threading.RLock(), True

    def close(self) -> None:
        """Flush what is not flushed, stop background work, release the folder. Called again, it
        goes on.
        """
        self._closed = self._closed or "The database is closed"
        with self._closing:
            if self._ended:
                return
            self.stores.closing.set()
            if self._worker:
                self._worker.close()
            if self._follower:
                self._follower.close()
            try:
                flush_rest(self._parts)
            finally:
                self._executor.close()
                close_parts(self._parts)
                self._ended = True

    @property
    def settings(self) -> Settings:
        """The effective settings, with what `configure` has changed."""
        return self.stores.settings

    def inspect(self) -> Inspection:
        """What it holds at this moment, for metrics."""
        self._check_open()
        return inspect(self._parts)

    def check_ready(self) -> None:
        """Whether requests can be expected to succeed; inserts and deletes too, unless it was
        opened read-only.

        Raises:
            DatabaseClosed, StorageFailed: the text says why not.
        """
        self._check_open()
        check_parts(self._parts, self._worker or self._follower)

    def check_place(self) -> None:
        """Raises FolderGone: another folder, or none, is where this one was opened. It can be read,
        and closed.
        """
        self._check_open()
        self._parts.folder.check()

    def configure(self, key: str, value: str) -> None:
        """Change a setting until the database is closed; `key` is one of `milvine.config.KEYS`.

        Raises:
            IllegalArgument: the value is malformed or out of range.
            Unsupported: this setting cannot change while the database is open.
        """
        self._check_open()
        set_live(self.stores, key, value)

    def refresh(self) -> None:
        """See at once what another process has flushed, when opened read-only; otherwise there is
        nothing to do.

        Raises:
            StorageFailed, CorruptFile: the catalog cannot be read.
        """
        self._check_open()
        if self._follower:
            self._follower.refresh()

    def _writable(self) -> Stores:
        self._check_open()
        if self._parts.read_only:
            if self.stores.settings.cluster_role == "ro":
                raise ReadOnly("The database was opened read-only (cluster.role is ro)")
            raise ReadOnly
        return self.stores

    def _check_open(self) -> None:
        if self._closed:
            raise DatabaseClosed(self._closed)

    def _wake(self) -> None:
        if self._worker:
            self._worker.wake()
