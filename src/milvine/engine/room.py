"""Back pressure: with the insert buffer full, whoever inserts flushes first, or waits for one who does."""

from __future__ import annotations

import threading

from milvine.errors import MilvineError
from milvine.ingest.stores import Stores
from milvine.maintenance.flush import flush


class Room:
    """In the insert buffer of one database. One thread makes it at a time: the others find it made."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._making = threading.Lock()

    def full(self) -> bool:
        return self._stores.tail_bytes() > self._stores.settings.insert_buffer_size

    def make(self) -> bool:
        """Returns when there is room; whether this thread flushed anything for that.

        Raises:
            StorageFailed, CorruptFile: nothing can be flushed; this is why not the largest tail.
        """
        flushed = False
        while self.full():
            with self._making:
                if self.full():
                    self._flush_largest()
                    flushed = True
        return flushed

    def _flush_largest(self) -> None:
        """The largest tail that can be flushed: a damaged file of one collection does not keep rows from the others."""
        failure: MilvineError | None = None
        for state in sorted(self._stores.states.values(), key=lambda state: state.memtable.bytes, reverse=True):
            if not state.memtable.bytes:
                break
            try:
                flush(self._stores, state)
            except MilvineError as error:
                failure = failure or error
            else:
                return
        if failure is not None:
            raise failure
