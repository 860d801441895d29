"""The open parts of one database, handed to everything that works on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from threading import Thread
from typing import Protocol, TypeVar

from milvine.catalog.sql import Catalog
from milvine.config import Settings
from milvine.events import BuildProgressed, Events
from milvine.segment.cache import FileCache
from milvine.state.collection import CollectionState
from milvine.state.ids import IdSource
from milvine.state.memtable import TailBytes
from milvine.state.requests import Request
from milvine.storage.base import Storage
from milvine.types import Ids
from milvine.waiting import Flag, Outcome
from milvine.wal.log import Log

T = TypeVar("T")


class Sequencer(Protocol):
    """The one thread that changes what a database holds (`ingest/writer.py: Writer`): states,
    catalog and log. Whoever wants a change hands it over, and it is made in the order of the queue.
    """

    def submit(self, request: Request) -> Outcome[Ids]:
        """Have rows inserted or deleted: the outcome comes when they are durable and visible, or
        refused.

        Raises:
            DatabaseClosed, StorageFailed: nothing is taken any more.
        """
        ...

    @property
    def thread(self) -> Thread:
        """That thread, which must not wait for itself."""
        ...

    def call(self, function: Callable[[], T]) -> T:
        """Run `function` on that thread while nothing else is changed; what it returns or raises.

        Raises:
            DatabaseClosed, StorageFailed: as `submit`.
        """
        ...


@dataclass(eq=False)
class Stores:
    """Anybody may read. Only the thread of `writer` changes `states` (by collection id), `names`
    (by name), `catalog` and `log`: others give it a function by `writer.call`. In a database that
    was opened read-only nothing changes them but `engine/following.py: Follower`, which replaces
    `states` and `names` as a whole.

    `obsolete`: files that left the catalog, and since when (`maintenance/reclaim.py`).
    `builds` holds the builds that run now, by the segment they are of: how far each has come.
    `doubtful` holds files of commits that failed, with the commit they wait for (see `in_doubt`).
    `settings` is replaced when a live one changes: look values up when they are needed.
    """

    settings: Settings
    storage: Storage
    files: FileCache
    catalog: Catalog
    ids: IdSource
    events: Events
    writer: Sequencer
    log: Log
    states: dict[int, CollectionState]
    names: dict[str, CollectionState]
    obsolete: dict[str, float] = field(default_factory=dict)
    doubtful: dict[str, int] = field(default_factory=dict)
    builds: dict[int, BuildProgressed] = field(default_factory=dict)
    closing: Flag = field(default_factory=Flag)
    tail: TailBytes = field(default_factory=TailBytes)

    def __post_init__(self) -> None:
        for state in self.states.values():
            state.memtable.count_in(self.tail)

    def take_in(self, state: CollectionState) -> None:
        """A new collection is there (writer thread)."""
        state.memtable.count_in(self.tail)
        self.states[state.id] = self.names[state.collection.name] = state

    def in_doubt(self, names: Iterable[str]) -> None:
        """The commit that was to name these files failed, so nothing needs them; but not quite
        surely.

        A commit whose sync failed may be on the disk all the same, and a crash would then make it
        real. The next commit takes its place: only then may they go.
        """
        for name in names:
            self.doubtful[name] = self.catalog.commits

    def settled(self) -> list[str]:
        """Files in doubt that may go, for a later commit was made."""
        commits = self.catalog.commits
        gone = [name for name, at in list(self.doubtful.items()) if at < commits]
        for name in gone:
            self.doubtful.pop(name, None)
        return gone

    def tail_bytes(self) -> int:
        """Bytes of unflushed rows in all collections."""
        return self.tail.count

    def oldest_pending_lsn(self) -> int | None:
        """The LSN that holds back the oldest log file; None when all is flushed."""
        pending = [
            lsn for state in list(self.states.values()) if (lsn := state.pending_lsn) is not None
        ]
        return min(pending, default=None)

    def trim_log(self) -> None:
        """Remove log files that no collection needs any more (writer thread).

        With a segment whose deletes cannot be read all stay: `milvine repair` finds them there.
        """
        if self.files.refused:
            return
        pending = self.oldest_pending_lsn()
        self.log.trim(self.log.last_lsn if pending is None else pending - 1)
