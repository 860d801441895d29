"""The open parts of one database, handed to everything that works on it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from milvine.catalog.sql import Catalog
from milvine.config import Settings
from milvine.events import BuildProgressed, Events
from milvine.ingest.ids import IdSource
from milvine.ingest.state import CollectionState
from milvine.ingest.writer import Writer
from milvine.segment.cache import FileCache
from milvine.storage.local import LocalStorage
from milvine.types import IndexType


@dataclass(frozen=True, slots=True)
class BuildUnderWay:
    """An index that is being built for a segment of `rows` rows, since `began` of the monotonic clock."""

    collection_id: int
    segment_id: int
    index_type: IndexType
    rows: int
    began: float


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
    building: dict[int, BuildUnderWay] = field(default_factory=dict)
    """Builds that run now, by segment id."""

    def tail_bytes(self) -> int:
        """Bytes of unflushed rows in all collections."""
        return sum(state.memtable.bytes for state in list(self.states.values()))

    def oldest_pending_lsn(self) -> int | None:
        """The LSN that holds back the oldest log file; None when all is flushed."""
        pending = [lsn for state in list(self.states.values()) if (lsn := state.pending_lsn) is not None]
        return min(pending, default=None)

    @contextmanager
    def build_under_way(self, collection_id: int, segment_id: int, index_type: IndexType, rows: int) -> Iterator[None]:
        """The build of a segment's index is told among the running ones for as long as the block runs."""
        self.building[segment_id] = BuildUnderWay(collection_id, segment_id, index_type, rows, time.monotonic())
        try:
            yield
        finally:
            self.building.pop(segment_id, None)

    def trim_log(self) -> None:
        """Remove log files that no collection needs any more (writer thread)."""
        pending = self.oldest_pending_lsn()
        self.writer.log.trim(self.writer.log.last_lsn if pending is None else pending - 1)
