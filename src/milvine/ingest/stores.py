"""The open parts of one database, handed to everything that works on it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from milvine.catalog.sql import Catalog
from milvine.config import Settings
from milvine.events import BuildProgressed, Events
from milvine.ingest.ids import IdSource
from milvine.ingest.state import CollectionState
from milvine.ingest.writer import Writer
from milvine.segment.cache import FileCache
from milvine.storage.local import LocalStorage


@dataclass(eq=False)
class Stores:
    """`states` by collection id, `names` by name: only the writer thread adds and removes. `obsolete`: since when.

    `builds` holds the builds that run now, by the segment they are of: how far each has come.
    `settings` is replaced when a live one changes: look values up when they are needed.
    """

    settings: Settings
    storage: LocalStorage
    files: FileCache
    catalog: Catalog
    ids: IdSource
    events: Events
    writer: Writer
    states: dict[int, CollectionState]
    names: dict[str, CollectionState]
    obsolete: dict[str, float] = field(default_factory=dict)
    builds: dict[int, BuildProgressed] = field(default_factory=dict)
    closing: threading.Event = field(default_factory=threading.Event)

    def tail_bytes(self) -> int:
        """Bytes of unflushed rows in all collections."""
        return sum(state.memtable.bytes for state in list(self.states.values()))

    def oldest_pending_lsn(self) -> int | None:
        """The LSN that holds back the oldest log file; None when all is flushed."""
        pending = [lsn for state in list(self.states.values()) if (lsn := state.pending_lsn) is not None]
        return min(pending, default=None)

    def trim_log(self) -> None:
        """Remove log files that no collection needs any more (writer thread).

        With a segment whose deletes cannot be read all stay: `milvine repair` finds them there.
        """
        if self.files.refused:
            return
        pending = self.oldest_pending_lsn()
        self.writer.log.trim(self.writer.log.last_lsn if pending is None else pending - 1)
