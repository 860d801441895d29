"""What the engine tells the world. It calls no logger and no metric: it emits these, and listeners
do the rest. What the server tells is in `server.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from milvine.events.delivery import Event as Event
from milvine.events.delivery import Events as Events
from milvine.events.delivery import Listener as Listener

if TYPE_CHECKING:  # it brings numpy, for which `milvine version` and `milvine token` need not wait
    from milvine.types import SearchSteps, WatchedSearch


@dataclass(frozen=True, slots=True)
class Opened(Event):
    folder: str
    collections: int
    segments: int
    replayed_records: int
    seconds: float


@dataclass(frozen=True, slots=True)
class TornTailCut(Event):
    """The log ended in an incomplete group of records that nobody had been told about; it was cut
    off.
    """

    file: str
    offset: int
    bytes_cut: int


@dataclass(frozen=True, slots=True)
class LogMissing(Event):
    """There are collections and no log file: it ran with `wal.enable` off, or somebody took the log
    away.

    Then rows that were in no segment yet are lost.
    """

    folder: str


@dataclass(frozen=True, slots=True)
class LogFailed(Event):
    """An append or sync failed; nothing of the group was acknowledged and the log went on in a new
    file.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class DiskFilled(Event):
    """There is no room for inserts: they are refused until there is. Searches and deletes go on."""

    reason: str


@dataclass(frozen=True, slots=True)
class DiskFreed(Event):
    """There is room again, and inserts go on."""


@dataclass(frozen=True, slots=True)
class WriterEnded(Event):
    """An error that nobody foresaw ended the thread that stores; what was acknowledged is in the
    log.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class NetworkFolder(Event):
    """Data folder or log lie on a network file system, whose locks and syncs may
    promise more than they keep."""

    folder: str
    kind: str


@dataclass(frozen=True, slots=True)
class DamageFound(Event):
    """A file is not what was written. What would come of it is refused; the rest of the database
    goes on.
    """

    file: str
    offset: int
    reason: str


@dataclass(frozen=True, slots=True)
class Scrubbed(Event):
    """All segment files were read once and compared with their checksums."""

    files: int
    size: int
    damaged: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Flushed(Event):
    """Rows became segments. `size` counts the bytes of their vectors and ids; `seconds` is the
    writing alone.
    """

    collection_id: int
    rows: int
    segments: int
    lsn: int
    seconds: float
    size: int = 0


@dataclass(frozen=True, slots=True)
class NonfiniteStored(Event):
    """A flush wrote rows with NaN, infinity or an overflowing length: no search finds them.
    Told once a collection."""

    collection: str
    rows: int


@dataclass(frozen=True, slots=True)
class Merged(Event):
    collection_id: int
    inputs: tuple[int, ...]
    output: int | None
    rows: int
    seconds: float


@dataclass(frozen=True, slots=True)
class IndexBuilt(Event):
    collection_id: int
    segment_id: int
    index_type: str
    rows: int
    seconds: float


@dataclass(frozen=True, slots=True)
class BuildProgressed(Event):
    """How far the build of one index has come; told when a stage begins and as rows are done in it.

    `stage` is a word such as `training`, `adding`, `writing`; `done` of `rows` rows have gone
    through it. A stage whose library does not tell stays at 0 until it ends. `seconds` since the
    build began.
    """

    collection_id: int
    segment_id: int
    index_type: str
    stage: str
    done: int
    rows: int
    seconds: float


@dataclass(frozen=True, slots=True)
class BuildStalled(Event):
    """A builder used so much CPU time in one stage without getting any further that it was
    ended.
    """

    collection_id: int
    segment_id: int
    index_type: str
    stage: str
    cpu_seconds: int


@dataclass(frozen=True, slots=True)
class BuildGivenUp(Event):
    """An index could not be built time and again: its segment is searched exactly until somebody
    asks once more.
    """

    collection_id: int
    segment_id: int
    attempts: int
    reason: str


@dataclass(frozen=True, slots=True)
class IndexSetAside(Event):
    """An index file cannot be used; its segment is searched exactly until the index is
    built anew.
    """

    collection_id: int
    segment_id: int
    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class SegmentRefused(Event):
    """Some deletes of a segment are not known, because `reason`: it is not read until `milvine
    repair` was there.

    Searches and look-ups that need it get `reason` as their error; everything else goes on.
    """

    collection: str
    segment_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class JobFailed(Event):
    """A background job failed; it is tried again later."""

    job: str
    reason: str


@dataclass(frozen=True, slots=True)
class FilesRemoved(Event):
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Inserted(Event):
    """Rows are durable and visible. `size` counts the bytes of the vectors; `seconds` includes the
    wait for the log.
    """

    collection: str
    rows: int
    size: int
    seconds: float


@dataclass(frozen=True, slots=True)
class InsertFailed(Event):
    """Rows were refused, or the log could not take them: the caller got an error."""

    collection: str
    rows: int


@dataclass(frozen=True, slots=True)
class Searched(Event):
    """A search of `nq` queries ended; told on the thread that searched."""

    collection: str
    nq: int
    topk: int
    seconds: float
    watched: WatchedSearch

    @property
    def steps(self) -> SearchSteps:
        """What it did; put together when somebody asks."""
        return self.watched.steps()


@dataclass(frozen=True, slots=True)
class GroupCommitted(Event):
    """The log took a group of inserts and deletes with one sync. `size`: bytes of vectors, and of
    ids to delete.

    `seconds` is the append with the sync, `sync_seconds` the sync alone (0 with `wal.sync` off).
    """

    requests: int
    size: int
    seconds: float
    sync_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class CatalogCommitted(Event):
    """One transaction of the catalog, with its sync."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Loaded(Event):
    """Preload brought a segment into memory: `size` bytes of its files, checked."""

    collection_id: int
    segment_id: int
    size: int
    seconds: float


@dataclass(frozen=True, slots=True)
class LoadedInPart(Event):
    """More was asked into memory than `cache.cache_size` has room for: so many `segments`
    are read when searched."""

    collection: str
    segments: int
    size: int
