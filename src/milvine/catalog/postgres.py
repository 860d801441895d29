"""The catalog in PostgreSQL (extra `postgresql`): a schema for each data folder.

One writer: its session holds an advisory lock, which the database gives back when the session ends.
Whoever connects again therefore knows how the last commit of the lost session ended. Each commit
counts up in one row, on the condition that nobody else did: a commit that was told as failed and
yet was made, or another writer in between, is noticed before anything is written on top of it.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    MetaData,
    Table,
    create_engine,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy import update as change
from sqlalchemy.exc import SQLAlchemyError

from milvine.catalog.definition_files import Definitions
from milvine.catalog.model import Mark
from milvine.catalog.note import NOTE, folder_id
from milvine.catalog.sql import DEFINITIONS, Catalog, pass_over
from milvine.catalog.tables import COLLECTIONS, METADATA, PARTITIONS
from milvine.errors import CatalogFailed, CatalogFull, DataFolderLocked, MilvineError
from milvine.events import Events
from milvine.redaction import HIDDEN, secret_parameters
from milvine.storage.directory import identity_of_followed
from milvine.storage.forks import let_go_in_children

_OWN = MetaData()
WRITER = Table(
    "writer",
    _OWN,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, nullable=False),  # openings by a writer
    Column("commits", BigInteger, nullable=False),
)
LOCK_SECONDS = 5.0
"""How long to wait for the session of a killed or lost writer to end."""
DOUBT_SECONDS = 5.0
"""How long to try to find out whether a commit was made whose answer was lost."""
_CONNECTION = {"connect_timeout": "10", "keepalives_idle": "10", "keepalives_interval": "5",
               "keepalives_count": "3",
               "tcp_user_timeout": "30000"}  # fmt: skip
_SESSION = ("SET lock_timeout = '10s'", "SET tcp_keepalives_idle = 10",
            "SET tcp_keepalives_interval = 5",
            "SET tcp_keepalives_count = 3")  # fmt: skip
_READING = (
    "SET default_transaction_isolation = 'repeatable read'",
    "SET default_transaction_read_only = on",
)
_CURE = "restore the database as it was, or the whole folder from a backup"
_NO_ROOM = "53100"


class PostgresCatalog(Catalog):
    """The catalog of the folder `folder_id`. `path` is where SQLite would have it.

    Raises:
        CatalogFailed: the database cannot be reached, or does not hold this catalog.
        DataFolderLocked: another writer has it open.
    """

    def __init__(
        self, path: Path, uri: str, folder_id: str, read_only: bool, events: Events | None
    ) -> None:
        self._events = Events() if events is None else events
        self._definitions = Definitions(path.parent / DEFINITIONS, self._definition)
        self._identities = {}  # its files are looked after elsewhere
        self._root = path.parent
        self._server, self._folder_id, self._read_only = _Server(uri), folder_id, read_only
        self._shown_as, self._cure, self.commits = f"the catalog in {self._server.name}", _CURE, 0
        self._client = f"milvine-{secrets.token_hex(8)}"
        self._epoch = self._made = 0
        self._opened = False
        self._session: Any = None
        let_go_in_children(self)
        try:
            self._engine = create_engine(
                "postgresql+psycopg://",
                creator=self._connect,
                pool_size=1,
                max_overflow=0,
                pool_pre_ping=True,
            )
        except ImportError:
            raise _missing() from None
        try:
            if not read_only:
                with self._transaction() as connection:
                    METADATA.create_all(connection)
                    began = (
                        change(WRITER)
                        .values(epoch=WRITER.c.epoch + 1)
                        .returning(WRITER.c.epoch, WRITER.c.commits)
                    )
                    self._epoch, self._made = connection.execute(began).one()
            self._opened = True
        except BaseException:
            self.close()
            raise

    def forked(self) -> None:
        """The session ends with the last who holds its socket, and the lock with the session."""
        super().forked()
        if self._session is not None:
            os.close(self._session.fileno())

    def _last(self, connection: Connection, table: Table) -> int:
        value, called = connection.execute(
            text(f"SELECT last_value, is_called FROM {table.name}_id_seq")
        ).one()
        return int(value) if called else 0

    def mark(self) -> Mark:
        """As of SQLite. The row of a database that was restored is told from the one of
        before by its transaction."""
        note = identity_of_followed(self._root / NOTE)
        if folder_id(self._root) != self._folder_id:
            raise CatalogFailed(f"{self._root} has another catalog now: open it anew")
        with self._transaction() as connection:
            epoch, commits = self._newest(connection)
            transaction = connection.execute(text("SELECT xmin::text FROM writer")).scalar()
        return Mark(note, (epoch, commits, transaction))

    @staticmethod
    def _newest(connection: Connection) -> tuple[int, int]:
        epoch, commits = connection.execute(select(WRITER.c.epoch, WRITER.c.commits)).one()
        return int(epoch), int(commits)

    def copy_to(self, path: Path) -> None:
        """Into a SQLite file, with the ids that are not given again."""
        copy = Catalog(path)
        try:
            with self._transaction() as source, copy._transaction() as target:
                for table in (COLLECTIONS, PARTITIONS):
                    if last := self._last(source, table):
                        pass_over(target, table, last)
                there = set(inspect(source).get_table_names())  # a catalog of before has fewer
                for table in (each for each in METADATA.sorted_tables if each.name in there):
                    rows = [dict(row) for row in source.execute(select(table)).mappings()]
                    if rows:
                        target.execute(insert(table), rows)
        finally:
            copy.close()

    @contextmanager
    def _change(self) -> Iterator[Connection]:
        sent = False
        try:
            with super()._change() as connection:
                self._count(connection)
                yield connection
                sent = True
        except CatalogFailed:
            if not sent or not self._was_made():
                raise
            self.commits += 1  # only its answer was lost
        self._made += 1

    def _count(self, connection: Connection) -> None:
        ours = (WRITER.c.epoch == self._epoch) & (WRITER.c.commits == self._made)
        if (
            connection.execute(change(WRITER).where(ours).values(commits=self._made + 1)).rowcount
            != 1
        ):
            raise CatalogFailed(
                "Nothing can be changed until the database is opened anew, which loses nothing:"
                f" the catalog in {self._server.name} has a commit of which the answer was lost, or"
                " of another writer"
            )

    def _was_made(self) -> bool:
        """Whether the commit was made whose answer was an error; False also where nobody can be
        asked.
        """
        deadline = monotonic() + DOUBT_SECONDS
        while True:
            try:
                with self._transaction() as connection:
                    return self._newest(connection) == (self._epoch, self._made + 1)
            except MilvineError:
                if monotonic() > deadline:
                    return False
                sleep(0.1)

    def _refusal(self, error: SQLAlchemyError) -> MilvineError:
        cause = getattr(error, "orig", None) or error
        kind = CatalogFull if getattr(cause, "sqlstate", None) == _NO_ROOM else CatalogFailed
        return kind(f"The catalog in {self._server.name} refused: {self._server.tell(cause)}")

    # sessions

    def _connect(self) -> Any:
        connection = self._server.connect(self._client, self._folder_id)
        try:
            self._prepare(connection)
            connection.autocommit = False
        except BaseException:
            connection.close()
            raise
        self._session = connection
        return connection

    def _prepare(self, connection: Any) -> None:
        there = connection.execute(
            "SELECT to_regclass(%s) IS NOT NULL", (f"{schema(self._folder_id)}.writer",)
        )
        if not there.fetchone()[0]:
            raise CatalogFailed(
                f"The database {self._server.name} does not hold the catalog of this folder: it has"
                f" no schema {schema(self._folder_id)}. Set general.meta_uri to the database it is"
                " in, or restore that"
            )
        for statement in (*_SESSION, *(_READING if self._read_only else ())):
            connection.execute(statement)
        if not self._read_only:
            _make_durable(connection, self._server.name)
            self._lock(connection)

    def _lock(self, connection: Any) -> None:
        """Held as long as the session lives: a lost one of this process is ended."""
        key, deadline = int(self._folder_id[:15], 16), monotonic() + LOCK_SECONDS
        while not connection.execute("SELECT pg_try_advisory_lock(%s)", (key,)).fetchone()[0]:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = %s AND pid <> pg_backend_pid()",
                (self._client,),
            )
            if monotonic() > deadline:
                what = f"The catalog in {self._server.name} is in use by another server or program"
                kind = CatalogFailed if self._opened else DataFolderLocked
                raise kind(
                    f"{what}. Stop it first: a data folder has one writer, on whatever machine"
                )
            sleep(0.05)


class _Server:
    """The database that a `general.meta_uri` names. `name` is host and database, without the
    password.
    """

    def __init__(self, uri: str) -> None:
        try:
            self._psycopg: Any = import_module("psycopg")
        except ImportError:
            raise _missing() from None
        rest = uri.partition("://")[2]
        try:
            self._parameters = self._psycopg.conninfo.conninfo_to_dict(f"postgresql://{rest}")
        except self._psycopg.Error:
            raise CatalogFailed("general.meta_uri is no address of a PostgreSQL database") from None
        given = self._parameters
        if "@" in given.get("host", ""):  # a part of the password, then
            raise CatalogFailed("The password in general.meta_uri holds an @. Write it as %40")
        host, port = given.get("host", "this machine"), given.get("port", 5432)
        self.name = (
            f"PostgreSQL at {host}:{port}, database {given.get('dbname', given.get('user', ''))}"
        )

    def connect(self, client: str, folder_id: str = "") -> Any:
        """A session outside a transaction, in the schema of the folder."""
        parameters = {
            **_CONNECTION,
            **self._parameters,
            "application_name": client,
            "client_encoding": "utf8",
        }
        connection = self._psycopg.connect(**parameters, autocommit=True)
        if folder_id:
            connection.execute(f"SET search_path TO {schema(folder_id)}")
        return connection

    def tell(self, error: BaseException) -> str:
        """The text of an error in one line, without the passwords."""
        text = " ".join(str(error).split())
        for secret in secret_parameters(self._parameters):
            text = text.replace(secret, HIDDEN)
        return text

    @property
    def error(self) -> Any:
        return self._psycopg.Error


def create(uri: str) -> str:
    """Make an empty catalog; returns the folder id. One that no folder comes to name stays empty,
    and does no harm.

    Raises:
        CatalogFailed: the database cannot be reached or refuses.
    """
    server, folder_id = _Server(uri), secrets.token_hex(16)
    try:
        with server.connect("milvine") as connection, connection.transaction():
            if connection.execute("SHOW server_encoding").fetchone()[0] != "UTF8":
                raise CatalogFailed(
                    f"{server.name} has another encoding than UTF8. Make one with ENCODING 'UTF8'"
                )
            name = schema(folder_id)
            connection.execute(f"CREATE SCHEMA {name}")
            connection.execute(
                f"CREATE TABLE {name}.writer (id integer PRIMARY KEY, epoch bigint NOT NULL,"
                " commits bigint NOT NULL)"
            )
            connection.execute(f"INSERT INTO {name}.writer VALUES (1, 0, 0)")
    except server.error as error:
        raise CatalogFailed(f"The catalog in {server.name} refused: {server.tell(error)}") from None
    return folder_id


def schema(folder_id: str) -> str:
    """The schema in which the tables of a folder are."""
    return f"milvine_{folder_id}"


def _make_durable(connection: Any, name: str) -> None:
    """A commit that is answered is on the disk of the database."""
    if connection.execute("SHOW fsync").fetchone()[0] != "on":
        raise CatalogFailed(
            f"{name} runs with fsync = off: a power cut would lose the catalog. Turn fsync on"
        )
    if connection.execute("SHOW synchronous_commit").fetchone()[0] not in ("on", "remote_apply"):
        connection.execute("SET synchronous_commit = on")


def _missing() -> CatalogFailed:
    return CatalogFailed("A catalog in PostgreSQL needs psycopg: pip install 'milvine[postgresql]'")
