"""A database as a whole, from when its folder is open until it is closed: what works beside its
callers, whether it takes their calls, and how it is set.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from threading import current_thread

from milvine.config import Settings
from milvine.engine.back_pressure import InsertBackPressure, SearchBackPressure
from milvine.engine.following import Follower
from milvine.engine.inspection import Inspection, inspect
from milvine.engine.live import set_live
from milvine.engine.opening import Opening, close_parts, flush_rest
from milvine.engine.readiness import check_parts
from milvine.engine.sharing import SharedScans
from milvine.errors import DatabaseClosed, ReadOnly, ReentrantCall
from milvine.maintenance.worker import Worker
from milvine.search.executor import OpenExecutor, ThreadExecutor
from milvine.search.prepared import PreparedSearch
from milvine.state.stores import Stores
from milvine.storage.forks import let_go_in_children
from milvine.types import Hits, Vectors

SearchSampler = Callable[[PreparedSearch, Vectors, Hits], None]


class Lifecycle:
    """What a `Database` is apart from what is in it. It owns the parts, and closes them.

    Attributes:
        stores, parts, executor, shared, back_pressure: what callers and jobs share; for this
            package, and for tests.
        closed: why it takes no calls; empty while it does.
        sampler: gets every search that ends well.
    """

    def __init__(
        self, parts: Opening, settings: Settings, open_executor: OpenExecutor = ThreadExecutor
    ) -> None:
        self.parts, self.stores = parts, parts.stores
        self.memory = memory = parts.memory  # bytes of each part, as planned when it was opened
        searches = SearchBackPressure(memory.searches)
        self.executor = open_executor(
            settings.search_threads, searches.reserve, memory.search_portion
        )
        self.shared = SharedScans(settings.search_threads)
        self.back_pressure = InsertBackPressure(parts.stores)
        self.sampler: SearchSampler | None = None
        self._worker = Worker(parts.stores) if settings.background and not parts.read_only else None
        self._follower = Follower(parts, settings.background) if parts.read_only else None
        self.closed, self._ended = "", False
        self._closing = threading.RLock()
        let_go_in_children(self)
        if self._worker:
            self._worker.wake()

    def forked(self) -> None:
        """In a child there are none of the threads."""
        self.closed = (
            "A database stays with the process that opened it, and this one was forked from that."
            " Let the parent make the calls, or run `milvine serve` for both; a child may open"
            " another folder"
        )
        self._closing, self._ended = threading.RLock(), True

    def close(self) -> None:
        """Flush what is not flushed, stop background work, release the folder. Called again, it
        goes on.

        Raises:
            ReentrantCall: a listener calls it on a thread that it would wait for.
        """
        if not self._ended and self._runs_here():
            raise ReentrantCall
        self.closed = self.closed or "The database is closed"
        with self._closing:
            if self._ended:
                return
            self.stores.closing.set()
            if self._worker:
                self._worker.close()
            if self._follower:
                self._follower.close()
            try:
                flush_rest(self.parts)
            finally:
                self.executor.close()
                close_parts(self.parts)
                self._ended = True

    def _runs_here(self) -> bool:
        """Whether this is a thread that `close` would wait for."""
        if current_thread() is self.stores.writer.thread:
            return True
        return any(each.runs_here() for each in (self._worker, self._follower) if each)

    @property
    def settings(self) -> Settings:
        """The effective settings, with what `configure` has changed."""
        return self.stores.settings

    def inspect(self) -> Inspection:
        """What it holds at this moment, for metrics."""
        self.check_open()
        return inspect(self.parts)

    def check_ready(self) -> None:
        """Whether requests can be expected to succeed; inserts and deletes too, unless it was
        opened read-only.

        Raises:
            DatabaseClosed, StorageFailed: the text says why not.
        """
        self.check_open()
        check_parts(self.parts, self._worker or self._follower)

    def check_place(self) -> None:
        """Raises FolderGone: another folder, or none, is where this one was opened. It can be read,
        and closed.
        """
        self.check_open()
        self.parts.folder.check()

    def configure(self, key: str, value: str) -> None:
        """Change a setting until the database is closed; `key` is one of `milvine.config.KEYS`.

        Raises:
            IllegalArgument: the value is malformed or out of range.
            Unsupported: this setting cannot change while the database is open.
        """
        self.check_open()
        set_live(self.stores, key, value)

    def refresh(self) -> None:
        """See at once what another process has flushed, when opened read-only; otherwise there is
        nothing to do.

        Raises:
            StorageFailed, CorruptFile: the catalog cannot be read.
        """
        self.check_open()
        if self._follower:
            self._follower.refresh()

    def writable(self) -> Stores:
        """The stores, for who changes something. Raises DatabaseClosed, ReadOnly."""
        self.check_open()
        if self.parts.read_only:
            if self.stores.settings.cluster_role == "ro":
                raise ReadOnly("The database was opened read-only (cluster.role is ro)")
            raise ReadOnly
        if current_thread() is self.stores.writer.thread:
            # it may hold up what the call would wait for first
            raise ReentrantCall
        return self.stores

    def check_open(self) -> None:
        """Raises DatabaseClosed."""
        if self.closed:
            raise DatabaseClosed(self.closed)

    def wake(self) -> None:
        """There may be work for the background."""
        if self._worker:
            self._worker.wake()
