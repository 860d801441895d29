"""Opening the parts of a database in order, and closing them in the reverse."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from milvine.catalog.pending import unread_commits
from milvine.catalog.place import in_folder, open_catalog
from milvine.catalog.sql import DEFINITIONS
from milvine.catalog.sqlite import is_there
from milvine.config import Settings
from milvine.errors import CorruptFile, OperatorError
from milvine.events import Events, FilesRemoved, JobFailed, NetworkFolder, Opened
from milvine.ingest.recovery import newest_number, recover, sweep
from milvine.ingest.writer import Writer
from milvine.maintenance.flush import flush_each
from milvine.maintenance.process import Builders
from milvine.memory_plan import MemoryPlan, plan_here
from milvine.segment.cache import FileCache
from milvine.state.collection import CollectionState
from milvine.state.ids import IdSource
from milvine.state.stores import Stores
from milvine.storage.base import Storage
from milvine.storage.durable import refusal
from milvine.storage.failpoints import at
from milvine.storage.filesystem import network_kind
from milvine.storage.folder import DataFolder
from milvine.storage.local import LocalStorage
from milvine.wal.log import Log, NoLog


@dataclass(frozen=True, slots=True)
class Opening:
    """What `open_parts` made. `replayed` counts the log records that were not in segments yet.
    `memory` is the plan that everything in it was made by.
    """

    memory: MemoryPlan
    folder: DataFolder
    stores: Stores
    writer: Writer
    replayed: int
    read_only: bool
    open_storage: Callable[[], Storage]
    builders: Builders = field(default_factory=Builders)


class OpenStorage(Protocol):
    """Opens the place where the component files of a database are."""

    def __call__(self, folder: DataFolder, settings: Settings, read_only: bool) -> Storage:
        """Raises StorageFailed: it cannot be reached. With `read_only` nothing is made."""
        ...


def local_storage(folder: DataFolder, settings: Settings, read_only: bool) -> Storage:
    """The folder of segments in the data folder."""
    opened = LocalStorage if read_only else LocalStorage.made
    return opened(folder.segments, settings.mmap)


def open_parts(
    root: Path,
    settings: Settings,
    events: Events,
    read_only: bool,
    memory: MemoryPlan | None = None,
    open_storage: OpenStorage = local_storage,
) -> Opening:
    """Lock, storage, catalog, log, writer; `Opened` tells of it. On an error everything that was
    opened is closed again.

    `memory`: a plan for these settings; None: that of this process.
    """
    began = time.monotonic()
    memory = memory or plan_here(settings)
    folder = DataFolder(root)
    folder.open(read_only)
    try:
        _tell_network(root, events)
        opened = partial(open_storage, folder, settings, read_only)
        opening = _open(folder, settings, events, read_only, memory, opened)
    except OSError as error:
        folder.close()
        raise refusal(f"open the database in {root}", error, error.filename) from error
    except BaseException:
        folder.close()
        raise
    try:
        states = opening.stores.states.values()
        segments = sum(len(state.segments) for state in states)
        events.emit(
            Opened(str(root), len(states), segments, opening.replayed, time.monotonic() - began)
        )
    except BaseException:
        close_parts(opening)
        raise
    return opening


def _tell_network(folder: Path, events: Events) -> None:
    kind = network_kind(folder)
    if kind:
        events.emit(NetworkFolder(str(folder), kind))


def _open(
    folder: DataFolder,
    settings: Settings,
    events: Events,
    read_only: bool,
    memory: MemoryPlan,
    open_storage: Callable[[], Storage],
) -> Opening:
    with ExitStack() as opened:
        storage = open_storage()
        opened.callback(storage.close)
        if in_folder(folder.root, settings.meta_uri):
            if not read_only:
                _check_commits(folder)
            _check_catalog(folder, storage)
        catalog = open_catalog(folder.catalog, settings.meta_uri, read_only, events)
        opened.callback(catalog.close)
        contents = catalog.contents()
        files = FileCache(storage, settings.open_files_max, memory)
        ids = IdSource()
        if read_only:
            states = {s.collection.id: CollectionState(s, files) for s in contents.collections}
            log: Log = NoLog(contents.durable_lsn)
            replayed = 0
        else:
            at("open.catalog_read")
            catalog.define(contents)
            recovered = recover(folder, contents, files, ids, settings, events)
            if not folder.wal.is_relative_to(folder.root):
                _tell_network(folder.wal, events)
            states, log, replayed = recovered.states, recovered.log, recovered.replayed
            ids.seen(newest_number(storage))
            removed = sweep(storage, states, recovered.first_lsn)
            at("open.swept")
            if removed:
                events.emit(FilesRemoved(removed))
        writer = Writer(log, ids, events, settings.wal_buffer_size // 2, folder.check)
        opened.callback(writer.close)
        names = {state.collection.name: state for state in states.values()}
        stores = Stores(settings, storage, files, catalog, ids, events, writer, log, states, names)
        writer.call(stores.trim_log)
        opened.pop_all()
    return Opening(memory, folder, stores, writer, replayed, read_only, open_storage)


def _check_commits(folder: DataFolder) -> None:
    """SQLite takes damage in its newest commits for their end, and what those name would be swept
    away.

    Raises:
        CorruptFile: there are commits that it would pass over.
    """
    pending = folder.catalog.with_name(folder.catalog.name + "-wal")
    for offset, what, certain in unread_commits(pending):
        if certain:
            raise CorruptFile.at(
                str(pending), offset, f"{what}; `milvine repair` rebuilds the catalog"
            )


def _check_catalog(folder: DataFolder, storage: Storage) -> None:
    """A lost catalog is no empty database: segments that nothing names would be swept away.

    Raises:
        CorruptFile: segments or definitions exist, the catalog does not.
    """
    if is_there(folder.catalog):
        return
    orphans = [
        name for name in storage.names() if name.startswith("rows-") and name.endswith(".mlv")
    ]
    definitions = list((folder.root / DEFINITIONS).glob("collection-*.json"))
    if orphans or definitions:
        there = (
            f"there are {len(orphans)} segment files and {len(definitions)} definitions of"
            " collections"
        )
        state = "empty" if folder.catalog.exists() else "missing"
        what = f"it is {state}, though {there}; `milvine repair` rebuilds it from them"
        raise CorruptFile.at(str(folder.catalog), 0, what)


def flush_rest(opening: Opening) -> None:
    """Flush what is not flushed, once: not after the writer was stopped.

    Raises:
        StorageFailed: there is no log that keeps what cannot be flushed.
    """
    stores = opening.stores
    if opening.read_only or opening.writer.closed:
        return
    for state, error in flush_each(stores, list(stores.states.values())):
        if not (stores.settings.wal_enable and isinstance(error, OperatorError)):
            raise error
        job = f"flush of collection {state.collection.name}"  # the log keeps its rows
        stores.events.emit(JobFailed(job, str(error)))


def close_parts(opening: Opening) -> None:
    """End background work, stop the writer, close catalog and files, release the
    lock. Twice is as once."""
    opening.stores.closing.set()
    opening.builders.close()
    opening.writer.close()
    opening.stores.catalog.close()
    opening.stores.files.clear()
    opening.stores.storage.close()
    opening.folder.close()
