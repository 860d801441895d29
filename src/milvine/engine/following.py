"""A reader beside a writer: a database that was opened read-only follows what the writing process
commits.
"""

from __future__ import annotations

import threading

from milvine.catalog.model import Contents, Mark, StoredCollection
from milvine.engine.opening import Opening
from milvine.events import JobFailed
from milvine.state.collection import CollectionState

_SECONDS = 1.0


class Follower:
    """Keeps a database at the newest commit: every second with `background`, and
    whenever `refresh` is called.

    A look that fails changes nothing: what was known before goes on being read, and the next look
    is another try. `trouble` says why the last one failed; it is empty while all is well.
    """

    def __init__(self, parts: Opening, background: bool) -> None:
        self._parts, self._stores = parts, parts.stores
        self._lock = threading.Lock()
        self._stored: dict[int, StoredCollection] = {}
        self._seen: Mark | None = None
        self._named: set[str] = set()
        self._unnamed_held = False
        self.trouble = ""
        self._thread = threading.Thread(target=self._follow, name="milvine-follower", daemon=True)
        if background:
            self._thread.start()

    def refresh(self) -> None:
        """Read the catalog again if it changed; collections that did not change keep what is open.

        Raises:
            StorageFailed, CorruptFile: the catalog or a file cannot be read, or the folder is gone.
            UnsupportedFormat: a newer Milvine writes it now.
        """
        with self._lock:
            try:
                self._look()
            except BaseException as error:
                self.trouble = str(error) or type(error).__name__
                raise
            self.trouble = ""

    def _look(self) -> None:
        mark = self._stores.catalog.mark()
        if mark != self._seen:
            self._parts.folder.check_format()
            contents = self._stores.catalog.contents()
            if self._seen is not None and mark.catalog != self._seen.catalog:
                self._start_over()
            self._take(contents)
            self._seen, self._unnamed_held = mark, True
        if self._unnamed_held:  # a search may hold some a little longer
            self._unnamed_held = self._stores.files.release_unnamed(self._named)

    def _start_over(self) -> None:
        """The folder or its catalog is another one, as after a repair or a restored backup."""
        stores = self._stores
        stores.storage = self._parts.open_storage()
        stores.files.start_over(stores.storage)
        self._stored = {}

    def _take(self, contents: Contents) -> None:
        """Show readers what the catalog says."""
        stores, states = self._stores, {}
        for stored in contents.collections:
            number = stored.collection.id
            same = self._stored.get(number) == stored and number in stores.states
            states[number] = stores.states[number] if same else self._opened(stored)
        self._stored = {stored.collection.id: stored for stored in contents.collections}
        self._named = {name for state in states.values() for name in state.files()}
        stores.states = states
        stores.names = {state.collection.name: state for state in states.values()}

    def _opened(self, stored: StoredCollection) -> CollectionState:
        """Its segments are looked at anew: what could not be read may have been removed, for
        others took its place."""
        for record in stored.segments:
            self._stores.files.refused.pop(record.id, None)
        return CollectionState(stored, self._stores.files)

    @property
    def ended(self) -> str:
        """The name of the thread if it has ended before `close`; empty while it follows."""
        started = self._thread.ident is not None
        return self._thread.name if started and not self._thread.is_alive() else ""

    def runs_here(self) -> bool:
        """Whether this is its thread."""
        return threading.current_thread() is self._thread

    def close(self) -> None:
        """Ends the thread. `stores.closing` is set before."""
        if self._thread.is_alive():
            self._thread.join()

    def _follow(self) -> None:
        reported = ""
        while not self._stores.closing.wait(_SECONDS):
            try:
                self.refresh()
            except (
                Exception
            ) as error:  # whatever it was, as want of memory: the next second is another try
                if self.trouble != reported:  # once, not every second
                    self._stores.events.emit(
                        JobFailed("follow", str(error) or type(error).__name__)
                    )
            reported = self.trouble
