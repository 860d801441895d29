"""The catalog on SQL: SQLite in the data folder (see `place` for another). Every method is one
durable transaction.

Only the writer thread calls the methods that change something.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from sqlalchemy import Connection, Table, and_, delete, insert, text
from sqlalchemy.exc import SQLAlchemyError

from milvine.catalog.definition_files import (
    Definition,
    Definitions,
    created,
    dropped,
    ids_beyond,
    read_files,
    settled,
)
from milvine.catalog.encoding import collection_changes, collection_of, collection_row, segment_row
from milvine.catalog.facts import facts, raise_facts
from milvine.catalog.keys import drop_keys, store_keys
from milvine.catalog.model import Contents, Edit, Mark, StoredCollection
from milvine.catalog.reading import stored_collections, stored_definition
from milvine.catalog.sqlite import copy, engine_of, files_of
from milvine.catalog.sums import SummedRows, store_sums, wrong
from milvine.catalog.tables import COLLECTIONS, METADATA, PARTITIONS, SEGMENTS
from milvine.errors import (
    CatalogFailed,
    CatalogFull,
    CorruptFile,
    DiskFull,
    FolderGone,
    MilvineError,
)
from milvine.events import CatalogCommitted, Events
from milvine.limits import DEFAULT_TAG
from milvine.storage.directory import Identity, identity, identity_of_followed
from milvine.storage.durable import refusal, sync_folder
from milvine.storage.failpoints import at
from milvine.storage.forks import keep_for_ever, let_go_in_children
from milvine.types import Collection, IdMode, IndexType, MetricType, Partition

DEFINITIONS = "definitions"
"""The folder, beside the catalog, of the definitions outside it."""
_CURE = "`milvine repair` rebuilds it"
_NO_ROOM = "database or disk is full"
_DAMAGED = ("malformed", "is not a database")


class Catalog:
    """An open catalog.

    Raises:
        CatalogFailed: from every method, when the database refuses; nothing of the transaction
            remains.
    """

    def __init__(self, path: Path, read_only: bool = False, events: Events | None = None) -> None:
        self._events = Events() if events is None else events
        self._path, self._shown_as, self._cure = path, str(path), _CURE
        self.commits = 0
        self._definitions = Definitions(path.parent / DEFINITIONS, self._definition)
        self._identities: dict[Path, Identity | None] = {}
        self._file = identity(path) if read_only else None
        self._engine = engine_of(path, read_only)
        let_go_in_children(self)
        if not read_only:
            new = not path.exists()
            with self._transaction() as connection:
                METADATA.create_all(connection)
            if new:
                sync_folder(path.parent)
            self._identities = {each: identity(each) for each in files_of(path)}

    def close(self) -> None:
        self._engine.dispose()
        self._definitions.close()

    def forked(self) -> None:
        """SQLite's connection must not even be closed in a child: in the middle of a
        commit of the parent that would undo the commit in the memory both share. Its locks
        are the parent's alone."""
        keep_for_ever(self._engine)

    def contents(self, unchecked: bool = False) -> Contents:
        """Everything, collections and partitions in creation order.

        Raises:
            CorruptFile: entries are not what was written, unless `unchecked`.
        """
        with self._transaction() as connection:
            for what in () if unchecked else wrong(connection):
                raise CorruptFile.at(self._shown_as, 0, f"{what}; {self._cure}")
            durable_lsn, last_id = facts(connection)
            stored = stored_collections(connection)
            last = [self._last(connection, table) for table in (COLLECTIONS, PARTITIONS)]
        return Contents(stored, durable_lsn, last_id, *last)

    def create_collection(
        self, name: str, dimension: int, metric: MetricType, index_file_size_mb: int, lsn: int
    ) -> StoredCollection:
        """Store a new collection with its `_default` partition. Rows will have LSNs above `lsn`."""
        values = {
            "name": name,
            "dimension": dimension,
            "metric": int(metric),
            "index_file_size_mb": index_file_size_mb,
            "id_mode": int(IdMode.UNDECIDED),
            "index_type": int(IndexType.FLAT),
            "index_params": "{}",
            "flushed_lsn": lsn,
        }
        with self._change() as connection:
            rows = SummedRows(connection)
            collection_id = rows.create(COLLECTIONS, values)
            values = {"collection_id": collection_id, "tag": DEFAULT_TAG}
            partition_id = rows.create(PARTITIONS, values)
            rows.settle()
        collection = Collection(collection_id, name, dimension, metric, index_file_size_mb)
        partitions = (Partition(partition_id, collection_id, DEFAULT_TAG),)
        self._definitions.store(collection, partitions)
        return StoredCollection(collection, lsn, partitions, ())

    def drop_collection(self, collection_id: int, last_id: int = 0) -> None:
        """`last_id`: no generated id up to it is given again, though nothing may remember
        them now.
        """
        with self._change() as connection:
            SummedRows(connection).drop(collection_id)
            drop_keys(connection, collection_id)
            raise_facts(connection, last_id=last_id)
        self._definitions.remove(collection_id)

    def create_partition(self, collection_id: int, tag: str) -> Partition:
        """What it costs does not depend on how many there are."""
        with self._change() as connection:
            rows = SummedRows(connection)
            partition_id = rows.create(PARTITIONS, {"collection_id": collection_id, "tag": tag})
            rows.settle()
        partition = Partition(partition_id, collection_id, tag)
        self._definitions.append(collection_id, created(partition))
        return partition

    def drop_partition(self, partition: Partition, last_id: int = 0) -> None:
        """`last_id` as for a collection."""
        with self._change() as connection:
            rows = SummedRows(connection)
            inside = SEGMENTS.c.partition_id == partition.id
            rows.delete(SEGMENTS, and_(SEGMENTS.c.collection_id == partition.collection_id, inside))
            rows.delete_ids(PARTITIONS, [partition.id])
            rows.settle()
            raise_facts(connection, last_id=last_id)
        self._definitions.append(partition.collection_id, dropped(partition.id))

    def apply(self, *edits: Edit) -> None:
        """Commit edits, each of another collection, in one transaction."""
        with self._change() as connection:
            rows = SummedRows(connection)
            replaced = (record.id for edit in edits for record in edit.changed)
            rows.delete_ids(SEGMENTS, [*replaced, *(n for edit in edits for n in edit.removed)])
            kept = [record for edit in edits for record in (*edit.added, *edit.changed)]
            rows.insert(SEGMENTS, [segment_row(record) for record in kept])
            changed = rows.change_collections(
                {edit.collection_id: collection_changes(edit) for edit in edits}
            )
            rows.settle()
            for edit in edits:
                store_keys(connection, edit.collection_id, edit.keys)
            durable_lsn = max((edit.flushed_lsn or 0 for edit in edits), default=0)
            raise_facts(connection, durable_lsn, max((edit.last_id for edit in edits), default=0))
        for before, now in changed:
            if collection_of(before) != collection_of(now):
                self._definitions.append(now["id"], settled(collection_of(now)))

    def check(self) -> list[str]:
        """What is wrong with the catalog itself: its pages, and entries that are not what was
        written. Sentences.
        """
        with self._transaction() as connection:
            found: list[str] = []
            if self._engine.dialect.name == "sqlite":
                pages = connection.execute(text("PRAGMA integrity_check")).scalars().all()
                found += [str(page) for page in pages if page != "ok"]
            return found + wrong(connection)

    def define(self, contents: Contents | None = None) -> None:
        """Write the definitions outside the catalog anew, where they say something else;
        `contents`: as was just read.

        Raises:
            CorruptFile: one is of a collection or a partition that this catalog never
                made: it has lost commits.
        """
        contents = contents or self.contents()
        definitions = [(each.collection, each.partitions) for each in contents.collections]
        differing = self._definitions.differing(definitions)
        last = contents.last_collection_id, contents.last_partition_id
        for what in ids_beyond(*read_files(differing), *last):
            raise CorruptFile.at(
                self._shown_as, 0, f"it has lost commits: {what} is defined beside it; {self._cure}"
            )
        self._definitions.replace(definitions, differing)

    def _last(self, connection: Connection, table: Table) -> int:
        """The highest id that was ever given, 0 without any."""
        given = text("SELECT seq FROM sqlite_sequence WHERE name = :name")
        return int(connection.execute(given, {"name": table.name}).scalar() or 0)

    def mark(self) -> Mark:
        """Another one after each commit of somebody else, and where another file is
        in the place of this one.

        Sizes and times of files say neither: a commit changes them before it can be read.

        Raises:
            FolderGone: there is none.
        """
        found = identity_of_followed(self._path)
        if found != self._file:
            self._engine.dispose()  # what is read next is the file that is there now
            self._file = found
        with self._transaction() as connection:
            return Mark(found, connection.execute(text("PRAGMA data_version")).scalar())

    def drop_indexes(self) -> None:
        """No segment has an index file any more; the settings stay."""
        for stored in self.contents().collections:
            changed = tuple(
                record.without_index() for record in stored.segments if record.index_file
            )
            if changed:
                self.apply(Edit(stored.collection.id, changed=changed))

    def copy_to(self, path: Path) -> None:
        """Write the catalog as it is at this moment into a new SQLite file, while others
        change it.
        """
        copy(self._engine, path)

    def fill(self, contents: Contents, last_collection_id: int, last_partition_id: int) -> None:
        """Put `contents` into an empty catalog. Ids up to the two last ones will not be given
        again.
        """
        with self._transaction() as connection:
            for table, last in ((COLLECTIONS, last_collection_id), (PARTITIONS, last_partition_id)):
                if last:
                    pass_over(connection, table, last)
            for stored in contents.collections:
                connection.execute(insert(COLLECTIONS).values(**collection_row(stored)))
                for part in stored.partitions:
                    values = {"id": part.id, "collection_id": part.collection_id, "tag": part.tag}
                    connection.execute(insert(PARTITIONS).values(**values))
                if stored.segments:
                    connection.execute(
                        insert(SEGMENTS), [segment_row(record) for record in stored.segments]
                    )
                store_keys(connection, stored.collection.id, stored.keys)
            raise_facts(connection, contents.durable_lsn, contents.last_id)
            store_sums(connection, [stored.collection.id for stored in contents.collections])
        self.define()

    def _definition(self, collection_id: int) -> Definition | None:
        with self._transaction() as connection:
            return stored_definition(connection, collection_id)

    @contextmanager
    def _change(self) -> Iterator[Connection]:
        """A transaction that writes: `commits` counts those that succeeded."""
        self._check_place()
        try:
            with self._transaction() as connection:
                at("catalog.begin")
                yield connection
                at("catalog.commit")
        except OSError as error:  # what a failpoint raises; the database has errors of its own
            raise (CatalogFull if isinstance(refusal("", error), DiskFull) else CatalogFailed)(
                f"The catalog refused: {error.strerror or error}"
            ) from error
        self.commits += 1
        at("catalog.committed")

    def _check_place(self) -> None:
        """SQLite goes on writing to a file that was moved or removed, and says that all is well.

        Raises:
            FolderGone: a file of the catalog is not where it was.
        """
        for path, opened_as in self._identities.items():
            if identity(path) != opened_as:
                raise FolderGone.at("The catalog", path)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        began = perf_counter()
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise self._refusal(error) from error
        if self._events.busy:
            self._events.emit(CatalogCommitted(perf_counter() - began))

    def _refusal(self, error: SQLAlchemyError) -> MilvineError:
        """The error for what the database refused."""
        said = str(getattr(error, "orig", None) or error.args[0])  # without statement and address
        if any(words in said for words in _DAMAGED):
            return CorruptFile.at(self._shown_as, 0, f"{said}; {self._cure}")
        kind = CatalogFull if _NO_ROOM in said else CatalogFailed
        return kind(f"The catalog refused: {said}")


def pass_over(connection: Connection, table: Any, last: int) -> None:
    """Have `last` taken and free again: AUTOINCREMENT goes on above it."""
    values = {column.name: 0 for column in table.columns if not column.nullable}
    connection.execute(insert(table).values(**{**values, "id": last}))
    connection.execute(delete(table).where(table.c.id == last))
