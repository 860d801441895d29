"""A data folder that is open: its collections, and what concerns all of them. Thread-safe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from milvine.config import Settings
from milvine.engine import ddl
from milvine.engine.collection import OpenCollection
from milvine.engine.definition_checks import check_name
from milvine.engine.lifecycle import Lifecycle, SearchSampler
from milvine.engine.opening import OpenStorage, close_parts, local_storage, open_parts
from milvine.errors import CollectionNotFound, DatabaseClosed, Unsupported
from milvine.events import Events
from milvine.maintenance.flush import flush
from milvine.memory_plan import MemoryPlan
from milvine.search.executor import OpenExecutor, ThreadExecutor
from milvine.state.collection import CollectionState
from milvine.storage.local import LocalStorage
from milvine.types import MetricType

if TYPE_CHECKING:
    from milvine.offline.manifest import Manifest


D = TypeVar("D", bound="Database")


class Database(Lifecycle):
    """One data folder. What would be logged or kept is checked here, whoever checked it before.

    Every method raises DatabaseClosed after `close`, and those that take the name of a collection
    CollectionNotFound. Those that change something raise ReadOnly when the folder was opened
    read-only, StorageFailed when the disk refuses, ReentrantCall when a listener calls them on the
    thread that stores.
    """

    @classmethod
    def open(
        cls: type[D],
        folder: str | Path,
        settings: Settings | None = None,
        events: Events | None = None,
        read_only: bool = False,
        memory: MemoryPlan | None = None,
        open_storage: OpenStorage = local_storage,
        open_executor: OpenExecutor = ThreadExecutor,
    ) -> D:
        """Open the database in `folder`, creating it if need be, and recover what a crash left in
        the log. Its component files are where `open_storage` says: in `folder`, too. The tasks of
        searches run where `open_executor` says: in this process.

        With `read_only` nothing is created or locked: what is flushed can be read while another
        process writes, and is followed every second. `memory` is a plan for `settings`; None: that
        of this process.

        Raises:
            DataFolderLocked: another process has it open.
            UnsupportedFormat: a newer Milvine wrote it.
            CorruptFile: an acknowledged record or a file is damaged; file and offset are named.
            StorageFailed: it cannot be created or read.
        """
        settings, events = settings or Settings(), Events() if events is None else events
        root = Path(folder).absolute()
        parts = open_parts(root, settings, events, read_only, memory, open_storage)
        try:
            return cls(parts, settings, open_executor)
        except BaseException:
            close_parts(parts)
            raise

    def __enter__(self: D) -> D:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # collections

    def create_collection(
        self, name: str, dimension: int, index_file_size_mb: int, metric: MetricType
    ) -> None:
        """Raises CollectionExists; IllegalCollectionName, IllegalDimension, IllegalArgument,
        IllegalMetricType: a value that no collection has. With `index_file_size_mb` 0 segments are
        never merged."""
        ddl.create_collection(self.writable(), name, dimension, index_file_size_mb, metric)

    def has_collection(self, name: str) -> bool:
        self.check_open()
        return name in self.stores.names

    def collections(self) -> list[str]:
        """All names, in creation order."""
        self.check_open()
        return list(self.stores.names)

    def collection(self, name: str) -> OpenCollection:
        """The collection with this name: what is stored and found in it is asked of that.

        Raises:
            IllegalCollectionName: none can have it.
            CollectionNotFound.
        """
        if self.closed:
            raise DatabaseClosed(self.closed)
        state = self.stores.names.get(name) if isinstance(name, str) else None
        if state is None:
            check_name(name)
            raise CollectionNotFound.named(name)
        return OpenCollection(self, state)

    def _state_of(self, name: str) -> CollectionState:
        state = self.stores.names.get(name)
        if state is None:
            raise CollectionNotFound.named(name)
        return state

    def watch_searches(self, sampler: SearchSampler) -> None:
        """`sampler` gets every search that ends well: how it was prepared, the vectors, the answer.

        It is called on the thread that searches and must neither raise nor wait; what it keeps
        stays in memory.
        """
        self.sampler = sampler

    def flush(self, names: Sequence[str] | None = None) -> None:
        """Write everything acknowledged before the call to segments; all collections when `names`
        is empty.

        Raises:
            StorageFailed, CorruptFile: one could not be flushed; the others are.
        """
        stores = self.writable()
        states = [self._state_of(name) for name in names or ()]
        states = states or list(stores.states.values())
        flush(stores, *dict.fromkeys(states))
        self.wake()

    def backup(self, destination: str | Path, link: bool = False, indexes: bool = True) -> Manifest:
        """Make a backup as a new folder in `destination`, with all that was acknowledged before;
        others go on.

        See `milvine.offline.backup`.

        Raises:
            StorageFailed: the disk refuses; no backup remains. FolderGone: as `check_place`.
            CorruptFile: a file of the database is damaged; no backup remains.
            Unsupported: its component files are in another storage than its folder.
        """
        self.check_place()
        storage = self.stores.storage
        if not isinstance(storage, LocalStorage) or storage.folder != self.parts.folder.segments:
            raise Unsupported(
                "The component files of this database are not in its folder; a backup copies those"
                " that are"
            )
        folder, uri = self.parts.folder, self.stores.settings.meta_uri
        # Imported here: it is a part of the time that a program takes to open a database.
        backup: Callable[..., Manifest] = import_module("milvine.offline.backup").backup
        return backup(folder.root, Path(destination).absolute(), link, indexes, uri, folder.wal)
