"""A reader beside a writer: a database that was opened read-only follows what the writing process commits."""

from __future__ import annotations

import threading

from milvine.catalog.model import StoredCollection
from milvine.events import JobFailed
from milvine.ingest.state import CollectionState
from milvine.ingest.stores import Stores

_SECONDS = 1.0


class Follower:
    """Keeps `stores` at the newest commit: every second with `background`, and whenever `refresh` is called."""

    def __init__(self, stores: Stores, background: bool) -> None:
        self._stores = stores
        self._lock = threading.Lock()
        self._known: dict[int, StoredCollection] = {}
        self._seen: object = None
        self._thread = threading.Thread(target=self._follow, name="milvine-follower", daemon=True)
        if background:
            self._thread.start()

    def refresh(self) -> None:
        """Read the catalog again if it changed; collections that did not change keep what is open.

        Raises:
            StorageFailed, CorruptFile: the catalog or a file cannot be read; what was there before goes on being read.
        """
        with self._lock:
            signature = self._stores.catalog.signature()
            if signature == self._seen:
                return
            stores, states, known = self._stores, {}, {}
            for stored in stores.catalog.contents().collections:
                number = stored.collection.id
                same = self._known.get(number) == stored and number in stores.states
                states[number] = stores.states[number] if same else CollectionState(stored, stores.files)
                known[number] = stored
            stores.states, self._known, self._seen = states, known, signature
            stores.names = {state.collection.name: state for state in states.values()}

    @property
    def ended(self) -> str:
        """The name of the thread if it has ended before `close`; empty while it follows."""
        started = self._thread.ident is not None
        return self._thread.name if started and not self._thread.is_alive() else ""

    def close(self) -> None:
        """Ends the thread. `stores.closing` is set before."""
        if self._thread.is_alive():
            self._thread.join()

    def _follow(self) -> None:
        while not self._stores.closing.wait(_SECONDS):
            try:
                self.refresh()
            except Exception as error:  # whatever it was, as want of memory: the next second is another try
                self._stores.events.emit(JobFailed("follow", str(error) or type(error).__name__))
